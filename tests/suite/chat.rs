//! `agent-host chat` as a person and as a script use it, against real hosts that come and go.

use std::{
    io::{BufRead as _, BufReader, Read, Write as _},
    net::SocketAddr,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    harness::{Host, PATIENCE, Plugin, Setup, artifacts, clock::Moment, door::Door, eventually, tokens},
    scenario::ready,
};

/// A running `chat`.
struct Chat {
    child: Child,
    input: Option<ChildStdin>,
    /// Both streams, in the order in which their lines came.
    said: Arc<Mutex<Vec<String>>>,
}

impl Chat {
    fn start(arguments: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(artifacts::host());
        command.arg("chat").args(arguments).env_clear().envs(env.iter().copied());
        let mut child = command
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the host's binary runs");
        let said = Arc::new(Mutex::new(Vec::new()));
        gather(child.stdout.take().expect("piped above"), &said);
        gather(child.stderr.take().expect("piped above"), &said);
        let input = child.stdin.take();
        Self { child, input, said }
    }

    fn with(host: &Host, more: &[&str]) -> Self {
        Self::at(host.address, more)
    }

    fn at(address: SocketAddr, more: &[&str]) -> Self {
        let url = format!("ws://{address}/ws");
        let token = tokens::of("alice");
        Self::start(&[&[url.as_str()], more].concat(), &[("AGENT_HOST_TOKEN", &token)])
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().expect("the input is open"), "{line}").unwrap();
    }

    fn text(&self) -> String {
        self.said.lock().unwrap().join("\n")
    }

    /// Waits until it has said so.
    async fn says(&self, what: &str) {
        self.says_times(what, 1).await;
    }

    async fn says_times(&self, what: &str, times: usize) {
        let seen = async || match self.text().matches(what).count() >= times {
            true => Ok(()),
            false => Err(self.text()),
        };
        eventually(&format!("chat says {what:?} {times} times"), seen).await.unwrap();
    }

    /// Ends the input, and waits for the end.
    async fn end(mut self) -> (Option<i32>, String) {
        self.input = None;
        self.ended().await
    }

    async fn ended(mut self) -> (Option<i32>, String) {
        let child = &mut self.child;
        let began = Moment::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "chat does not end: {}",
                self.said.lock().unwrap().join("\n")
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        // Its pipes close with it; their readers may be a moment behind.
        let drained = async || if Arc::strong_count(&self.said) == 1 { Ok(()) } else { Err(String::new()) };
        eventually("its output was read", drained).await.unwrap();
        (status.code(), self.text())
    }

    fn interrupt(&self) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a child has an id");
        kill_process(id, Signal::INT).unwrap();
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn gather(pipe: impl Read + Send + 'static, into: &Arc<Mutex<Vec<String>>>) {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            into.lock().unwrap().push(line);
        }
    });
}

#[tokio::test]
async fn a_script_s_line_is_answered_and_the_end_of_the_input_is_the_end() {
    let host = Setup::echo().start();
    ready(&host).await.unwrap();
    let mut chat = Chat::with(&host, &[]);
    chat.say("hello from a pipe");
    let (status, said) = chat.end().await;
    assert_eq!(status, Some(0), "{said}");
    for expected in ["as alice; agents: echo (healthy)", "service: full", "hello from a pipe"] {
        assert!(said.contains(expected), "no {expected:?} in: {said}");
    }
}

#[tokio::test]
async fn lines_are_answered_in_order_in_one_conversation() {
    let host = Setup::echo().start();
    ready(&host).await.unwrap();
    let mut chat = Chat::with(&host, &["--output", "json"]);
    for line in ["first", "second", "third"] {
        chat.say(line);
    }
    let (status, said) = chat.end().await;
    assert_eq!(status, Some(0), "{said}");
    let frames: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let of = |kind: &str| frames.iter().filter(|frame| frame["type"] == kind).collect::<Vec<_>>();
    let completed = of("agent_completed");
    assert_eq!((of("welcome").len(), of("accepted").len(), completed.len()), (1, 3, 3), "{said}");
    assert!(completed.iter().all(|end| end["thread_id"] == completed[0]["thread_id"]), "{said}");
    let place =
        |text: &str| completed.iter().position(|end| end["payload"]["text"].as_str().unwrap().contains(text));
    assert_eq!((place("first"), place("second"), place("third")), (Some(0), Some(1), Some(2)));
}

#[tokio::test]
async fn a_configuration_and_a_user_are_enough() {
    let setup = Setup::echo();
    let host = setup.start();
    ready(&host).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    setup.write(dir.path());
    let url = format!("http://{}", host.address);
    let mut chat = Chat::start(&[&url, "--config", dir.path().to_str().unwrap(), "--user", "carol"], &[]);
    chat.say("hi");
    let (status, said) = chat.end().await;
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("as carol"), "{said}");
}

#[tokio::test]
async fn a_host_that_is_not_there_is_69_and_a_bad_token_is_1() {
    let token = tokens::of("alice");
    // The discard port: nobody listens there.
    let nobody = Chat::start(&["ws://127.0.0.1:9/ws"], &[("AGENT_HOST_TOKEN", &token)]);
    let (status, said) = nobody.end().await;
    assert_eq!(status, Some(69), "{said}");

    let host = Setup::echo().start();
    let url = format!("ws://{}/ws", host.address);
    let bad = tokens::signed(&tokens::claims("alice"), tokens::OTHER_SECRET);
    let (status, said) = Chat::start(&[&url, "--token", &bad], &[]).end().await;
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("auth.invalid"), "{said}");

    let (status, said) = Chat::start(&[&url], &[]).end().await;
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("there is no token"), "{said}");
}

#[tokio::test]
async fn a_refused_message_is_1_with_its_code_and_what_to_do() {
    let host = Setup::echo().start();
    ready(&host).await.unwrap();
    let mut chat = Chat::with(&host, &["--agent", "nobody"]);
    chat.say("hi");
    let (status, said) = chat.end().await;
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("agent.unknown") && said.contains("what to do"), "{said}");
}

#[tokio::test]
async fn a_killed_host_is_told_and_the_next_one_is_talked_to() {
    let setup = Setup::echo();
    let host = setup.start();
    ready(&host).await.unwrap();
    let door = Door::before(host.address).await;
    let mut chat = Chat::at(door.address, &[]);
    chat.say("before the fall");
    chat.says("before the fall").await;
    drop(host);
    chat.says("connection lost").await;
    chat.say("while nobody was there");
    let host = setup.start();
    ready(&host).await.unwrap();
    door.leads_to(host.address);
    chat.says_times("as alice", 2).await;
    chat.says("while nobody was there").await;
    chat.say("after the fall");
    chat.says("after the fall").await;
    let (status, said) = chat.end().await;
    assert_eq!(status, Some(0), "{said}");
}

#[tokio::test]
async fn a_host_that_stays_away_is_69() {
    let host = Setup::echo().start();
    ready(&host).await.unwrap();
    let mut chat = Chat::with(&host, &["--retry-for", "1s"]);
    chat.say("hello");
    chat.says("hello").await;
    drop(host);
    let (status, said) = chat.ended().await;
    assert_eq!(status, Some(69), "{said}");
    assert!(said.contains("connection lost"), "{said}");
}

#[tokio::test]
async fn ctrl_c_cancels_the_run_and_once_more_ends() {
    let host = Setup::new()
        .plugin(Plugin::misbehaving("slow").key("timeouts", "{ run = \"60s\", idle = \"60s\" }"))
        .start();
    ready(&host).await.unwrap();
    let mut chat = Chat::with(&host, &[]);
    chat.say("!slow 60000");
    chat.says("taking my time").await;
    chat.interrupt();
    chat.says("cancelled").await;
    chat.interrupt();
    let (status, said) = chat.ended().await;
    assert_eq!(status, Some(1), "the run had no answer: {said}");
}
