//! Plays one scenario: calm, the fault, and until all is as it was; the people talk all the while.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use agent_host_gateway::admin::view::{FaultOrder, PluginPage, StatusPage};
use agent_plugin_protocol::Code;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use super::{
    Drill,
    judge::{Seen, Verdict, judge},
    scenario::Scenario,
    talk::Talk,
    talker::{Part, Shared, Talker},
};
use crate::exit::{Exit, Failure};

/// People of the drill.
const PEOPLE: usize = 2;
/// How long they talk before the fault.
const CALM: Duration = Duration::from_secs(2);
/// Between two looks at the host.
const LOOK: Duration = Duration::from_millis(100);
/// A fault that is in force for so much longer than it was ordered does not end by itself.
const OVERSTAYS: Duration = Duration::from_secs(5);

/// People who talk.
struct People {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<Talk>>,
}

impl Drill {
    /// What is ordered for it.
    pub(super) fn order(&self, scenario: &Scenario) -> FaultOrder {
        scenario.order(&self.plugin, self.duration)
    }

    /// Its verdict, and what was seen unless it was broken off.
    pub(super) fn play(&mut self, scenario: &Scenario) -> (Verdict, Option<Seen>) {
        let before = match self.desk.status().and_then(|status| Ok((status, self.desk.plugin(&self.plugin)?)))
        {
            Ok(before) => before,
            Err(failure) => return (Verdict::BrokenOff(failure.to_string()), None),
        };
        let people = self.people(scenario);
        let shared = Arc::clone(&people.shared);
        let result = self.harm(scenario, &before, &shared);
        let talk = self.send_home(people);
        self.own_bad += talk.bad();
        match result {
            Err(Verdict::Failed(mut why)) => {
                why.push(talk.brief());
                (Verdict::Failed(why), None)
            }
            Err(stopped) => (stopped, None),
            Ok(seen) => {
                let seen = Seen { talk, ..seen };
                (judge(&scenario.expect, &seen, self.recover_within), Some(seen))
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
        // All is well to begin with, or nothing could be told from it.
        let calm = Instant::now();
        while calm.elapsed() < CALM || !shared.answered_since(calm) {
            if calm.elapsed() > self.recover_within {
                let why = "no message is answered without a fault either";
                return Err(Verdict::Failed(vec![why.to_owned()]));
            }
            self.pause(shared)?;
        }
        shared.harmed.store(true, Ordering::Relaxed);
        let begun = Instant::now();
        let injected = self.desk.begin(&self.order(scenario));
        let injected = injected.map_err(|failure| match failure.code() {
            // What cannot be injected here was not tried; what may not be, or not now, goes for all that follow.
            Some(Code::ChaosNoTarget) => Verdict::NotTried(failure.to_string()),
            Some(_) | None => broken(failure),
        })?;
        let mut seen = Seen { levels: vec![(Duration::ZERO, status.level.clone())], ..Seen::default() };
        let lasting = scenario.lasting(self.duration);
        let watched = self.watch(injected.id, (begun, lasting), shared, &mut seen);
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
        while over.elapsed() < self.recover_within {
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
        let crash = page.last_crash.filter(|crash| crash.generation == plugin.line.generation);
        seen.crash = crash.map(|crash| crash.how);
        let ended = self.desk.chaos().map_err(broken)?.ended;
        seen.hits = ended.iter().find(|one| one.id == injected.id).map_or(0, |one| one.hits);
        Ok(seen)
    }

    /// Looks at the host for as long as the fault is to be in force.
    fn watch(
        &mut self,
        id: u32,
        (begun, lasting): (Instant, Duration),
        shared: &Shared,
        seen: &mut Seen,
    ) -> Result<(), Verdict> {
        let mut told = Instant::now();
        while begun.elapsed() < lasting || self.desk.is_active(id).map_err(broken)? {
            if begun.elapsed() > lasting + OVERSTAYS {
                seen.overstayed = true;
                return Ok(());
            }
            let status = self.desk.status().map_err(broken)?;
            note(&mut seen.levels, begun, &status.level);
            if told.elapsed() >= Duration::from_secs(5) {
                told = Instant::now();
                let left = lasting.saturating_sub(begun.elapsed());
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

    fn people(&self, scenario: &Scenario) -> People {
        let shared = Arc::<Shared>::default();
        let part = Part {
            to: self.door.to.clone(),
            token: self.door.token.clone(),
            agent: self.plugin.to_string(),
            messages: Arc::clone(&self.messages),
            within: scenario.lasting(self.duration) + self.recover_within,
            reads_within: self.recover_within / 2,
        };
        let talkers = (0..PEOPLE).map(|_| Talker::new(part.clone(), Arc::clone(&shared)));
        let tasks = talkers.map(|talker| self.runtime.spawn(talker.run()));
        People { tasks: tasks.collect(), shared }
    }

    /// Each ends with the message that it is at; what they made is deleted.
    fn send_home(&mut self, people: People) -> Talk {
        people.shared.stop.store(true, Ordering::Relaxed);
        // The message that each is at, and the thread from its beginning.
        let until = Instant::now() + self.recover_within + self.recover_within / 2;
        let mut talk = Talk::default();
        for mut task in people.tasks {
            match self.runtime.block_on(async { timeout_at(until, &mut task).await }) {
                Ok(Ok(said)) => talk = talk.with(said),
                Ok(Err(_)) => {
                    self.left.push("one of the drill's people ended by a bug of this command".to_owned())
                }
                Err(_) => {
                    task.abort();
                    let within = self.recover_within.as_secs();
                    talk.wrong
                        .push(format!("what one of the people was at had no end {within} s after the fault"));
                }
            }
        }
        for thread in people.shared.threads() {
            match self.door.to.asks("DELETE", &format!("/v1/threads/{thread}"), &self.door.token) {
                Ok((204 | 404, _)) => {}
                Ok((status, _)) => self.left.push(format!("thread {thread} was not deleted: HTTP {status}")),
                Err(why) => self.left.push(format!("thread {thread} was not deleted: {why}")),
            }
        }
        talk
    }
}

/// Why there is nothing to be judged: the host is gone, which no fault may do to it; or it does not let this go on.
fn broken(failure: Failure) -> Verdict {
    match failure.exit() {
        Exit::Unreachable => Verdict::Failed(vec![format!("the host is gone: {failure}")]),
        Exit::Failed | Exit::Usage | Exit::Config => Verdict::BrokenOff(failure.to_string()),
    }
}

fn note(levels: &mut Vec<(Duration, String)>, begun: Instant, level: &str) {
    if levels.last().is_none_or(|(_, last)| last != level) {
        levels.push((begun.elapsed(), level.to_owned()));
    }
}
