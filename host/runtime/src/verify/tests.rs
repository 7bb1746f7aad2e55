//! Laws of the judgement: total on any bytes, and no cut file passes.

use std::{path::PathBuf, process::Command, sync::OnceLock, time::Duration};

use agent_host_core::ports::instance::{Isolation, Limits, Timeouts};
use agent_plugin_protocol::{PanicStrategy, PluginId, PluginKind, section};
use proptest::prelude::*;

use super::*;

fn spec() -> PluginSpec {
    let moment = Duration::from_secs(1);
    PluginSpec {
        id: PluginId::new("x").unwrap(),
        kind: PluginKind::Agent,
        path: PathBuf::new(),
        isolation: Isolation::Process,
        sha256: None,
        trust: Default::default(),
        config: serde_json::Value::Null,
        secrets: Default::default(),
        network: Vec::new(),
        requires: Vec::new(),
        timeouts: Timeouts {
            init: moment,
            tool: moment,
            idle: moment,
            run: moment,
            grace: moment,
            queue: moment,
        },
        limits: Limits {
            memory: 0,
            concurrent_runs: 1,
            queued_runs: 0,
            library: 1 << 20,
            open_files: 64,
            cpu_percent: 0,
        },
        tools: Vec::new(),
        threads: 2,
        data_dir: None,
        log_level: "info".into(),
    }
}

/// The section of a plugin in C.
pub(super) fn descriptor_section() -> [u8; section::SECTION_BYTES] {
    section::encode(section::Identity {
        id: "c-plugin",
        kind: PluginKind::Agent,
        version: "1.0.0",
        description: "",
        sdk_version: "0.1.0",
        rustc_version: "none",
        panic: PanicStrategy::Unwind,
        requires: "",
    })
}

/// A small real library with a descriptor and a need of glibc, made by the C compiler.
pub(super) fn library() -> &'static [u8] {
    static LIBRARY: OnceLock<Vec<u8>> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let bytes = descriptor_section().map(|b| b.to_string()).join(",");
        let source = format!(
            "#include <stdlib.h>\n__attribute__((section(\".agent_plugin\"), used)) const unsigned char d[] = {{{bytes}}};\n\
             char *home(void) {{ return getenv(\"HOME\"); }}"
        );
        let folder = tempfile::tempdir().unwrap();
        let (code, out) = (folder.path().join("x.c"), folder.path().join("x.so"));
        std::fs::write(&code, source).unwrap();
        let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&out).arg(&code).status();
        assert!(made.expect("a C compiler is there: the build needs one").success());
        std::fs::read(out).unwrap()
    })
}

pub(super) fn judged(bytes: &[u8]) -> Result<VerifiedArtifact, Refusal> {
    judge(&spec(), bytes.to_vec(), Ok(None), &Platform::current())
}

#[test]
fn a_whole_library_passes() {
    let artifact = judged(library()).unwrap();
    assert_eq!(artifact.descriptor.id.as_str(), "c-plugin");
    assert_eq!(artifact.bytes, library());
}

#[test]
fn a_library_that_is_cut_anywhere_is_truncated() {
    for end in 1..library().len() {
        let refusal = judged(&library()[..end]).unwrap_err();
        assert_eq!(refusal.code, Code::PluginTruncated, "cut at {end}: {}", refusal.reason);
    }
}

#[test]
fn a_newer_glibc_is_told_by_both_numbers() {
    let elf = Elf::parse(library()).unwrap();
    let refusal = needs::check(&elf, &Platform::with_glibc((2, 1))).unwrap_err();
    assert_eq!(refusal.code, Code::PluginGlibcTooNew);
    assert!(refusal.reason.contains("2.1"), "{}", refusal.reason);
}

proptest! {
    #[test]
    fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = judged(&bytes);
        let mut posing = b"\x7fELF\x02\x01\x01".to_vec();
        posing.extend(bytes);
        let _ = judged(&posing);
    }

    #[test]
    fn any_flips_are_judged(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        head in prop::collection::vec((0usize..64, any::<u8>()), 0..3),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = library().to_vec();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        for (at, value) in head {
            bytes[at] = value;
        }
        let _ = judged(&bytes);
        let _ = judged(&bytes[..cut.index(bytes.len())]);
    }
}
