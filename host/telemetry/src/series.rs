//! The series that are counted for every message or event, looked up once: a count is then an addition, without a label
//! to allocate or a registry to ask.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use agent_plugin_protocol::{Code, EventKind};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::metric::{
    self, ADMIN_STATUSES, BACKTRACES, CANARY_ENDS, CANARY_RESULTS, CANARY_SIDES, CLOSE_CODES, FAULTS, LEVELS,
    OUTCOMES, REASONS, STATUSES, STORE_OPERATIONS,
};

/// Who speaks an event, or answers a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A plugin.
    Plugin,
    /// The built-in.
    Fallback,
    /// The host itself, for a run that nobody took.
    Host,
    /// The person.
    User,
}

impl By {
    /// In the order of their discriminants.
    pub const ALL: [Self; 4] = [Self::Plugin, Self::Fallback, Self::Host, Self::User];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plugin => "plugin",
            Self::Fallback => "fallback",
            Self::Host => "host",
            Self::User => "user",
        }
    }

    /// Whose an event is, by its `agent`. The three names are no plugin's: ids of plugins may not be these.
    pub fn of(agent: &str) -> Self {
        match agent {
            "fallback" => Self::Fallback,
            "host" => Self::Host,
            "user" => Self::User,
            _ => Self::Plugin,
        }
    }
}

/// An injected fault came into force, or went out of it.
pub fn faults_active(fault: &'static str, change: f64) {
    gauge!(metric::FAULTS_ACTIVE, "injected" => fault).increment(change);
}

/// An injected fault hit so many.
pub fn fault_hits(fault: &'static str, count: u64) {
    counter!(metric::FAULT_HITS, "injected" => fault).increment(count);
}

/// Counts an event that is in the log.
pub fn run_event(kind: EventKind, agent: &str) {
    let by = By::of(agent) as usize;
    if let Some(counter) = SERIES.run_events.get(kind as usize).and_then(|of_kind| of_kind.get(by)) {
        counter.increment(1);
    }
}

/// Notes how long a person waited for the first event of a plugin.
pub fn first_event(plugin: &str, after: Duration) {
    SERIES.responder(plugin).first_event.record(after.as_secs_f64());
}

/// A run begins to wait for a place in a plugin (1), or waits no more (-1).
pub fn run_waits(plugin: &str, by: f64) {
    gauge!(metric::RUNS_WAITING, "plugin" => plugin.to_owned()).increment(by);
}

/// Counts what a plugin said and the host did not pass on; `reason` is one of a bounded set.
pub fn dropped(reason: &'static str, count: u64) {
    match SERIES.dropped.iter().find(|(known, _)| *known == reason) {
        Some((_, counter)) => counter.increment(count),
        None => counter!(metric::EVENTS_DROPPED, "reason" => reason).increment(count),
    }
}

/// Notes how long a client waited for its first frame.
pub fn welcomed(after: Duration) {
    SERIES.welcome.record(after.as_secs_f64());
}

/// Notes how long the store took to make something durable.
pub fn store_committed(within: Duration) {
    SERIES.store_commit.record(within.as_secs_f64());
}

/// So many more threads are followed, or fewer.
pub fn followed(change: f64) {
    SERIES.followed.increment(change);
}

/// So many more threads have a task, or fewer.
pub fn thread_tasks(change: f64) {
    SERIES.thread_tasks.increment(change);
}

/// Counts tokens that a model read and wrote.
pub fn llm_tokens(read: u64, written: u64) {
    SERIES.tokens.0.increment(read);
    SERIES.tokens.1.increment(written);
}

/// Counts a connection that a plugin may not have.
pub fn peer_refused(plugin: &str) {
    counter!(metric::PEERS_REFUSED, "plugin" => plugin.to_owned()).increment(1);
}

/// So many keys of another issuer verify tokens now.
pub fn key_set(keys: usize) {
    gauge!(metric::KEY_SET_KEYS).set(keys as f64);
}

/// Counts a fetch of the key set, and notes when it was if it succeeded.
pub fn key_set_fetched(succeeded: bool) {
    counter!(metric::KEY_SET_FETCHES).increment(1);
    if let (true, Ok(now)) = (succeeded, SystemTime::now().duration_since(UNIX_EPOCH)) {
        gauge!(metric::KEY_SET_FETCHED).set(now.as_secs_f64());
    }
}

/// Counts a request to the admin API that was refused.
pub fn admin_refused(status: u16) {
    counter!(metric::ADMIN_REFUSALS, "status" => status.to_string()).increment(1);
}

/// A plugin is configured: its series are there from now on, and say the state it is in.
pub fn plugin_listed(plugin: &str, state: &str, states: impl IntoIterator<Item = &'static str>) {
    let name = || plugin.to_owned();
    withheld().remove(plugin);
    for each in states {
        gauge!(metric::PLUGIN_STATE, "plugin" => name(), "state" => each).set(f64::from(each == state));
    }
    gauge!(metric::BREAKER_STATE, "plugin" => name()).set(breaker("closed"));
    spares_ready(plugin, 0);
    run_waits(plugin, 0.0);
    counter!(metric::SPARE_TAKEOVERS, "plugin" => name()).increment(0);
    counter!(metric::PLUGIN_RESTARTS, "plugin" => name()).increment(0);
    counter!(metric::PLUGIN_ROLLBACKS, "plugin" => name()).increment(0);
    canary_share(plugin, 0.0);
    for fault in COMMON_FAULTS {
        let fault = fault.as_str();
        counter!(metric::VERSION_FAILURES, "plugin" => name(), "fault" => fault).increment(0);
    }
    for (side, result) in CANARY_SIDES.iter().flat_map(|side| CANARY_RESULTS.map(|result| (*side, result))) {
        counter!(metric::CANARY_RUNS, "plugin" => name(), "side" => side, "result" => result).increment(0);
    }
    for end in CANARY_ENDS {
        counter!(metric::CANARIES_ENDED, "plugin" => name(), "end" => *end).increment(0);
    }
    counter!(metric::PEERS_REFUSED, "plugin" => name()).increment(0);
    counter!(metric::PLUGIN_CRASHES, "plugin" => name(), "signal" => "exit").increment(0);
    for backtrace in BACKTRACES {
        counter!(metric::CRASH_REPORTS, "plugin" => name(), "backtrace" => *backtrace).increment(0);
    }
    drop(SERIES.responder(plugin));
}

/// A plugin is configured no more: it is in no state.
pub fn plugin_unlisted(plugin: &str, states: impl IntoIterator<Item = &'static str>) {
    withheld().remove(plugin);
    for each in states {
        gauge!(metric::PLUGIN_STATE, "plugin" => plugin.to_owned(), "state" => each).set(0.0);
    }
}

/// A plugin that never was in force is configured no more: it has no series, until one of its name is configured.
pub fn plugin_never_was(plugin: &str) {
    withheld().insert(plugin.to_owned());
}

/// Plugins whose series are not on the page: what counts cannot be taken back. At most as many as were ever configured.
pub(crate) fn withheld() -> MutexGuard<'static, BTreeSet<String>> {
    static WITHHELD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    WITHHELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a version mostly does not serve; other faults have a series from their first on.
const COMMON_FAULTS: [Code; 5] = [
    Code::PluginInitError,
    Code::PluginProbeFailed,
    Code::PluginCrashed,
    Code::PluginBreakerOpen,
    Code::PluginCanaryWorse,
];

/// So many warm spares of a plugin are ready.
pub fn spares_ready(plugin: &str, ready: u32) {
    gauge!(metric::SPARES_READY, "plugin" => plugin.to_owned()).set(f64::from(ready));
}

/// A generation on trial has that share of the threads, 0 to 1.
pub fn canary_share(plugin: &str, share: f64) {
    gauge!(metric::CANARY_SHARE, "plugin" => plugin.to_owned()).set(share);
}

/// Counts a run that ended during a trial; `side` is one of the two.
pub fn canary_run(plugin: &str, side: &'static str, failed: bool) {
    let [ok, bad] = CANARY_RESULTS;
    let result = if failed { bad } else { ok };
    counter!(metric::CANARY_RUNS, "plugin" => plugin.to_owned(), "side" => side, "result" => result)
        .increment(1);
}

/// Counts a new generation that does not serve, by the stable code of what is wrong with it.
pub(crate) fn version_failed(plugin: &str, code: &str) {
    let (plugin, code) = (plugin.to_owned(), code.to_owned());
    counter!(metric::VERSION_FAILURES, "plugin" => plugin, "fault" => code).increment(1);
}

/// The level that the service begins at.
pub fn service_level(level: &str) {
    for each in LEVELS {
        gauge!(metric::SERVICE_LEVEL, "level" => *each).set(f64::from(*each == level));
    }
}

/// Notes how the host's look at itself went: how long it took, and how many have failed in a row by now.
pub fn self_checked(took: Duration, failures: u32) {
    let [held, failed] = SELF_CHECK_OUTCOMES;
    let outcome = if failures == 0 { held } else { failed };
    counter!(metric::SELF_CHECKS, "outcome" => outcome).increment(1);
    gauge!(metric::SELF_CHECK_FAILURES).set(f64::from(failures));
    histogram!(metric::SELF_CHECK_SECONDS).record(took.as_secs_f64());
}

/// Held, or failed.
const SELF_CHECK_OUTCOMES: [&str; 2] = ["ok", "failed"];

/// Events handed to clients of one surface.
pub struct Delivered([Counter; By::ALL.len()]);

impl Delivered {
    /// Of this surface.
    pub fn on(surface: &'static str) -> Self {
        Self(By::ALL.map(|by| counter!(metric::EVENTS_DELIVERED, "surface" => surface, "by" => by.as_str())))
    }

    /// Counts one, by its `agent`.
    pub fn count(&self, agent: &str) {
        if let Some(counter) = self.0.get(By::of(agent) as usize) {
            counter.increment(1);
        }
    }
}

pub(crate) fn run_completed(plugin: &str, outcome: &'static str, by: &'static str, seconds: f64) {
    let responder = SERIES.responder(plugin);
    match OUTCOMES.iter().position(|known| *known == outcome).and_then(|at| responder.outcomes.get(at)) {
        Some(counter) => counter.increment(1),
        None => {
            counter!(metric::RUNS, "plugin" => plugin.to_owned(), "outcome" => outcome).increment(1);
        }
    }
    responder.seconds.record(seconds);
    // A run that failed, or was stopped, was answered by nobody.
    if matches!(outcome, "ok" | "degraded" | "input_required") {
        match by {
            "plugin" => SERIES.answers.0.increment(1),
            "fallback" => SERIES.answers.1.increment(1),
            _ => {}
        }
    }
}

pub(crate) fn run_abandoned() {
    SERIES.abandoned.increment(1);
}

pub(crate) fn connections(change: f64) {
    SERIES.connections.increment(change);
}

pub(crate) fn closed(code: u16) {
    match SERIES.closed.iter().find(|(known, _)| *known == code) {
        Some((_, counter)) => counter.increment(1),
        None => counter!(metric::CONNECTIONS_CLOSED, "code" => code.to_string()).increment(1),
    }
}

pub(crate) fn upgrade(status: u16) {
    match SERIES.upgrades.iter().find(|(known, _)| *known == status) {
        Some((_, counter)) => counter.increment(1),
        None => counter!(metric::UPGRADES, "status" => status.to_string()).increment(1),
    }
}

/// The gauge's value for a breaker's state.
pub(crate) fn breaker(state: &str) -> f64 {
    match state {
        "closed" => 0.0,
        "half_open" => 1.0,
        _ => 2.0,
    }
}

/// Makes every series whose labels are known, so that the first scrape has it.
pub(crate) fn prepare() {
    LazyLock::force(&SERIES);
    service_level("");
}

/// Looked up on first use: [`crate::page::install`] sees to it that this is after the recorder is there.
static SERIES: LazyLock<Series> = LazyLock::new(Series::new);

struct Series {
    welcome: Histogram,
    store_commit: Histogram,
    connections: Gauge,
    followed: Gauge,
    thread_tasks: Gauge,
    abandoned: Counter,
    /// By plugins, by the fallback.
    answers: (Counter, Counter),
    /// Read, written.
    tokens: (Counter, Counter),
    upgrades: Vec<(u16, Counter)>,
    closed: Vec<(u16, Counter)>,
    dropped: Vec<(&'static str, Counter)>,
    /// By kind, then by who speaks, both in the order of their discriminants.
    run_events: Vec<[Counter; By::ALL.len()]>,
    /// By plugin. Bounded: plugins come from the configuration.
    responders: RwLock<HashMap<Box<str>, Arc<Responder>>>,
}

/// The series of one plugin, of the fallback, or of the host.
struct Responder {
    /// In the order of [`OUTCOMES`].
    outcomes: Vec<Counter>,
    seconds: Histogram,
    first_event: Histogram,
}

impl Series {
    fn new() -> Self {
        let labelled = |codes: &[u16], name: &'static str, label: &'static str| {
            codes.iter().map(|code| (*code, counter!(name, label => code.to_string()))).collect()
        };
        let answers = |by: By| counter!(metric::ANSWERS, "by" => by.as_str());
        let tokens = |direction: &'static str| counter!(metric::LLM_TOKENS, "direction" => direction);
        // Those that are counted where they happen: rare, so they are looked up then.
        counter!(metric::SLOW_CONSUMERS).increment(0);
        counter!(metric::CONFIG_RELOAD_FAILURES).increment(0);
        counter!(metric::PANICS).increment(0);
        counter!(metric::KEY_SET_FETCHES).increment(0);
        counter!(metric::KEY_SET_FAILURES).increment(0);
        gauge!(metric::KEY_SET_KEYS).set(0.0);
        gauge!(metric::KEY_SET_FETCHED).set(0.0);
        counter!(metric::FALLBACK_FAILURES).increment(0);
        for operation in STORE_OPERATIONS {
            counter!(metric::STORE_FAILURES, "operation" => *operation).increment(0);
        }
        for outcome in SELF_CHECK_OUTCOMES {
            counter!(metric::SELF_CHECKS, "outcome" => outcome).increment(0);
        }
        gauge!(metric::SELF_CHECK_FAILURES).set(0.0);
        drop(histogram!(metric::SELF_CHECK_SECONDS));
        for fault in FAULTS {
            gauge!(metric::FAULTS_ACTIVE, "injected" => *fault).set(0.0);
            counter!(metric::FAULT_HITS, "injected" => *fault).increment(0);
        }
        for status in ADMIN_STATUSES {
            counter!(metric::ADMIN_REFUSALS, "status" => status.to_string()).increment(0);
        }
        let this = Self {
            welcome: histogram!(metric::WELCOME_SECONDS),
            store_commit: histogram!(metric::STORE_COMMIT_SECONDS),
            connections: gauge!(metric::CONNECTIONS),
            followed: gauge!(metric::THREADS_FOLLOWED),
            thread_tasks: gauge!(metric::THREAD_TASKS),
            abandoned: counter!(metric::RUNS_WITHOUT_TERMINAL),
            answers: (answers(By::Plugin), answers(By::Fallback)),
            tokens: (tokens("read"), tokens("written")),
            upgrades: labelled(STATUSES, metric::UPGRADES, "status"),
            closed: labelled(CLOSE_CODES, metric::CONNECTIONS_CLOSED, "code"),
            dropped: REASONS
                .iter()
                .map(|reason| (*reason, counter!(metric::EVENTS_DROPPED, "reason" => *reason)))
                .collect(),
            run_events: EventKind::ALL.iter().map(|kind| events_of(*kind)).collect(),
            responders: RwLock::default(),
        };
        drop(this.responder("fallback"));
        this
    }

    fn responder(&self, plugin: &str) -> Arc<Responder> {
        // A panic while the map was locked left it as it was: the lock's poison says nothing here.
        let known = self.responders.read().unwrap_or_else(PoisonError::into_inner).get(plugin).cloned();
        known.unwrap_or_else(|| {
            let mut all = self.responders.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(plugin.into()).or_insert_with(|| Arc::new(Responder::new(plugin))))
        })
    }
}

impl Responder {
    fn new(plugin: &str) -> Self {
        let name = || plugin.to_owned();
        let outcome =
            |outcome: &&'static str| counter!(metric::RUNS, "plugin" => name(), "outcome" => *outcome);
        Self {
            outcomes: OUTCOMES.iter().map(outcome).collect(),
            seconds: histogram!(metric::RUN_SECONDS, "plugin" => name()),
            first_event: histogram!(metric::FIRST_EVENT_SECONDS, "plugin" => name()),
        }
    }
}

fn events_of(kind: EventKind) -> [Counter; By::ALL.len()] {
    By::ALL.map(|by| match (kind, by) {
        // Only people ask, and they say nothing else: no series for what cannot be.
        (EventKind::UserMessage, By::User) => event_counter(kind, by),
        (EventKind::UserMessage, _) | (_, By::User) => Counter::noop(),
        (_, By::Plugin | By::Fallback | By::Host) => event_counter(kind, by),
    })
}

fn event_counter(kind: EventKind, by: By) -> Counter {
    counter!(metric::RUN_EVENTS, "type" => kind.as_str(), "by" => by.as_str())
}
