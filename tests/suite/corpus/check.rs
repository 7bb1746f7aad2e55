//! `agent-host check` says of every library of the table what the loader says, and is not harmed by any.

use std::path::PathBuf;

use futures_util::{StreamExt as _, stream};
use serde_json::Value;

use super::{files, native};
use crate::harness::host::plain_cli;

/// So many at a time: each has seconds only to load its library, and some of those spin.
const AT_ONCE: usize = 4;

/// What it says of one file: the code of its fault, if it has one.
fn code_of(library: &std::path::Path) -> Result<Option<String>, String> {
    let path = library.to_str().ok_or("not UTF-8")?;
    let output = plain_cli(&["check", path, "--output", "json"], &[]);
    let status = output.status.code().ok_or_else(|| format!("check itself died: {output:?}"))?;
    let json: Value = serde_json::from_slice(&output.stdout)
        .map_err(|e| format!("{e}: {}", String::from_utf8_lossy(&output.stderr)))?;
    let code = json["plugins"][0]["fault"]["code"].as_str().map(str::to_owned);
    match (status, json["fit"].as_bool()) {
        (0, Some(true)) | (1, Some(false)) => Ok(code),
        other => Err(format!("status and verdict differ: {other:?}: {json}")),
    }
}

#[tokio::test]
async fn check_says_what_the_loader_says_of_every_library() {
    let folder = tempfile::tempdir().unwrap();
    let mut cases = files::cases(folder.path());
    cases.extend(native::cases(folder.path()));
    let asked: Vec<(String, PathBuf, Option<&'static [&'static str]>)> = cases
        .iter()
        .filter(|case| case.name != "wrong-pin")
        .filter_map(|case| case.library().map(|(path, codes)| (case.name.clone(), path.clone(), codes)))
        .collect();
    assert!(asked.len() >= 60, "only {} libraries", asked.len());
    let asking = asked.into_iter().map(async |(name, path, codes)| {
        let asked = tokio::task::spawn_blocking(move || match (code_of(&path), codes) {
            (Err(objection), _) => Some(format!("{name}: {objection}")),
            (Ok(Some(code)), Some(codes)) if codes.contains(&code.as_str()) => None,
            (Ok(_), None) => None,
            (Ok(code), Some(codes)) => {
                Some(format!("{name}: the loader says {codes:?}, check says {code:?}"))
            }
        });
        asked.await.unwrap()
    });
    let answers: Vec<Option<String>> = stream::iter(asking).buffer_unordered(AT_ONCE).collect().await;
    let wrong: Vec<String> = answers.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
