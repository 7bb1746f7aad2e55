//! `events --follow` goes on by itself: after a cut without a gap or a double, over a gap and over a restart by saying so.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{
    admin_host::ask,
    harness::{Host, Setup, artifacts, eventually},
    scenario::ready,
};

/// What stands before the admin listener: it carries, or cuts all and takes none.
struct Door {
    address: SocketAddr,
    open: watch::Sender<bool>,
    to: Arc<Mutex<SocketAddr>>,
}

impl Door {
    async fn before(host: &Host) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (open, seen) = watch::channel(true);
        let to = Arc::new(Mutex::new(host.admin));
        let target = Arc::clone(&to);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (mut seen, to) = (seen.clone(), *target.lock().unwrap());
                tokio::spawn(async move {
                    let carry = async {
                        let mut host = TcpStream::connect(to).await?;
                        copy_bidirectional(&mut client, &mut host).await
                    };
                    tokio::select! {
                        _ = carry => {}
                        _ = seen.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { address, open, to }
    }
}

/// The command, its lines in a file.
struct Following {
    child: Child,
    out: PathBuf,
}

impl Following {
    fn start(host: &Host, door: &Door) -> Self {
        let out = host.dir().join(".followed");
        let child = Command::new(artifacts::host())
            .args(["events", "--follow", "--output", "json", "--admin"])
            .arg(format!("http://{}", door.address))
            .arg("--config")
            .arg(host.dir())
            .stdout(fs::File::create(&out).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, out }
    }

    fn lines(&self) -> Vec<Value> {
        lines(&self.out)
    }

    async fn until(&self, what: &str, says: impl Fn(&Value) -> bool) -> Vec<Value> {
        let said = eventually(what, async || match self.lines() {
            lines if lines.iter().any(&says) => Ok(lines),
            lines => Err(format!("{:?}", lines.last())),
        });
        said.await.unwrap()
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

/// Each number follows the one before it; over as many as are said to be missed.
fn without_gap(lines: &[Value]) {
    let mut next = None;
    for line in lines {
        if let Some(missed) = line["missed"].as_u64() {
            next = next.map(|next: u64| next + missed);
            continue;
        }
        if line["restarted"] == true {
            next = None;
            continue;
        }
        let found = number(line).unwrap();
        assert_eq!(next.unwrap_or(found), found, "{line}");
        next = Some(found + 1);
    }
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

#[tokio::test]
async fn a_cut_a_gap_and_a_restart_are_gone_over() {
    let setup = Setup::echo().operated();
    let mut host = setup.start();
    ready(&host).await.unwrap();
    let door = Door::before(&host).await;
    let following = Following::start(&host, &door);
    following.until("it begins", |line| line["event"] == "HostListening").await;

    door.open.send_replace(false);
    order(&host, "warn").await;
    door.open.send_replace(true);
    let lines = following.until("what happened meanwhile is told", ordered("warn")).await;
    without_gap(&lines);
    assert!(lines.iter().all(|line| line["missed"].is_null()), "nothing was missed: {lines:?}");

    door.open.send_replace(false);
    // 256 are kept.
    for _ in 0..300 {
        order(&host, "info").await;
    }
    order(&host, "debug").await;
    door.open.send_replace(true);
    let lines = following.until("the last of it is told", ordered("debug")).await;
    without_gap(&lines);
    let missed: u64 = lines.iter().filter_map(|line| line["missed"].as_u64()).sum();
    assert!(missed > 0, "301 orders, of which 256 are kept");

    door.open.send_replace(false);
    host.start_again(&setup);
    *door.to.lock().unwrap() = host.admin;
    ready(&host).await.unwrap();
    door.open.send_replace(true);
    order(&host, "error").await;
    let lines = following.until("the new process is followed", ordered("error")).await;
    without_gap(&lines);
    assert_eq!(lines.iter().filter(|line| line["restarted"] == true).count(), 1);
    let first = lines.iter().skip_while(|line| line["restarted"] != true).nth(1);
    assert_eq!(first.and_then(number), Some(1), "from its begin");
}
