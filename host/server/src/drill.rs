//! `drill`: has a host that allows it suffer fault after fault while people of the drill's own talk to it, and says what
//! held. What it does, it undoes: by the fault's own time, on Ctrl-C, and where others are hurt.

mod desk;
mod judge;
mod report;
mod scenario;
mod talk;
mod talker;

use std::{
    fs::OpenOptions,
    io::Write as _,
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use agent_host_core::chaos::Kind;
use agent_host_gateway::admin::view::{FaultOrder, PluginPage, StatusPage};
use agent_plugin_protocol::PluginId;
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
    time::Instant,
};

use self::{
    desk::Desk,
    judge::{Seen, Verdict, judge},
    report::{Played, Report},
    scenario::{ALL, Scenario},
    talk::Talk,
    talker::{Shared, Talker},
};
use crate::{
    cli::{ConfigArgs, DrillArgs, MintArgs, Output},
    configuration,
    exit::{Exit, Failure, say},
    token,
    verify::{peer::Address, token_in},
};

/// People of the drill.
const PEOPLE: usize = 2;
/// How long they talk before the fault.
const CALM: Duration = Duration::from_secs(2);
/// Between two looks at the host.
const LOOK: Duration = Duration::from_millis(100);
/// How long a host may take to be as before: a breaker, or a plugin's pause before a restart, may be among it.
const RECOVER_WITHIN: Duration = Duration::from_secs(60);
/// A fault that is in force for so much longer than it was ordered does not end by itself.
const OVERSTAYS: Duration = Duration::from_secs(5);
/// The drill's own user.
const USER: &str = "drill";

/// `drill`
pub(crate) fn run(args: &DrillArgs) -> Result<ExitCode, Failure> {
    let scenarios = chosen(&args.only)?;
    if args.list {
        say(&listed(&scenarios))?;
        return Ok(ExitCode::SUCCESS);
    }
    if !(Duration::from_secs(2)..=Duration::from_secs(300)).contains(&args.duration) {
        return Err(Failure::new(Exit::Failed, "--duration is a time from 2s to 5m"));
    }
    let mut drill = Drill::new(args)?;
    let report = drill.play_all(&scenarios)?;
    match args.admin.output {
        Output::Table => say(&report.table())?,
        Output::Json => say(&format!("{:#}", report.json()))?,
    }
    if let Some(file) = &args.report {
        let json = file.extension().is_some_and(|extension| extension == "json");
        let text = if json { format!("{:#}\n", report.json()) } else { report.markdown() };
        written(file, &text)?;
    }
    Ok(report.exit().map_or(ExitCode::SUCCESS, |exit| ExitCode::from(exit.status())))
}

fn chosen(only: &[String]) -> Result<Vec<Scenario>, Failure> {
    if only.is_empty() {
        return Ok(ALL.to_vec());
    }
    let find = |name: &String| {
        Scenario::find(name).ok_or_else(|| {
            let what = format!("there is no scenario {name:?}; `agent-host drill --list` names them");
            Failure::new(Exit::Failed, what)
        })
    };
    only.iter().map(find).collect()
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

fn written(file: &Path, text: &str) -> Result<(), Failure> {
    let made = OpenOptions::new().write(true).create_new(true).open(file);
    made.and_then(|mut made| made.write_all(text.as_bytes()))
        .map_err(|error| Failure::new(Exit::Failed, format!("the report, {}: {error}", file.display())))
}

/// A drill under way.
struct Drill {
    desk: Desk,
    runtime: Runtime,
    to: Address,
    token: String,
    plugin: PluginId,
    duration: Duration,
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

/// People who talk.
struct People {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<(Talk, Option<String>)>>,
}

impl Drill {
    /// Looks whether there can be one: the host allows it, is well, and nobody else would be hurt.
    fn new(args: &DrillArgs) -> Result<Self, Failure> {
        let failed = |why: String| Failure::new(Exit::Failed, why);
        let (to, token) = user(args)?;
        let mut desk = Desk::new(&args.admin);
        let (chaos, first) = (desk.chaos()?, desk.status()?);
        if !chaos.enabled {
            return Err(failed(
                "chaos.disabled: this host injects no faults\n  what to do: set `[chaos] enabled = true` in its \
                 files and restart it; never where people rely on it"
                    .to_owned(),
            ));
        }
        if !chaos.active.is_empty() {
            return Err(failed("faults are in force already; `agent-host chaos stop` ends them".to_owned()));
        }
        let (connections, hurt_before) = desk.everybody()?;
        if connections > 0 && args.may_hurt == 0 {
            return Err(failed(format!(
                "{connections} connections are open: people would be hurt\n  what to do: take the host out of \
                 rotation, or say with --may-hurt how many of their runs may end badly"
            )));
        }
        let plugin = match &args.plugin {
            Some(plugin) => plugin.clone(),
            None => first_healthy(&mut desk)?,
        };
        let page = desk.plugin(&plugin)?;
        if page.line.verdict != "healthy" {
            return Err(failed(format!("{plugin} is not healthy to begin with: it is {}", page.line.state)));
        }
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| failed(error.to_string()))?;
        let interrupted = Arc::new(AtomicBool::new(false));
        runtime.block_on(async { listen(&interrupted) }).map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            desk,
            runtime,
            to,
            token,
            plugin,
            duration: args.duration,
            may_hurt: args.may_hurt,
            hurt_before,
            own_bad: 0,
            interrupted,
            first,
            left: Vec::new(),
        })
    }

    fn play_all(&mut self, scenarios: &[Scenario]) -> Result<Report, Failure> {
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
        Ok(Report {
            url: self.to.url.clone(),
            host: self.first.host.clone(),
            version: self.first.version.clone(),
            plugin: self.plugin.to_string(),
            began: self.first.time.clone(),
            duration: self.duration,
            played,
            left: std::mem::take(&mut self.left),
        })
    }

    fn order(&self, scenario: &Scenario) -> FaultOrder {
        scenario.order(&self.plugin, self.duration)
    }

    fn play(&mut self, scenario: &Scenario) -> (Verdict, Option<Seen>) {
        let before = match self.desk.status().and_then(|status| Ok((status, self.desk.plugin(&self.plugin)?)))
        {
            Ok(before) => before,
            Err(failure) => return (Verdict::BrokenOff(failure.to_string()), None),
        };
        let people = self.people();
        let shared = Arc::clone(&people.shared);
        let result = self.harm(scenario, &before, &shared);
        let talk = self.send_home(people);
        self.own_bad += talk.bad();
        match result {
            Err(stopped) => (stopped, None),
            Ok(seen) => {
                let seen = Seen { talk, ..seen };
                (judge(&scenario.expect, &seen, RECOVER_WITHIN), Some(seen))
            }
        }
    }

    /// The fault, from its begin to the time when all is as before. An error is why nothing is to be judged.
    fn harm(
        &mut self,
        scenario: &Scenario,
        (status, plugin): &(StatusPage, PluginPage),
        shared: &Shared,
    ) -> Result<Seen, Verdict> {
        let broken = |failure: Failure| Verdict::BrokenOff(failure.to_string());
        // All is well to begin with, or nothing could be told from it.
        let calm = Instant::now();
        while calm.elapsed() < CALM || !shared.answered_since(calm) {
            if calm.elapsed() > RECOVER_WITHIN {
                let why = "no message is answered without a fault either";
                return Err(Verdict::Failed(vec![why.to_owned()]));
            }
            self.pause(shared)?;
        }
        shared.harmed.store(true, Ordering::Relaxed);
        let begun = Instant::now();
        let injected = self.desk.begin(&self.order(scenario));
        // What cannot be injected here was not tried.
        let injected = injected.map_err(|failure| Verdict::NotTried(failure.to_string()))?;
        let mut seen = Seen { levels: vec![(Duration::ZERO, status.level.clone())], ..Seen::default() };
        let watched = self.watch(injected.id, begun, shared, &mut seen);
        // However it went: nothing stays in force.
        if let Err(failure) = self.desk.end(injected.id) {
            self.left.push(format!(
                "the fault {} ({}) could not be ended ({failure}); it ends by itself",
                injected.id, scenario.name
            ));
        }
        watched?;
        shared.harmed.store(false, Ordering::Relaxed);
        let over = Instant::now();
        while over.elapsed() < RECOVER_WITHIN {
            let now = self.desk.status().map_err(broken)?;
            note(&mut seen.levels, begun, &now.level);
            let page = self.desk.plugin(&self.plugin).map_err(broken)?;
            let healed = now.level == status.level && page.line.verdict == plugin.line.verdict;
            if healed && shared.answered_since(over) {
                seen.recovered = Some(over.elapsed());
                break;
            }
            self.pause(shared)?;
        }
        let after = self.desk.status().map_err(broken)?;
        seen.same_host = (&after.host, &after.since) == (&status.host, &status.since);
        let page = self.desk.plugin(&self.plugin).map_err(broken)?;
        seen.replaced = page.line.generation != plugin.line.generation;
        let ended = self.desk.chaos().map_err(broken)?.ended;
        seen.hits = ended.iter().find(|one| one.id == injected.id).map_or(0, |one| one.hits);
        Ok(seen)
    }

    /// Looks at the host for as long as the fault is to be in force.
    fn watch(&mut self, id: u32, begun: Instant, shared: &Shared, seen: &mut Seen) -> Result<(), Verdict> {
        let broken = |failure: Failure| Verdict::BrokenOff(failure.to_string());
        let mut told = Instant::now();
        while begun.elapsed() < self.duration || self.desk.is_active(id).map_err(broken)? {
            if begun.elapsed() > self.duration + OVERSTAYS {
                seen.overstayed = true;
                return Ok(());
            }
            let status = self.desk.status().map_err(broken)?;
            note(&mut seen.levels, begun, &status.level);
            if told.elapsed() >= Duration::from_secs(5) {
                told = Instant::now();
                let left = self.duration.saturating_sub(begun.elapsed());
                self.tell(&format!("    level {}, {} s to go", status.level, left.as_secs()));
            }
            self.pause(shared)?;
        }
        Ok(())
    }

    /// Until the next look; an error where all has to be undone.
    fn pause(&mut self, shared: &Shared) -> Result<(), Verdict> {
        thread::sleep(LOOK);
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Verdict::BrokenOff("it was interrupted".to_owned()));
        }
        // Where nobody else may be connected, nobody else is hurt.
        if self.may_hurt == 0 {
            return Ok(());
        }
        // First everybody's, then the drill's own: what ends in between makes the others' fewer, never more.
        let everybody = self.desk.everybody().map_err(|failure| Verdict::BrokenOff(failure.to_string()))?.1;
        let own = self.own_bad + shared.bad();
        let others = everybody.saturating_sub(self.hurt_before).saturating_sub(own + PEOPLE as u64);
        match others > self.may_hurt {
            true => Err(Verdict::BrokenOff(format!("{others} runs of other people ended badly"))),
            false => Ok(()),
        }
    }

    fn people(&self) -> People {
        let shared = Arc::<Shared>::default();
        let tasks = (0..PEOPLE).map(|_| {
            let (to, token, agent) = (self.to.clone(), self.token.clone(), self.plugin.to_string());
            self.runtime.spawn(Talker::new(to, token, agent, Arc::clone(&shared)).run())
        });
        People { tasks: tasks.collect(), shared }
    }

    /// Each ends with the message that it is at; what they made is deleted.
    fn send_home(&mut self, people: People) -> Talk {
        people.shared.stop.store(true, Ordering::Relaxed);
        let mut talk = Talk::default();
        for task in people.tasks {
            let Ok((said, thread)) = self.runtime.block_on(task) else {
                self.left.push("one of the drill's people ended by a bug of this command".to_owned());
                continue;
            };
            talk = talk.with(said);
            let Some(thread) = thread else { continue };
            match self.to.asks("DELETE", &format!("/v1/threads/{thread}"), &self.token) {
                Ok((204 | 404, _)) => {}
                Ok((status, _)) => self.left.push(format!("thread {thread} was not deleted: HTTP {status}")),
                Err(why) => self.left.push(format!("thread {thread} was not deleted: {why}")),
            }
        }
        talk
    }

    fn tell(&self, what: &str) {
        agent_host_telemetry::log::say(what);
    }
}

fn note(levels: &mut Vec<(Duration, String)>, begun: Instant, level: &str) {
    if levels.last().is_none_or(|(_, last)| last != level) {
        levels.push((begun.elapsed(), level.to_owned()));
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
    healthy
        .and_then(|plugin| PluginId::new(&plugin.id).ok())
        .ok_or_else(|| Failure::new(Exit::Failed, "no agent is healthy, so that none can be harmed"))
}

/// Where its people go in, and as whom.
fn user(args: &DrillArgs) -> Result<(Address, String), Failure> {
    let dir = args.admin.config.as_ref();
    let loaded = dir
        .map(|dir| {
            configuration::load(&ConfigArgs { config: dir.clone(), profile: None, overrides: Vec::new() })
        })
        .transpose()?;
    let url = match (&args.url, &loaded) {
        (Some(url), _) => url.clone(),
        (None, Some(loaded)) => format!("http://{}", loaded.config.gateway.listen),
        (None, None) => return Err(Failure::new(Exit::Failed, "give the host's URL, or --config DIR")),
    };
    let token = match (&args.user_token_file, &loaded) {
        (Some(file), _) => token_in(file)?,
        (None, Some(loaded)) => {
            let args = MintArgs { tenant: Some(USER.to_owned()), ..MintArgs::for_user(USER) };
            token::sign(&token::order(&args, &loaded.config)?)?
        }
        (None, None) => {
            return Err(Failure::new(
                Exit::Failed,
                "give --user-token-file FILE, or --config DIR to make one",
            ));
        }
    };
    Ok((Address::parse(&url)?, token))
}
