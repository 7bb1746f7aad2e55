//! Files that are no plugin, or not the one that they should be: made from a sound library by changing it.

use std::path::Path;

use rustix::fs::{CWD, FileType, Mode};

use super::case::Case;
use crate::harness::{
    Plugin, artifacts,
    elf::{self, Library},
};

const NOT_ELF: &[&str] = &["plugin.not_elf"];
const SHORT: &[&str] = &["plugin.truncated", "plugin.not_elf"];
const TRUNCATED: &[&str] = &["plugin.truncated"];
const MACHINE: &[&str] = &["plugin.wrong_machine"];
const DESCRIPTOR: &[&str] = &["plugin.bad_descriptor"];
const NOT_A_FILE: &[&str] = &["plugin.not_a_file"];
const NOT_FOUND: &[&str] = &["plugin.not_found"];

/// Bytes that are turned over, one a case: wherever they fall, the host must live with it.
const FLIPS: u64 = 16;
/// Where they fall: the same in every run.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Every file.
pub(crate) fn cases(folder: &Path) -> Vec<Case> {
    let library = Library::echo();
    let mut all = contents(folder, &library);
    all.extend(cuts(folder, &library));
    all.extend(flips(folder, &library));
    all.extend(places(folder, &library));
    all
}

fn contents(folder: &Path, library: &Library) -> Vec<Case> {
    let file = |name: &str, bytes: &[u8], codes| {
        Case::file(name, elf::write(folder, &format!("{name}.so"), bytes), codes)
    };
    let wrong_pin = {
        let path = elf::write(folder, "pinned.so", &library.bytes);
        let plugin = Plugin::at("wrong-pin", path).key("sha256", &format!("\"{}\"", "0".repeat(64)));
        Case::start("wrong-pin", 7, plugin, &["plugin.digest_mismatch"])
    };
    vec![
        file("empty", b"", SHORT),
        file("one-byte", b"\x7f", SHORT),
        file("magic-only", b"\x7fELF", SHORT),
        file("text", b"#!/bin/sh\necho no plugin\n", NOT_ELF),
        file("html", "<!doctype html><script>alert(1)</script>".as_bytes(), NOT_ELF),
        file("zeros", &[0; 65536], NOT_ELF),
        file("archive", b"!<arch>\n", NOT_ELF),
        file("other-machine", &library.other_machine(), MACHINE),
        file("other-class", &library.other_class(), MACHINE),
        file("other-endian", &library.other_endian(), MACHINE),
        file("not-shared", &library.executable(), &["plugin.not_elf", "plugin.wrong_machine"]),
        file("no-descriptor", &library.without_descriptor(), &["plugin.no_descriptor"]),
        file("wrong-magic", &library.wrong_magic(), DESCRIPTOR),
        file("abi-too-old", &library.with_abi(0), &["plugin.abi_too_old"]),
        file("abi-too-new", &library.with_abi(99), &["plugin.abi_too_new"]),
        file("descriptor-of-zeros", &library.descriptor_filled(0), DESCRIPTOR),
        file("descriptor-of-ones", &library.descriptor_filled(0xff), DESCRIPTOR),
        file(
            "no-root-symbol",
            &library.without_root_symbol(),
            &["plugin.missing_symbol", "plugin.load_failed"],
        ),
        file("missing-library", &library.needing_a_missing_library(), &["plugin.missing_library"]),
        file("newer-glibc", &library.newer_glibc(), &["plugin.glibc_too_new"]),
        wrong_pin,
    ]
}

fn cuts(folder: &Path, library: &Library) -> Vec<Case> {
    let whole = library.bytes.len();
    // Within the header, behind it, and twenty places on to just before the end.
    let places = [3, 16, 63, 64, 65].into_iter().chain((1..20).map(|n| whole * n / 20)).chain([whole - 1]);
    places
        .enumerate()
        .map(|(place, length)| {
            let name = format!("cut-{place:02}");
            let path = elf::write(folder, &format!("{name}.so"), &library.cut(length));
            Case::file(&name, path, if length < 64 { SHORT } else { TRUNCATED })
        })
        .collect()
}

fn flips(folder: &Path, library: &Library) -> Vec<Case> {
    (0..FLIPS)
        .map(|number| {
            let name = format!("flipped-{number:02}");
            let mut bytes = library.bytes.clone();
            let mut chance = SEED.wrapping_mul(number + 1);
            for _ in 0..64 {
                // xorshift64: the same places everywhere.
                chance ^= chance << 13;
                chance ^= chance >> 7;
                chance ^= chance << 17;
                let place = usize::try_from(chance % bytes.len() as u64).expect("below a length");
                bytes[place] ^= 0xff;
            }
            Case::unknown(&name, elf::write(folder, &format!("{name}.so"), &bytes))
        })
        .collect()
}

fn places(folder: &Path, library: &Library) -> Vec<Case> {
    let named = |name: &str| folder.join(format!("{name}.so"));
    let world = elf::write(folder, "world-writable.so", &library.bytes);
    elf::mode(&world, 0o666);
    let directory = named("directory");
    std::fs::create_dir(&directory).expect("the test's folder can be written");
    let fifo = named("fifo");
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::from_bits_truncate(0o644), 0).expect("a fifo");
    let socket = named("socket");
    rustix::fs::mknodat(CWD, &socket, FileType::Socket, Mode::from_bits_truncate(0o644), 0)
        .expect("a socket");
    let dangling = named("dangling-link");
    std::os::unix::fs::symlink(folder.join("nowhere"), &dangling).expect("a link");
    let circle = named("circle");
    std::os::unix::fs::symlink(&circle, &circle).expect("a link");
    let huge = named("sparse-gigabyte");
    let file = std::fs::File::create(&huge).expect("the test's folder can be written");
    file.set_len(1 << 30).expect("a sparse file takes no room");
    elf::mode(&huge, 0o644);
    let tight = Plugin::at("above-its-limit", artifacts::echo()).key("limits", "{ library = \"64KiB\" }");
    vec![
        Case::file("world-writable", world, &["plugin.insecure_mode"]),
        Case::file("directory", directory, NOT_A_FILE),
        Case::file("fifo", fifo, NOT_A_FILE),
        Case::file("socket", socket, NOT_A_FILE),
        Case::file("device", "/dev/zero".into(), NOT_A_FILE),
        Case::file("dangling-link", dangling, NOT_FOUND),
        Case::file("circle", circle, &["plugin.unreadable", "plugin.not_found", "plugin.not_a_file"]),
        Case::file("nowhere", folder.join("nowhere.so"), NOT_FOUND),
        Case::file(
            "below-a-file",
            artifacts::echo().join("x.so"),
            &["plugin.not_found", "plugin.unreadable"],
        ),
        Case::file("sparse-gigabyte", huge, &["plugin.too_large"]),
        Case::start("above-its-limit", 7, tight, &["plugin.too_large"]),
    ]
}
