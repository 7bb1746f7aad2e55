//! What a scripted host shows: a status, plugins, an event.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use agent_host_core::{
    isolation::{Layer, LayerState, SandboxReport},
    level::ServiceLevel,
    outcome::{Exit, ExitReport},
    ports::{
        instance::Isolation,
        library::Candidate,
        store::{Durability, LogEntry, NewEvent},
    },
};
use agent_host_engine::{
    ChangedFile, Outgoing,
    session::Delivery,
    view::{
        BreakerView, BudgetView, Crash, Missing, OpenCall, PluginDetail, PluginView, ServiceView, SparesView,
        StateChange, Status,
    },
};
use agent_plugin_protocol::{Code, EventKind, Generation, PluginId, PluginKind, RunId, Seq, ThreadId};

pub(crate) fn event(seq: u64, kind: EventKind, agent: &str, payload: &'static str) -> Outgoing {
    Outgoing::Event(Arc::new(Delivery::new(LogEntry {
        seq: Seq(seq),
        thread: ThreadId::new("t1").unwrap(),
        event: NewEvent {
            run: RunId::new("r1").unwrap(),
            kind,
            agent: agent.into(),
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_042),
            payload: payload.into(),
        },
    })))
}

pub(crate) fn plugin(id: &str, kind: PluginKind, healthy: bool) -> PluginView {
    PluginView {
        id: PluginId::new(id).unwrap(),
        kind,
        verdict: if healthy { "healthy" } else { "failed" },
        state: if healthy { "healthy" } else { "quarantined" },
        since: SystemTime::UNIX_EPOCH,
        generation: Generation(1),
        version: Some("1.2.0".to_owned()),
        description: Some("Says it again.".to_owned()),
        isolation: Isolation::Process,
        digest: None,
        fault: None,
        restarts: 0,
        retry_at: None,
        served_by: None,
    }
}

/// A plugin with something in each part.
pub(crate) fn detail(view: PluginView) -> PluginDetail {
    let now = SystemTime::UNIX_EPOCH;
    let report = ExitReport {
        exit: Exit::Signal(11),
        uptime: Duration::from_secs(3),
        stderr_tail: vec!["\u{1b}[31mlast words\u{202e}".to_owned()],
        crash: None,
    };
    PluginDetail {
        view,
        sandbox: SandboxReport([(Layer::Seccomp, LayerState::enforced())].into()),
        breaker: BreakerView { state: "closed", since: now, retry_at: None, failures: 1, calls: 4 },
        in_flight: 2,
        waiting: 0,
        restarts: BudgetView { used: 1, max: 5, within: Duration::from_secs(60) },
        canary: None,
        former: None,
        rolled_back: None,
        spares: SparesView { wanted: 0, ready: 0, fault: None },
        candidate: None,
        changed_file: Some(ChangedFile {
            candidate: Candidate { digest: Some("e3b0".to_owned()), fault: None },
            seen: now,
        }),
        retiring: Vec::new(),
        history: vec![StateChange {
            at: now,
            generation: Generation(1),
            from: "initialised",
            to: "healthy",
            code: None,
            reason: None,
        }],
        last_crash: Some(Crash {
            at: now,
            generation: Generation(1),
            uptime: Duration::from_secs(3),
            calls: vec![OpenCall { method: "handle", run: RunId::new("r1").unwrap() }],
            report: Arc::new(report),
        }),
    }
}

pub(crate) fn status() -> Status {
    Status {
        host: "test-host".into(),
        level: ServiceLevel::Partial,
        reason: "not healthy: billing".to_owned(),
        missing: vec![Missing {
            name: "billing".to_owned(),
            kind: "agent",
            code: Code::PluginCrashLoop,
            reason: "it keeps crashing".to_owned(),
            retry_after_ms: Some(30_000),
        }],
        plugins: vec![plugin("echo", PluginKind::Agent, true), plugin("billing", PluginKind::Agent, false)],
        services: vec![ServiceView { name: "store", verdict: "healthy", code: None, reason: None }],
        durability: Durability::Durable,
        starting: false,
        draining: false,
    }
}
