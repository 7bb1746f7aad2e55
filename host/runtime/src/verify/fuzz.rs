//! Fuzzes the judgement of libraries: total on any file, each refusal with a code and a safe reason, and what is told of
//! a library is bounded, whatever its tables say.

use agent_host_fuzz::{Target, Trace};
use agent_plugin_protocol::section;

use super::{
    tests::{descriptor_section, judged, library},
    *,
};
use crate::inspect;

/// What a line of a log or a terminal may hold of it.
const LONGEST: usize = 1000;

fn is_safe(text: &str) -> bool {
    text.chars().count() <= LONGEST && !text.chars().any(char::is_control)
}

fn judge(bytes: &[u8]) -> Result<Trace, String> {
    let mut trace = Trace::default();
    match judged(bytes) {
        Err(refusal) => {
            if !refusal.code.as_str().starts_with("plugin.") {
                return Err(format!("refused with {}", refusal.code));
            }
            let words: String = refusal.reason.chars().filter(|c| c.is_ascii_alphabetic()).take(24).collect();
            trace.saw((refusal.code.as_str(), words));
        }
        Ok(artifact) => {
            if artifact.bytes != bytes || artifact.digest != hex_digest(bytes) {
                return Err("other bytes than those that were judged".to_owned());
            }
            trace.saw("passes");
        }
    }
    let Ok(elf) = Elf::parse(bytes) else { return Ok(trace) };
    if let Some(bytes) = elf.section(section::SECTION_NAME) {
        trace.counted("the descriptor's section", bytes.len());
    }
    let told = inspect::library(&elf);
    let names = told.needed.iter().chain(&told.imports);
    if let Some(name) = names.clone().find(|name| !is_safe(name)) {
        return Err(format!("told of it: {name:?}"));
    }
    if !told.imports.is_sorted() || told.imports.len() > bytes.len() {
        return Err(format!("{} imports", told.imports.len()));
    }
    trace.counted("needed", told.needed.len());
    trace.counted("imports", told.imports.len());
    trace.saw((
        told.stripped,
        told.glibc,
        std::mem::discriminant(&told.allocator),
        told.descriptor.is_some(),
    ));
    Ok(trace)
}

/// As whoever does not hold headers against the file's size reads a section table.
fn naive(bytes: &[u8]) -> Result<Trace, String> {
    let number = |at: usize| {
        let eight = bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok());
        eight.map_or(0, u64::from_le_bytes)
    };
    let table = number(40) as usize;
    for at in (0..4).map(|n| table + 64 * n) {
        let (offset, size) = (number(at + 24) as usize, number(at + 32) as usize);
        let _ = &bytes[offset..offset + size];
    }
    judge(bytes)
}

fn target<R>(run: impl FnOnce(Target<'_>) -> R) -> R {
    let whole = library();
    // Its headers alone as well, and its descriptor's section behind them: most of a library is code, which nobody reads.
    let head = whole[..whole.len().min(1024)].to_vec();
    let seeds = [whole.to_vec(), head, b"#!/bin/sh\n".to_vec(), b"\x7fELF\x01\x01\x01".to_vec()];
    let words: &[&[u8]] = &[
        b"\x7fELF",
        b"\x7fELF\x02\x01\x01",
        section::SECTION_NAME.as_bytes(),
        b"GLIBC_2.99\0",
        b"GLIBC_",
        b"\0",
        b"..",
        b"libc.so.6\0",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\0\0\0\0\0\0\0\x80",
        b"\x1b[2J",
    ];
    run(Target { name: "libraries", seeds: &seeds, words, longest: 32 * 1024 })
}

#[test]
fn fuzz_libraries_are_judged_and_told_of_safely() {
    target(|target| target.survives(judge));
}

#[test]
fn fuzz_libraries_finds_a_reader_that_trusts_the_headers() {
    let found = target(|target| target.finds(naive));
    assert!(found.objection.contains("a panic"), "{found:?}");
}

/// What a library says of itself, at length: without the rest of the file, so that more of it is tried.
#[test]
fn fuzz_descriptors_are_read_or_refused() {
    let sections = descriptor_section().to_vec();
    let seeds = [sections];
    let words: &[&[u8]] =
        &[b"\0", b"\xff\xff\xff\xff", b"\x1b[2J", b"\xe2\x80\xae", b"\n", b"1.0.0", b"agent"];
    let target = Target { name: "descriptors", seeds: &seeds, words, longest: 4096 };
    target.survives(|bytes| {
        let mut trace = Trace::default();
        match section::decode(bytes) {
            Err(error) if !is_safe(&error.to_string()) => return Err(format!("refused with {error:?}")),
            Err(error) => trace.saw(error.to_string()),
            Ok(descriptor) => {
                let shown = format!("{descriptor:?}");
                if shown.len() > 16 * (bytes.len() + 256) {
                    return Err(format!("{} bytes of {}", shown.len(), bytes.len()));
                }
                trace.saw((descriptor.kind.as_str(), descriptor.panic == PanicStrategy::Abort));
                trace.counted("version", descriptor.version.len());
                trace.counted("requires", descriptor.requires.len());
            }
        }
        Ok(trace)
    });
}
