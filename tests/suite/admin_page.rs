//! The page of the admin API, in a real browser: whole, styled, and with nothing that its policy forbids.

use std::{process::Stdio, time::Duration};

use tokio::{process::Command, time::timeout};

use crate::{
    harness::{PATIENCE, Setup, http},
    scenario::ready,
};

/// What the browser made of a page, and what it objected to.
async fn browse(url: &str, dark: bool) -> (String, String) {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new("chromium");
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"])
        .args(["--enable-logging=stderr", "--virtual-time-budget=3000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()));
    if dark {
        command.arg("--force-dark-mode");
    }
    command.arg(url).stdin(Stdio::null()).kill_on_drop(true);
    // A browser begins slowly on a busy machine.
    let output =
        timeout(Duration::from_secs(90), command.output()).await.expect("it ends").expect("chromium runs");
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// What the browser says where a page has what its policy forbids.
fn objects(said: &str) -> bool {
    said.contains("Content Security Policy")
}

#[tokio::test]
async fn the_page_of_the_admin_api_is_whole_and_as_strict_as_it_says() {
    let host = Setup::echo().operated().start();
    ready(&host).await.unwrap();
    let answer = http::get(host.admin, "/admin/v1/", &[], PATIENCE).await.unwrap();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    let document =
        http::get(host.admin, "/admin/v1/openapi.json", &[], PATIENCE).await.unwrap().json().unwrap();
    for dark in [false, true] {
        let (dom, said) = browse(&format!("http://{}/admin/v1/", host.admin), dark).await;
        for path in document["paths"].as_object().unwrap().keys() {
            assert!(dom.contains(&format!("<code>{path}</code>")), "{path} is not in {dom}");
        }
        assert!(!objects(&said), "{said}");
    }
}

#[tokio::test]
async fn the_browser_says_so_where_a_page_is_not_as_strict() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.html");
    let policy = "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'\">";
    std::fs::write(&file, format!("{policy}<style>p{{}}</style>")).unwrap();
    let (_, said) = browse(&format!("file://{}", file.display()), false).await;
    assert!(objects(&said), "{said}");
}
