//! `events --follow` goes on by itself: after a cut without a gap or a double, over a gap and over a restart by saying so.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    admin_host::ask,
    harness::{Host, Setup, artifacts, door::Door, eventually, within},
    scenario::ready,
};

/// The command, its lines in a file.
struct Following {
    child: Child,
    out: PathBuf,
}

impl Following {
    fn start(host: &Host, door: &Door) -> Self {
        let out = host.dir().join(".followed");
        let child = Command::new(artifacts::host_with_failpoints())
            .args(["events", "--follow", "--output", "json", "--admin"])
            .arg(format!("http://{}", door.address))
            .arg("--config")
            .arg(host.dir())
            // What the host is broken by may be the reader's.
            .env("AGENT_HOST_FAILPOINTS", format!("@{}", host.dir().join("failpoints").display()))
            .stdout(fs::File::create(&out).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, out }
    }

    fn lines(&self) -> Vec<Value> {
        lines(&self.out)
    }

    async fn until(&self, what: &str, says: impl Fn(&Value) -> bool) -> Result<Vec<Value>, String> {
        eventually(what, async || match self.lines() {
            lines if lines.iter().any(&says) => Ok(lines),
            lines => Err(format!("{:?}", lines.last())),
        })
        .await
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whole lines only: the last one may be on its way.
fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn number(event: &Value) -> Option<u64> {
    event["id"].as_str()?.rsplit('-').next()?.parse().ok()
}

/// Each number follows the one before it; over as many as are said to be missed. Answers how many those were.
fn without_gap(lines: &[Value]) -> Result<u64, String> {
    let (mut next, mut all_missed) = (None, 0);
    for line in lines {
        if let Some(missed) = line["missed"].as_u64() {
            all_missed += missed;
            next = next.map(|next: u64| next + missed);
            continue;
        }
        if line["restarted"] == true {
            next = None;
            continue;
        }
        let found = number(line).ok_or_else(|| format!("it has no number: {line}"))?;
        if next.is_some_and(|next| next != found) {
            return Err(format!("not number {next:?}, which is due: {line}"));
        }
        next = Some(found + 1);
    }
    Ok(all_missed)
}

/// Something happens that is told.
async fn order(host: &Host, level: &str) {
    let body = json!({ "level": level }).to_string();
    let answer = ask(host, &["admin:debug"], "PUT", "/admin/v1/log-level", &body).await;
    assert_eq!(answer.unwrap().status, 200);
}

fn ordered(level: &'static str) -> impl Fn(&Value) -> bool {
    move |line| line["event"] == "HostOrdered" && line["fields"]["about"] == level
}

/// Something that the reader hears of since it is there again: it happens until then, a second apart. The reader comes
/// back within five, and may not miss what is kept meanwhile.
async fn heard_again(host: &Host, following: &Following, level: &'static str) -> Result<Vec<Value>, String> {
    eventually("it is there again", async || {
        order(host, level).await;
        within(Duration::from_secs(1), "it is heard", async || match following.lines() {
            lines if lines.iter().any(ordered(level)) => Ok(lines),
            lines => Err(format!("{:?}", lines.last())),
        })
        .await
    })
    .await
}

/// After a cut there is no gap and no double; over more than is kept, the gap is told of.
async fn a_cut_and_a_gap_are_gone_over(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let door = Door::before(host.admin).await;
    let following = Following::start(host, &door);
    // A host that keeps nothing for it is not waited for.
    heard_again(host, &following, "info").await?;

    door.close();
    order(host, "warn").await;
    door.open();
    let lines = heard_again(host, &following, "debug").await?;
    let missed = without_gap(&lines)?;
    if missed > 0 || !lines.iter().any(ordered("warn")) {
        return Err(format!("{missed} were missed, and none had to be: {lines:?}"));
    }

    door.close();
    // 256 are kept.
    for _ in 0..300 {
        order(host, "info").await;
    }
    door.open();
    let lines = heard_again(host, &following, "error").await?;
    match without_gap(&lines)? {
        0 => Err("no gap is told of, after 300 orders of which 256 are kept".to_owned()),
        _ => Ok(()),
    }
}

twin! {
    cut(a_cut_and_a_gap_are_gone_over) on Setup::echo().operated();
    faults ""; broken by "gateway.events_since=off", says "not number";
    broken by "gateway.events_missed=off", says "not number";
    broken by "server.events_after=off", says "not number"
}

#[tokio::test]
async fn a_restart_is_gone_over() {
    let setup = Setup::echo().operated();
    let mut host = setup.start();
    ready(&host).await.unwrap();
    let door = Door::before(host.admin).await;
    let following = Following::start(&host, &door);
    following.until("it begins", |line| line["event"] == "HostListening").await.unwrap();

    door.close();
    host.start_again(&setup);
    door.leads_to(host.admin);
    ready(&host).await.unwrap();
    door.open();
    order(&host, "error").await;
    let lines = following.until("the new process is followed", ordered("error")).await.unwrap();
    without_gap(&lines).unwrap();
    assert_eq!(lines.iter().filter(|line| line["restarted"] == true).count(), 1);
    let first = lines.iter().skip_while(|line| line["restarted"] != true).nth(1);
    assert_eq!(first.and_then(number), Some(1), "from its begin");
}
