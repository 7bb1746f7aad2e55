//! `threads list`, `show` and `export`.

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, Write},
    time::SystemTime,
};

use agent_host_core::{identity::Scope, ports::store::LogEntry, sanitise, timestamp};
use agent_host_store::{Archive, OwnedThread};
use agent_plugin_protocol::{EventKind, Seq, ThreadId};
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use super::{failed, open};
use crate::{
    admin,
    cli::{Output, ThreadArgs, ThreadsCommand, ThreadsListArgs},
    exit::{self, Exit, Failure},
};

/// Events of one read.
const PAGE: usize = 1000;

/// The command.
pub(crate) fn threads(command: &ThreadsCommand) -> Result<(), Failure> {
    match command {
        ThreadsCommand::List(args) => list(args),
        ThreadsCommand::Show(args) => show(args),
        ThreadsCommand::Export(args) => export(args),
        ThreadsCommand::Delete(args) => admin::delete_threads(args),
    }
}

fn list(args: &ThreadsListArgs) -> Result<(), Failure> {
    let scope = |user: &String| Scope { tenant: args.tenant.as_str().into(), user: user.as_str().into() };
    let scope = args.user.as_ref().map(scope);
    let found = open(&args.store)?.threads(scope.as_ref(), args.limit).map_err(failed)?;
    match args.output {
        Output::Json => exit::say(&format!("{:#}", found.iter().map(told).collect::<Value>())),
        Output::Table if found.is_empty() => exit::say("no threads"),
        Output::Table => {
            let row = |thread: &OwnedThread| {
                let state = if thread.open { "open run" } else { "at rest" };
                format!(
                    "{state:<8}  {:<34}  {:<24}  {:<24}  {:>7} events  {:>9} B",
                    line(thread.summary.thread.as_str()),
                    line(&format!("{}/{}", thread.scope.tenant, thread.scope.user)),
                    time(thread.summary.used),
                    thread.summary.last,
                    thread.bytes,
                )
            };
            exit::say(&found.iter().map(row).collect::<Vec<_>>().join("\n"))
        }
    }
}

fn show(args: &ThreadArgs) -> Result<(), Failure> {
    let archive = open(&args.store)?;
    let thread = find(&archive, &args.thread)?;
    let mut kinds: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut runs: Vec<(String, String)> = Vec::new();
    each(&archive, &thread, |entry| {
        *kinds.entry(entry.event.kind.as_str()).or_default() += 1;
        let run = entry.event.run.to_string();
        match entry.event.kind {
            EventKind::UserMessage => runs.push((run, "open".to_owned())),
            EventKind::AgentCompleted => {
                let payload: Value = serde_json::from_slice(&entry.event.payload).unwrap_or_default();
                let status = payload["status"].as_str().unwrap_or("unreadable").to_owned();
                if let Some(known) = runs.iter_mut().find(|(id, _)| *id == run) {
                    known.1 = status;
                }
            }
            EventKind::AgentStarted
            | EventKind::AgentThinking
            | EventKind::ToolExecuting
            | EventKind::ToolCompleted
            | EventKind::AgentMessageDelta
            | EventKind::AgentDelegated
            | EventKind::AgentReturned
            | EventKind::RunDegraded => {}
        }
        Ok(())
    })?;
    match args.output {
        Output::Json => {
            let mut all = told(&thread);
            all["events_by_type"] = json!(kinds);
            all["runs"] =
                runs.iter().map(|(run, status)| json!({ "run_id": run, "status": status })).collect();
            exit::say(&format!("{all:#}"))
        }
        Output::Table => {
            let mut lines = vec![
                format!("thread    {}", line(thread.summary.thread.as_str())),
                format!("of        {}", line(&format!("{}/{}", thread.scope.tenant, thread.scope.user))),
                format!("began     {}", time(thread.summary.created)),
                format!("used      {}", time(thread.summary.used)),
                format!("events    {} ({} B)", thread.summary.last, thread.bytes),
            ];
            lines.extend(kinds.iter().map(|(kind, count)| format!("  {kind:<20} {count:>7}")));
            lines.push(format!("runs      {}", runs.len()));
            lines.extend(runs.iter().map(|(run, status)| format!("  {:<34} {}", line(run), line(status))));
            exit::say(&lines.join("\n"))
        }
    }
}

/// An event as the protocol shows it.
#[derive(Serialize)]
struct Exported<'a> {
    #[serde(rename = "type")]
    kind: EventKind,
    seq: Seq,
    thread_id: &'a ThreadId,
    run_id: &'a agent_plugin_protocol::RunId,
    agent: &'a str,
    time: String,
    payload: &'a RawValue,
}

fn export(args: &ThreadArgs) -> Result<(), Failure> {
    let archive = open(&args.store)?;
    let thread = find(&archive, &args.thread)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let gone = |error: io::Error| Failure::new(Exit::Failed, format!("the output is gone: {error}"));
    each(&archive, &thread, |entry| {
        let payload = serde_json::from_slice(&entry.event.payload)
            .map_err(|error| Failure::new(Exit::Failed, format!("event {}: {error}", entry.seq)))?;
        let event = Exported {
            kind: entry.event.kind,
            seq: entry.seq,
            thread_id: &entry.thread,
            run_id: &entry.event.run,
            agent: &entry.event.agent,
            time: time(entry.event.time),
            payload,
        };
        serde_json::to_writer(&mut out, &event).map_err(|error| gone(error.into()))?;
        out.write_all(b"\n").map_err(gone)
    })?;
    out.flush().map_err(gone)
}

fn find(archive: &Archive, name: &str) -> Result<OwnedThread, Failure> {
    let id = ThreadId::new(name).map_err(|invalid| Failure::new(Exit::Failed, invalid.to_string()))?;
    let found = archive.thread(&id).map_err(failed)?;
    found.ok_or_else(|| Failure::new(Exit::Failed, format!("there is no thread {}", line(name))))
}

fn each(
    archive: &Archive,
    thread: &OwnedThread,
    mut look: impl FnMut(&LogEntry) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut after = Seq::START;
    loop {
        let page = archive.events(thread, after, PAGE).map_err(failed)?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.seq;
        page.iter().try_for_each(&mut look)?;
    }
}

fn told(thread: &OwnedThread) -> Value {
    json!({
        "thread_id": thread.summary.thread, "tenant": &*thread.scope.tenant, "user": &*thread.scope.user,
        "created": time(thread.summary.created), "used": time(thread.summary.used),
        "events": thread.summary.last, "bytes": thread.bytes, "open_run": thread.open,
    })
}

fn time(time: SystemTime) -> String {
    timestamp::rfc3339(time)
}

/// A client's text on a terminal.
fn line(text: &str) -> String {
    sanitise::line(text, 128)
}
