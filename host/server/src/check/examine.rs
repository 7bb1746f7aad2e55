//! Examines one file: reads it, has the loader judge it in a worker process, and holds what lives against the contract.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use agent_host_core::{
    ports::instance::{
        Fault, InstanceCommand, InstanceHandle, Isolation as Tier, Limits, PluginRuntime as _, PluginSpec,
        Stage, Started, Timeouts,
    },
    ports::library::Trust,
    ports::progress::Progress,
    sanitise,
};
use agent_host_runtime::{Inspection, ProcessRuntime, Tuning, WorkerCommand, inspect};
use agent_plugin_protocol::{Code, Generation, PluginId, PluginKind};
use agent_plugin_testkit::{
    conformance::{self, Plan},
    measure,
};

use super::{
    advice::Isolation,
    report::{Artifact, Checked},
    subject::InstanceCalls,
};
use crate::cli::CheckArgs;

/// Checks a file. Whatever it is, the answer is a report.
pub(super) async fn examine(file: &Path, args: &CheckArgs) -> Checked {
    let mut checked = blank(file);
    let inspected = look(file, &args.keys).await;
    let inspection = inspected.as_ref().ok();
    let library = inspection.and_then(|inspection| inspection.library.as_ref());
    let descriptor = library.and_then(|library| library.descriptor.as_ref());
    checked.artifact = inspection.map(Artifact::new);
    checked.isolation = library.map(Isolation::advise);
    checked.plugin = descriptor.map(Into::into);
    let kind = args.kind.map(Into::into).or(descriptor.map(|it| it.kind)).unwrap_or(PluginKind::Agent);
    // Whatever it requires is taken to be there: that is the operator's affair.
    let services: Arc<[String]> = descriptor.map(|it| it.requires.clone()).unwrap_or_default().into();

    let judged = match spec(file, kind, args) {
        Ok(spec) => judge(&mut checked, Arc::new(spec), &services).await,
        Err(fault) => Err(fault),
    };
    checked.fault = judged.err().map(Into::into);
    checked.fit = checked.fault.is_none() && checked.conformance.as_ref().is_some_and(|it| it.conforms);
    checked
}

/// The loader's verdict, the suite, and, of a plugin that keeps the contract, the cost.
async fn judge(checked: &mut Checked, spec: Arc<PluginSpec>, services: &Arc<[String]>) -> Result<(), Fault> {
    let started = start(&spec, services).await?;
    checked.verdict = "healthy";
    checked.isolation_enforced = Some(started.sandbox.summary());
    checked.sandbox = started.sandbox;
    let patience = spec.timeouts.run;
    let plan = Plan { patience, ..Plan::of(spec.kind) };
    let mut calls = InstanceCalls::new(started.handle.clone(), patience);
    let report = conformance::run(&mut calls, &plan).await;
    end(&started.handle).await;
    // In a worker of its own: the suite has drained the first, and may have left calls in it.
    if report.conforms() {
        let started = start(&spec, services).await?;
        let mut calls = InstanceCalls::new(started.handle.clone(), patience);
        checked.cost = measure(&mut calls, &plan, BUDGET).await;
        end(&started.handle).await;
    }
    checked.conformance = Some(report.into());
    Ok(())
}

fn blank(file: &Path) -> Checked {
    Checked {
        file: sanitise::line(&file.to_string_lossy(), 1000),
        fit: false,
        verdict: "failed",
        fault: None,
        artifact: None,
        plugin: None,
        isolation: None,
        sandbox: Default::default(),
        isolation_enforced: None,
        conformance: None,
        cost: None,
    }
}

async fn look(file: &Path, keys: &[String]) -> Result<Inspection, Fault> {
    let (path, keys) = (file.to_owned(), keys.to_vec());
    let fault = |reason: &str| Fault::new(Stage::Verify, Code::PluginUnreadable, reason);
    // A disk that hangs, or a panic over a file that nobody thought of, costs its own thread.
    match tokio::time::timeout(DISK, tokio::task::spawn_blocking(move || inspect(&path, LARGEST, &keys)))
        .await
    {
        Ok(Ok(looked)) => looked,
        Ok(Err(_)) => Err(fault("it could not be read: a bug of this program")),
        Err(_) => Err(fault("it could not be read in time")),
    }
}

async fn start(spec: &Arc<PluginSpec>, services: &Arc<[String]>) -> Result<Started, Fault> {
    let runtime = ProcessRuntime::new(WorkerCommand::this_program("worker"), Tuning::default());
    let begun = runtime.start(Arc::clone(spec), Generation(1), Arc::clone(services), Progress::unheard());
    let start = tokio::spawn(begun);
    let bug = |_| Fault::new(Stage::Load, Code::HostInternal, "the loader panicked: a bug of this program");
    start.await.map_err(bug)?
}

/// Ends the worker, and waits for it: nothing is left behind.
async fn end(handle: &InstanceHandle) {
    let _ = handle.commands.send(InstanceCommand::Stop { grace: GRACE }).await;
    let _ = tokio::time::timeout(GRACE * 4, handle.exit.clone().wait_for(Option::is_some)).await;
}

/// The slot that a check plays: a host's defaults, no tools, and no folder of its own.
fn spec(file: &Path, kind: PluginKind, args: &CheckArgs) -> Result<PluginSpec, Fault> {
    let id = PluginId::new("check")
        .map_err(|error| Fault::new(Stage::Discover, Code::HostInternal, error.to_string()))?;
    Ok(PluginSpec {
        id,
        kind,
        path: file.to_owned(),
        isolation: Tier::Process,
        sha256: None,
        // With a key at hand, the question is whether it signed this.
        trust: Trust {
            require_pin: false,
            require_signature: !args.keys.is_empty(),
            keys: args.keys.clone(),
        },
        secrets: BTreeMap::new(),
        network: Vec::new(),
        config: args.plugin_config.clone().unwrap_or(serde_json::Value::Null),
        requires: Vec::new(),
        timeouts: Timeouts {
            init: INIT,
            tool: args.patience,
            idle: args.patience,
            run: args.patience,
            grace: GRACE,
            queue: Duration::ZERO,
        },
        limits: Limits {
            memory: 512 << 20,
            concurrent_runs: 64,
            queued_runs: 0,
            library: LARGEST,
            open_files: 256,
            cpu_percent: 0,
        },
        tools: Vec::new(),
        threads: 2,
        data_dir: None,
        log_level: "info".to_owned(),
    })
}

/// The largest library that is read: a host's default, as are the other bounds.
const LARGEST: u64 = 256 << 20;
/// Reading a file.
const DISK: Duration = Duration::from_secs(30);
/// Load, create and probe, each.
const INIT: Duration = Duration::from_secs(5);
/// An orderly end.
const GRACE: Duration = Duration::from_secs(2);
/// For each of the two measurements.
const BUDGET: Duration = Duration::from_millis(500);
