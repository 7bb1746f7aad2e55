//! Which library files are loaded: those that somebody vouches for, that nobody else can exchange; and what becomes of
//! a file that changes while its plugin runs.

use std::{os::unix::fs::chown, path::Path};

use rustix::{
    fs::{CWD, FileType},
    process::geteuid,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::{
    client::Client,
    harness::{
        Host, Plugin, Setup, artifacts, eventually,
        host::plain_cli,
        minisign::{Form, Signer},
    },
    scenario::ready,
};

fn echo_bytes() -> Vec<u8> {
    std::fs::read(artifacts::echo()).unwrap()
}

/// A host whose only plugin is `plugins/echo.so` of these bytes, with what else lies beside it.
fn with_echo(bytes: Vec<u8>) -> Setup {
    Setup::new().file("plugins/echo.so", bytes).plugin(Plugin::at("echo", "echo.so"))
}

/// A host that loads only what these keys signed.
fn strict(setup: Setup, signer: &Signer) -> Setup {
    setup
        .set("trust.require_signature", "true")
        .set("trust.keys", &format!("[\"{}\", \"{}\"]", Signer::new(9).key(), signer.key()))
}

async fn echo_answers(host: &Host) -> Result<(), String> {
    ready(host).await?;
    Client::connect(host, "alice").await?.run("hello").await?.answered_by("echo")
}

/// The plugin is missing with this code, and the fallback answers.
async fn is_missing(host: &Host, code: &str) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    let missing = client.welcome["service"]["missing"].clone();
    if missing[0]["code"] != code {
        return Err(format!("expected {code}, the welcome says {missing}"));
    }
    client.run("hello there").await?.answered_by_fallback("hello there")
}

#[tokio::test]
async fn what_a_trusted_key_signed_is_loaded_in_both_tiers() {
    let signer = Signer::new(7);
    for form in [Form::Prehashed, Form::Legacy] {
        let signature = signer.sign(&echo_bytes(), form, "echo 1.0, reviewed");
        let setup =
            strict(with_echo(echo_bytes()), &signer).file("plugins/echo.so.minisig", signature.into_bytes());
        echo_answers(&setup.start()).await.unwrap();
    }
    // A signature is as good as a pin where the code runs in the host itself.
    let signature = signer.sign(&echo_bytes(), Form::Prehashed, "trusted");
    let trusted = Plugin::at("echo", "echo.so").key("isolation", "\"in-process\"");
    let setup = Setup::new().file("plugins/echo.so", echo_bytes()).plugin(trusted);
    let setup = setup.file("plugins/echo.so.minisig", signature.into_bytes());
    let host = setup.set("trust.keys", &format!("[\"{}\"]", signer.key())).start();
    echo_answers(&host).await.unwrap();
    assert_eq!(host.workers(), 0);
}

#[tokio::test]
async fn a_signature_that_does_not_hold_is_refused() {
    let signer = Signer::new(7);
    let good = signer.sign(&echo_bytes(), Form::Prehashed, "echo 1.0, reviewed");
    let cases: [(&str, Vec<u8>); 6] = [
        ("of another key", Signer::new(8).sign(&echo_bytes(), Form::Prehashed, "").into()),
        ("of other bytes", signer.sign(b"other bytes", Form::Prehashed, "").into()),
        ("of other bytes, legacy", signer.sign(b"other bytes", Form::Legacy, "").into()),
        ("whose comment was changed", good.replace("1.0", "1.1").into()),
        ("that is none", b"signed, honestly".to_vec()),
        ("that is too long", vec![b'x'; 20_000]),
    ];
    for (what, signature) in cases {
        let setup = strict(with_echo(echo_bytes()), &signer).file("plugins/echo.so.minisig", signature);
        let host = setup.start();
        is_missing(&host, "plugin.signature_invalid")
            .await
            .unwrap_or_else(|e| panic!("a signature {what}: {e}"));
    }
    // One that is there is verified where none is asked for, too.
    let setup = with_echo(echo_bytes()).set("trust.keys", &format!("[\"{}\"]", signer.key()));
    let other = Signer::new(8).sign(&echo_bytes(), Form::Prehashed, "");
    let host = setup.file("plugins/echo.so.minisig", other.into_bytes()).start();
    is_missing(&host, "plugin.signature_invalid").await.unwrap();
}

#[tokio::test]
async fn a_signature_that_is_a_pipe_is_not_waited_for() {
    let signer = Signer::new(7);
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("echo.so");
    std::fs::copy(artifacts::echo(), &library).unwrap();
    rustix::fs::mknodat(CWD, folder.path().join("echo.so.minisig"), FileType::Fifo, 0o644.into(), 0).unwrap();
    let host = strict(Setup::new().plugin(Plugin::at("echo", &library)), &signer).start();
    is_missing(&host, "plugin.signature_invalid").await.unwrap();
}

#[tokio::test]
async fn what_nobody_vouches_for_is_refused_where_that_is_asked_for() {
    let unsigned = strict(with_echo(echo_bytes()), &Signer::new(7));
    let unpinned = with_echo(echo_bytes()).set("trust.require_pin", "true");
    for setup in [unsigned, unpinned] {
        is_missing(&setup.start(), "plugin.signature_missing").await.unwrap();
    }
    let pin: String = Sha256::digest(echo_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let pinned = Plugin::at("echo", "echo.so").key("sha256", &format!("\"{pin}\""));
    let setup = Setup::new().file("plugins/echo.so", echo_bytes()).plugin(pinned);
    echo_answers(&setup.set("trust.require_pin", "true").start()).await.unwrap();
}

/// The bytes are the signed ones, or the plugin is not loaded.
async fn tampered_bytes_are_refused(host: &Host) -> Result<(), String> {
    is_missing(host, "plugin.signature_invalid").await
}

fn tampered() -> Setup {
    let signer = Signer::new(7);
    let signature = signer.sign(&echo_bytes(), Form::Prehashed, "echo 1.0, reviewed");
    // A library is none the worse for a few bytes behind its end.
    let bytes = [echo_bytes(), b"and something else".to_vec()].concat();
    strict(with_echo(bytes), &signer).file("plugins/echo.so.minisig", signature.into_bytes())
}

twin! {
    bytes_that_were_not_signed(tampered_bytes_are_refused) on tampered();
    faults ""; broken by "runtime.signature=off", says "expected plugin.signature_invalid"
}

#[test]
fn check_shows_who_signed_and_what_they_said() {
    let signer = Signer::new(7);
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("echo.so");
    std::fs::copy(artifacts::echo(), &library).unwrap();
    let file = library.to_str().unwrap();
    let checked = |arguments: &[&str]| {
        let output = plain_cli(&[&["check", file, "--output", "json"], arguments].concat(), &[]);
        let all: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        all["plugins"][0].clone()
    };
    assert_eq!(checked(&[])["artifact"]["signature"], json!(null));
    assert_eq!(checked(&["--key", &signer.key()])["fault"]["code"], "plugin.signature_missing");

    let signature = signer.sign(&echo_bytes(), Form::Prehashed, "echo 1.0, reviewed by ann");
    std::fs::write(folder.path().join("echo.so.minisig"), signature).unwrap();
    let said = |verified: bool| json!({ "key": "0707070707070707", "comment": "echo 1.0, reviewed by ann", "verified": verified });
    assert_eq!(checked(&[])["artifact"]["signature"], said(false), "seen, and not believed");
    let verified = checked(&["--key", &signer.key()]);
    assert_eq!((&verified["artifact"]["signature"], &verified["fit"]), (&said(true), &json!(true)));
    assert_eq!(checked(&["--key", &Signer::new(8).key()])["fault"]["code"], "plugin.signature_invalid");
}

/// Where the echo plugin stands in the scenarios of custody: three folders deep.
fn deep() -> Setup {
    Setup::new().file("a/b/echo.so", echo_bytes()).plugin(Plugin::at("echo", "a/b/echo.so"))
}

/// The host names the part of the path that is wrong, and what mends it.
async fn says_what_is_exposed(host: &Host, part: &str, remedy: &str) -> Result<(), String> {
    is_missing(host, "plugin.insecure_mode").await?;
    let part = host.dir().canonicalize().unwrap().join(part);
    let part = part.display();
    host.says(&[&format!("{part} "), &format!("{remedy} {part}")]).await.map(drop)
}

#[tokio::test]
async fn a_file_that_others_can_exchange_is_refused_with_what_mends_it() {
    for part in ["a/b/echo.so", "a/b", "a"] {
        let host = deep().mode(part, 0o757).start();
        says_what_is_exposed(&host, part, "chmod o-w").await.unwrap();
    }
    echo_answers(&deep().mode("a", 0o1777).start()).await.expect("a sticky folder keeps the file");
}

#[tokio::test]
async fn a_file_of_another_user_is_refused() {
    if !geteuid().is_root() {
        return; // Nobody else can give files away.
    }
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("own/echo.so");
    std::fs::create_dir(folder.path().join("own")).unwrap();
    std::fs::copy(artifacts::echo(), &library).unwrap();
    for part in [library.as_path(), library.parent().unwrap()] {
        chown(part, Some(31_337), None).unwrap();
        let host = Setup::new().plugin(Plugin::at("echo", &library)).start();
        is_missing(&host, "plugin.insecure_mode").await.unwrap();
        let named = eventually("the log names the owner", async || match host.said() {
            said if said.contains("31337") => Ok(()),
            said => Err(said),
        });
        named.await.unwrap();
        chown(part, Some(0), None).unwrap();
    }
}

async fn an_open_folder_is_refused(host: &Host) -> Result<(), String> {
    is_missing(host, "plugin.insecure_mode").await
}

twin! {
    a_folder_that_others_can_write(an_open_folder_is_refused) on deep().mode("a", 0o777);
    faults ""; broken by "runtime.custody=off", says "expected plugin.insecure_mode"
}

/// A host with a plugin that does as it is told, from a file that the test can exchange.
fn replaceable() -> Setup {
    let bytes = std::fs::read(artifacts::misbehaving()).unwrap();
    Setup::new()
        .set("limits.messages_per_minute", "0")
        .file("plugins/bad.so", bytes)
        .plugin(Plugin::misbehaving_at("bad", "bad.so"))
}

/// It crashes, and the next generation is the same code: it still does what only that code does.
async fn comes_back_as_it_was(host: &Host) -> Result<(), String> {
    let mut client = Client::connect(host, "alice").await?;
    let crashed = client.run("!segv").await?;
    if crashed.status() == "ok" {
        return Err(format!("it did not crash: {}", crashed.completed()));
    }
    eventually("no next generation of the same code answers", async || {
        // Not yet, or never.
        let run = Client::connect(host, "alice").await?.run("!env NOTHING").await?;
        if run.text() == "not there" { Ok(()) } else { Err(run.completed().to_string()) }
    })
    .await
}

async fn a_change_is_told(host: &Host, change: &str) -> Result<(), String> {
    eventually("the change is told", async || {
        let said = host.said();
        let told = said.lines().any(|line| line.contains("PluginFileChanged") && line.contains(change));
        if told { Ok(()) } else { Err(said) }
    })
    .await
}

/// Whatever becomes of the file, the plugin runs on, and comes back after a crash as it was.
async fn a_crash_is_no_deployment(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let path = host.dir().join("plugins/bad.so");
    let mut client = Client::connect(host, "alice").await?;
    client.run("hello").await?.answered_by("bad")?;
    std::fs::write(&path, b"no library any more").unwrap();
    client.run("hello").await?.answered_by("bad")?;
    comes_back_as_it_was(host).await
}

twin! {
    a_restart_takes_the_bytes_that_ran(a_crash_is_no_deployment) on replaceable();
    faults ""; broken by "runtime.shelf=off", says "no next generation"
}

#[tokio::test]
async fn a_file_that_is_replaced_renamed_over_or_removed_is_seen_and_not_loaded() {
    type Change<'a> = (&'a dyn Fn(&Path), &'a str);
    let host = replaceable().start();
    ready(&host).await.unwrap();
    let path = host.dir().join("plugins/bad.so");
    let copy_over = |path: &Path| std::fs::write(path, b"in place").unwrap();
    let rename_over = |path: &Path| {
        let next = path.with_extension("next");
        std::fs::copy(artifacts::echo(), &next).unwrap();
        std::fs::rename(next, path).unwrap();
    };
    let remove = |path: &Path| std::fs::remove_file(path).unwrap();
    let digest: String = Sha256::digest(echo_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let changes: [Change<'_>; 3] =
        [(&copy_over, "plugin.not_elf"), (&rename_over, &digest), (&remove, "plugin.not_found")];
    for (change, told) in changes {
        change(&path);
        a_change_is_told(&host, told).await.unwrap();
        comes_back_as_it_was(&host).await.unwrap();
    }
}
