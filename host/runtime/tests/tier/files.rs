//! Every way a file can fail to be a plugin: each has its own stable code, and none of them is ever loaded.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use agent_host_core::ports::instance::{Fault, Limits, PluginSpec, Stage, Timeouts};
use agent_plugin_protocol::Code;

use crate::support::{c_descriptor, c_library, library, spec, start};

async fn refused(spec: PluginSpec) -> Fault {
    let path = spec.path.clone();
    let fault = start(spec).await.err().unwrap_or_else(|| panic!("{} was taken", path.display()));
    assert!(!fault.hint.is_empty() && !fault.reason.contains('\n'), "{fault:?}");
    fault
}

async fn check(path: &Path, code: Code) {
    let fault = refused(spec(path)).await;
    assert_eq!(fault.code, code, "{}: {}", path.display(), fault.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_file_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    check(&path("absent.so"), Code::PluginNotFound).await;
    check(folder.path(), Code::PluginNotAFile).await;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    check(&path("fifo"), Code::PluginNotAFile).await;
    check(Path::new("/dev/null"), Code::PluginNotAFile).await;
    std::os::unix::fs::symlink(path("nowhere"), path("dangling")).unwrap();
    check(&path("dangling"), Code::PluginNotFound).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_a_good_library_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("current.so");
    std::os::unix::fs::symlink(library("echo"), &link).unwrap();
    start(spec(&link)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_can_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo.so");
    fs::copy(library("echo"), &path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o646)).unwrap();
    check(&path, Code::PluginInsecureMode).await;
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    check(&path, Code::PluginInsecureMode).await;
    // A sticky folder keeps others from replacing the file.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
    start(spec(&path)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_above_the_limit_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse.so");
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let limits = Limits { library: 1 << 20, ..spec("").limits };
    assert_eq!(refused(PluginSpec { limits, ..spec(&path) }).await.code, Code::PluginTooLarge);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_library_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let good = fs::read(library("echo")).unwrap();
    let patched = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    for (name, bytes, code) in [
        ("empty", Vec::new(), Code::PluginNotElf),
        ("text", b"#!/bin/sh\n".to_vec(), Code::PluginNotElf),
        ("random", vec![0xa7; 5000], Code::PluginNotElf),
        ("32-bit", patched(4, 1), Code::PluginWrongMachine),
        ("big-endian", patched(5, 2), Code::PluginWrongMachine),
        ("another machine", patched(18, 243), Code::PluginWrongMachine),
        ("object file", patched(16, 1), Code::PluginWrongMachine),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        check(&path, code).await;
    }
    check(&libc(), Code::PluginNoDescriptor).await;
}

/// The C library that this very process has mapped, wherever this system keeps it.
fn libc() -> PathBuf {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut paths = maps.lines().filter_map(|line| Some(Path::new(line.split_whitespace().nth(5)?)));
    let named =
        |path: &&Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libc"));
    paths.find(named).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_is_kept() {
    let path = library("echo");
    let digest = start(spec(&path)).await.unwrap().digest;
    let pinned = |pin: &str| PluginSpec { sha256: Some(pin.to_owned()), ..spec(&path) };
    start(pinned(&digest)).await.unwrap();
    assert_eq!(refused(pinned(&"0".repeat(64))).await.code, Code::PluginDigestMismatch);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_c_library_without_the_root_module_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let bare = c_library(folder.path(), "bare", "int x;", &[]);
    check(&bare, Code::PluginNoDescriptor).await;
    let posing = c_library(folder.path(), "posing", &c_descriptor(), &[]);
    check(&posing, Code::PluginMissingSymbol).await;
    let magic = c_descriptor().replacen("{65,", "{66,", 1);
    check(&c_library(folder.path(), "magic", &magic, &[]), Code::PluginBadDescriptor).await;
    for (major, code) in [("0", Code::PluginAbiTooOld), ("9", Code::PluginAbiTooNew)] {
        let source = c_descriptor().replacen(
            "{65,71,78,84,80,76,71,1,1,",
            &format!("{{65,71,78,84,80,76,71,1,{major},"),
            1,
        );
        check(&c_library(folder.path(), major, &source, &[]), code).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_constructor_that_crashes_or_hangs_costs_its_own_start() {
    let folder = tempfile::tempdir().unwrap();
    let with = |name: &str, body: &str| {
        let source = format!(
            "#include <stdlib.h>\n#include <unistd.h>\n{}\n__attribute__((constructor)) static void begin(void) {{ {body} }}",
            c_descriptor()
        );
        c_library(folder.path(), name, &source, &[])
    };
    for (name, body) in [("segv", "*(volatile int *)8 = 1;"), ("abort", "abort();"), ("exit", "exit(0);")] {
        let fault = refused(spec(with(name, body))).await;
        assert_eq!((fault.stage, fault.code), (Stage::Load, Code::PluginLoadCrashed), "{}", fault.reason);
    }
    let timeouts = Timeouts { init: Duration::from_secs(4), ..spec("").timeouts };
    let hang = PluginSpec { timeouts, ..spec(with("hang", "for (;;) pause();")) };
    let fault = refused(hang).await;
    assert_eq!((fault.stage, fault.code), (Stage::Load, Code::PluginLoadTimeout), "{}", fault.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_is_not_installed_is_named() {
    let folder = tempfile::tempdir().unwrap();
    c_library(folder.path(), "nowhere-to-be-found", "int far(void) { return 1; }", &[]);
    let source = format!("{}\nint far(void); int near(void) {{ return far(); }}", c_descriptor());
    let search = format!("-L{}", folder.path().display());
    let needy = c_library(folder.path(), "needy", &source, &[&search, "-lnowhere-to-be-found"]);
    let fault = refused(spec(needy)).await;
    assert_eq!(fault.code, Code::PluginMissingLibrary);
    assert!(fault.reason.contains("libnowhere-to-be-found.so"), "{}", fault.reason);

    let undefined = format!("{}\nint far(void); int near(void) {{ return far(); }}", c_descriptor());
    let unbound = c_library(folder.path(), "unbound", &undefined, &[]);
    let fault = refused(spec(unbound)).await;
    assert_eq!(fault.code, Code::PluginLoadFailed);
    assert!(fault.reason.contains("far"), "{}", fault.reason);
}
