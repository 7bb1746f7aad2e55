//! `drill`: has a host that allows it suffer fault after fault while people of the drill's own talk to it, and says what
//! held. What it does, it undoes: by the fault's own time, on Ctrl-C, and where others are hurt.

mod desk;
mod door;
mod judge;
mod report;
mod scenario;
mod scene;
mod talk;
mod talker;

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use agent_host_core::chaos::Kind;
use agent_host_gateway::admin::view::StatusPage;
use agent_plugin_protocol::{Code, PluginId};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
    time::Instant,
};

use self::{
    desk::Desk,
    door::Door,
    judge::Verdict,
    report::{Played, Report},
    scenario::{ALL, Scenario},
};
use crate::{
    cli::{DrillArgs, Output},
    exit::{Exit, Failure, say},
};

/// The names of the scenarios.
pub(crate) const SCENARIOS: [&str; ALL.len()] = scenario::names();

/// What its people say where nothing else is given.
const MESSAGE: &str = "This is a drill: please answer with a word.";

/// `drill`
pub(crate) fn run(args: &DrillArgs) -> Result<ExitCode, Failure> {
    let scenarios = chosen(&args.only);
    if args.list {
        say(&listed(&scenarios))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut drill = Drill::new(args)?;
    // Before minutes are spent on what cannot be filed then.
    let file = args.report.as_deref().map(|path| made(path).map(|file| (path, file))).transpose()?;
    let report = drill.play_all(&scenarios);
    match args.admin.output {
        Output::Table => say(&report.table())?,
        Output::Json => say(&format!("{:#}", report.json()))?,
    }
    if let Some((path, mut file)) = file {
        let json = path.extension().is_some_and(|extension| extension == "json");
        let text = if json { format!("{:#}\n", report.json()) } else { report.markdown() };
        file.write_all(text.as_bytes()).map_err(|error| unwritten(path, &error))?;
    }
    Ok(report.exit().map_or(ExitCode::SUCCESS, |exit| ExitCode::from(exit.status())))
}

fn chosen(only: &[String]) -> Vec<Scenario> {
    if only.is_empty() {
        return ALL.to_vec();
    }
    // The command line knows the names.
    only.iter().filter_map(|name| Scenario::find(name)).collect()
}

fn listed(scenarios: &[Scenario]) -> String {
    let lines = scenarios.iter().map(|scenario| {
        let (does, holds) = words(scenario);
        format!("{}\n    does   {does}\n    holds  {holds}", scenario.name)
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn words(scenario: &Scenario) -> (&'static str, &'static str) {
    Kind::parse(scenario.name).map_or(("", ""), |kind| (kind.row().does, kind.row().holds))
}

/// The report's file, empty so far.
fn made(path: &Path) -> Result<File, Failure> {
    let made = OpenOptions::new().write(true).create_new(true).open(path);
    made.map_err(|error| unwritten(path, &error))
}

fn unwritten(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("the report, {}: {error}", path.display()))
        .with_remedy("give --report a file that is not there yet, in a folder that you may write")
}

/// A drill under way.
struct Drill {
    desk: Desk,
    runtime: Runtime,
    door: Door,
    plugin: PluginId,
    duration: Duration,
    recover_within: Duration,
    /// What its people say, by turns.
    messages: Arc<[String]>,
    may_hurt: u64,
    /// Runs of others that had ended badly when it began.
    hurt_before: u64,
    /// Runs of the drill's people that ended badly, in the scenarios before.
    own_bad: u64,
    /// Ctrl-C.
    interrupted: Arc<AtomicBool>,
    first: StatusPage,
    left: Vec<String>,
}

impl Drill {
    /// Looks whether there can be one: the host allows it, is well, and nobody else would be hurt.
    fn new(args: &DrillArgs) -> Result<Self, Failure> {
        let failed = |why: String| Failure::new(Exit::Failed, why);
        let door = Door::new(args)?;
        let mut desk = Desk::new(&args.admin);
        let (chaos, first) = (desk.chaos()?, desk.status()?);
        if !chaos.enabled {
            let code = Code::ChaosDisabled;
            return Err(failed(format!("{code}: {}", code.meaning())).with_remedy(code.remedy()));
        }
        if !chaos.active.is_empty() {
            let why = "faults are in force already, so that it could not be told what is of the drill's";
            return Err(failed(why.to_owned()).with_remedy("wait, or end them with `agent-host chaos stop`"));
        }
        let (connections, hurt_before) = desk.everybody()?;
        if connections > 0 && args.may_hurt == 0 {
            let what =
                if connections == 1 { "1 connection is" } else { &format!("{connections} connections are") };
            return Err(failed(format!("{what} open: people would be hurt")).with_remedy(
                "take the host out of rotation and have them leave, or say with --may-hurt how many of their runs may \
                 end badly",
            ));
        }
        let plugin = match &args.plugin {
            Some(plugin) => plugin.clone(),
            None => first_healthy(&mut desk)?,
        };
        let page = desk.plugin(&plugin)?;
        if page.line.kind != "agent" {
            let what = format!("{plugin} is a {}: people talk to an agent", page.line.kind);
            return Err(failed(what).with_remedy(
                "leave --plugin out, or name one that `agent-host plugins list` calls an agent",
            ));
        }
        if page.line.verdict != "healthy" {
            let what = format!("{plugin} is not healthy to begin with: it is {}", page.line.state);
            return Err(failed(what).with_remedy(&format!("see `agent-host plugins why {plugin}`")));
        }
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| failed(error.to_string()))?;
        door.leads_to(&first.host, &runtime)?;
        let interrupted = Arc::new(AtomicBool::new(false));
        runtime.block_on(async { listen(&interrupted) }).map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            desk,
            runtime,
            door,
            plugin,
            duration: args.duration,
            recover_within: args.recover_within,
            messages: if args.message.is_empty() {
                Arc::new([MESSAGE.to_owned()])
            } else {
                args.message.as_slice().into()
            },
            may_hurt: args.may_hurt,
            hurt_before,
            own_bad: 0,
            interrupted,
            first,
            left: Vec::new(),
        })
    }

    fn play_all(&mut self, scenarios: &[Scenario]) -> Report {
        let mut played = Vec::new();
        let mut over: Option<String> = None;
        for (number, scenario) in (1..).zip(scenarios) {
            let begun = Instant::now();
            let (verdict, seen) = match &over {
                Some(why) => (Verdict::NotTried(why.clone()), None),
                None => {
                    self.tell(&format!("{number}/{} {}", scenarios.len(), scenario.name));
                    self.play(scenario)
                }
            };
            if over.is_none() {
                self.tell(&format!("    {}", verdict.told()));
            }
            if let Verdict::BrokenOff(why) = &verdict {
                over = Some(format!("the drill was broken off before: {why}"));
            }
            let (does, holds) = words(scenario);
            played.push(Played {
                name: scenario.name,
                order: self.order(scenario),
                does: does.to_owned(),
                holds: holds.to_owned(),
                verdict,
                seen,
                took: begun.elapsed(),
            });
        }
        Report {
            url: self.door.to.url.clone(),
            host: self.first.host.clone(),
            version: self.first.version.clone(),
            plugin: self.plugin.to_string(),
            began: self.first.time.clone(),
            duration: self.duration,
            played,
            left: std::mem::take(&mut self.left),
        }
    }

    fn tell(&self, what: &str) {
        agent_host_telemetry::log::say(what);
    }
}

fn listen(interrupted: &Arc<AtomicBool>) -> std::io::Result<()> {
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let (mut asked, interrupted) = (signal(kind)?, Arc::clone(interrupted));
        tokio::spawn(async move {
            while asked.recv().await.is_some() {
                interrupted.store(true, Ordering::Relaxed);
            }
        });
    }
    Ok(())
}

fn first_healthy(desk: &mut Desk) -> Result<PluginId, Failure> {
    let plugins = desk.plugins()?.plugins;
    let healthy = plugins.iter().find(|plugin| plugin.kind == "agent" && plugin.verdict == "healthy");
    healthy.and_then(|plugin| PluginId::new(&plugin.id).ok()).ok_or_else(|| {
        let what = "no agent is healthy, so that there is nothing to harm";
        Failure::new(Exit::Failed, what).with_remedy("see `agent-host plugins list`")
    })
}
