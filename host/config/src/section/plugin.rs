//! `[plugins.<id>]`: one plugin, what it may do and how long it may take.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use agent_host_core::service::ServiceName;
use agent_plugin_protocol::{Code, PluginId, PluginKind};
use serde_json::{Value as Json, json};

use super::{
    Roster,
    canary::{self, CanaryConfig},
};
use crate::{
    error::did_you_mean,
    node::{Kind, Node},
    reader::{Context, Key, Leaf, Reader},
    secret::{Secret, SecretReference},
    value::{ByteSize, Located, Style, Value, Word, Wrong},
};

/// One plugin, as the operator wants it.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginConfig {
    /// The toggle.
    pub enabled: bool,
    /// What it is for; the library must agree.
    pub kind: PluginKind,
    /// The library, resolved. It may not exist: then the plugin fails, not the configuration.
    pub path: PathBuf,
    /// Where it runs.
    pub isolation: PluginIsolation,
    /// The library's digest, in lower-case hex, if it is pinned.
    pub sha256: Option<String>,
    /// Services it needs beside those it declares.
    pub requires: Vec<String>,
    /// Tools that it may call.
    pub tools: Vec<String>,
    /// Threads of its runtime.
    pub threads: u8,
    /// Deadlines.
    pub timeouts: PluginTimeouts,
    /// Bounds.
    pub limits: PluginLimits,
    /// How often it is started again.
    pub restart: RestartConfig,
    /// Warm spares: idle workers of the same library that take over when the serving one dies.
    pub spares: u32,
    /// Whether it gets no runs while it keeps failing them.
    pub breaker: bool,
    /// How a new version is tried before it serves.
    pub canary: CanaryConfig,
    /// How long a replaced generation is kept warm, to go back to if the new one fails; zero: not at all.
    pub rollback_window: Duration,
    /// Its own secrets by name; `None` is one whose variable or file is missing, for which the plugin fails.
    pub secrets: BTreeMap<String, Option<Secret>>,
    /// Peers (`host:port`) that it may reach through the host.
    pub network: Vec<String>,
    /// What it is handed: always an object.
    pub config: serde_json::Value,
    /// Agents that answer in its place when it is named and cannot.
    pub substitutes: Vec<PluginId>,
    /// What a message does to a thread whose run is not over.
    pub double_texting: DoubleTexting,
    /// What the end of the client's connection does to its run.
    pub on_disconnect: OnDisconnect,
}

/// Where a plugin runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PluginIsolation {
    /// In a worker process of its own.
    Process,
    /// In the host: trust, not isolation.
    InProcess,
}

/// Deadlines of one plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PluginTimeouts {
    /// Load, create and probe, each.
    pub init: Duration,
    /// One tool call.
    pub tool: Duration,
    /// Time without an event.
    pub idle: Duration,
    /// The whole run.
    pub run: Duration,
    /// Between cancel and kill.
    pub grace: Duration,
    /// How long a run waits for a place.
    pub queue: Duration,
}

/// Bounds of one plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PluginLimits {
    /// Memory of its worker; `None`: none.
    pub memory: Option<ByteSize>,
    /// Runs at once.
    pub concurrent_runs: u32,
    /// Runs that may wait for a place.
    pub queued_runs: u32,
    /// The largest library file.
    pub library: ByteSize,
    /// Open files of its worker.
    pub open_files: u64,
    /// CPU of its worker, in percent of a core; 0: not bounded.
    pub cpu_percent: u32,
}

/// How often a plugin is started again before it is quarantined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartConfig {
    /// So many times …
    pub max: u32,
    /// … in this time.
    pub within: Duration,
}

/// What a message does to a thread whose run is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DoubleTexting {
    /// It waits.
    Enqueue,
    /// It is refused with `run.busy`.
    Reject,
    /// It cancels the run.
    Interrupt,
}

/// What the end of the client's connection does to its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDisconnect {
    /// Nothing.
    Continue,
    /// It is cancelled.
    Cancel,
}

impl PluginConfig {
    /// Whether it chooses agents rather than answers.
    pub fn is_supervisor(&self) -> bool {
        match self.kind {
            PluginKind::Supervisor => true,
            PluginKind::Agent => false,
        }
    }
}

impl Word for PluginIsolation {
    const WORDS: &'static [(&'static str, Self)] =
        &[("process", Self::Process), ("in-process", Self::InProcess)];
}

impl Word for DoubleTexting {
    const WORDS: &'static [(&'static str, Self)] =
        &[("enqueue", Self::Enqueue), ("reject", Self::Reject), ("interrupt", Self::Interrupt)];
}

impl Word for OnDisconnect {
    const WORDS: &'static [(&'static str, Self)] = &[("continue", Self::Continue), ("cancel", Self::Cancel)];
}

/// Reads `[plugins]`, whose keys are the operator's own ids.
pub(crate) fn read_all(r: &Reader<'_>, roster: &Roster) -> BTreeMap<PluginId, PluginConfig> {
    let mut plugins = BTreeMap::new();
    for (name, entry) in r.entries() {
        let id = PluginId::new(name);
        if let Err(invalid) = &id {
            let hint = Some(format!("for example [plugins.{}]", proposed_id(name)));
            r.error_at(Code::ConfigRange, name, entry.key.clone(), format!("is wrong: {invalid}"), hint);
        }
        let Kind::Table(table) = &entry.node.kind else {
            let reason = format!("should be a table, not {}", entry.node.found());
            r.error_at(Code::ConfigType, name, entry.node.origin.clone(), reason, None);
            continue;
        };
        let reader = Reader::new(r.cx, Some(table), entry.key.clone(), r.path_of(name));
        let plugin = read_one(&reader, roster, Some(name));
        if let Some(whose) = reserved(name, plugin.kind) {
            let hint = Some(format!("give it another name, for example [plugins.my-{name}]"));
            let reason = format!("is a name of the host's own: {whose}");
            r.error_at(Code::ConfigRange, name, entry.key.clone(), reason, hint);
        }
        if let Ok(id) = id {
            plugins.insert(id, plugin);
        }
    }
    plugins
}

/// Whose name that is already, in metrics, in what is missing and in `readiness.require`. A supervisor may be called what
/// it is: there is one.
fn reserved(name: &str, kind: PluginKind) -> Option<&'static str> {
    match (name, kind) {
        ("fallback", _) => Some("the built-in fallback's"),
        ("agent", _) | ("supervisor", PluginKind::Agent) => Some("the word for a kind of plugin"),
        ("host" | "user", _) => Some("who speaks where no plugin does"),
        ("keys", _) => Some("the key set's"),
        ("bus", _) => Some("that of what joins several hosts"),
        ("store", _) => Some("the log's"),
        (name, _) if ServiceName::parse(name).is_some() => Some("that of what it offers plugins"),
        _ => None,
    }
}

/// Reads `[plugins.<id>]`.
pub(crate) fn read_one(r: &Reader<'_>, roster: &Roster, id: Option<&str>) -> PluginConfig {
    r.declare(Key {
        path: r.path_of("config.**"),
        expects: "whatever the plugin understands".to_owned(),
        style: Style::Free,
        schema: json!({}),
    });
    PluginConfig {
        enabled: r.or("enabled", true),
        kind: r.or("kind", PluginKind::Agent),
        path: path(r, roster, id),
        isolation: r.or("isolation", PluginIsolation::Process),
        sha256: sha256(r),
        requires: r.or("requires", Vec::new()),
        tools: r.or("tools", Vec::new()),
        threads: r.within("threads", 2, 1..=64),
        timeouts: timeouts(&r.section("timeouts")),
        limits: limits(&r.section("limits")),
        restart: restart(&r.section("restart")),
        spares: r.within("spares", 0, 0..=1),
        breaker: r.or("breaker", true),
        canary: canary::read(&r.section("canary")),
        rollback_window: r.within(
            "rollback_window",
            Duration::from_secs(60),
            Duration::ZERO..=Duration::from_secs(86_400),
        ),
        secrets: secrets(&r.section("secrets")),
        network: network(r),
        config: free_table(r),
        substitutes: roster.agents(r, "substitutes"),
        double_texting: r.or("double_texting", DoubleTexting::Enqueue),
        on_disconnect: r.or("on_disconnect", OnDisconnect::Continue),
    }
}

fn timeouts(r: &Reader<'_>) -> PluginTimeouts {
    let range = || Duration::from_millis(10)..=Duration::from_secs(86_400);
    PluginTimeouts {
        init: r.within("init", Duration::from_secs(5), range()),
        tool: r.within("tool", Duration::from_secs(60), range()),
        idle: r.within("idle", Duration::from_secs(120), range()),
        run: r.within("run", Duration::from_secs(600), range()),
        grace: r.within("grace", Duration::from_secs(2), Duration::ZERO..=Duration::from_secs(60)),
        queue: r.within("queue", Duration::from_secs(30), Duration::ZERO..=Duration::from_secs(3600)),
    }
}

fn limits(r: &Reader<'_>) -> PluginLimits {
    PluginLimits {
        memory: r.limit("memory", ByteSize::mib(512), ByteSize::mib(16)..=ByteSize::gib(1024)),
        concurrent_runs: r.within("concurrent_runs", 64, 1..=100_000),
        queued_runs: r.within("queued_runs", 256, 0..=100_000),
        library: r.within("library", ByteSize::mib(256), ByteSize::kib(4)..=ByteSize::gib(4)),
        open_files: r.within("open_files", 256, 16..=1_000_000),
        cpu_percent: r.within("cpu_percent", 0, 0..=100_000),
    }
}

fn restart(r: &Reader<'_>) -> RestartConfig {
    RestartConfig {
        max: r.within("max", 5, 0..=10_000),
        within: r.within(
            "within",
            Duration::from_secs(60),
            Duration::from_secs(1)..=Duration::from_secs(86_400),
        ),
    }
}

/// The library: a missing key is an error, a missing file is not.
fn path(r: &Reader<'_>, roster: &Roster, id: Option<&str>) -> PathBuf {
    let written: Option<String> = r.value("path");
    match written {
        Some(path) if !path.is_empty() => {
            let path = resolve(r.cx, &path);
            r.show("path", &path.display().to_string());
            path
        }
        Some(_) => {
            r.error(Code::ConfigRange, "path", "is empty", Some("name the plugin's library".to_owned()));
            PathBuf::new()
        }
        None if r.has("path") => PathBuf::new(),
        None => {
            // A profile or another file that misspells an id makes a plugin with hardly a key.
            let id = id.unwrap_or_default();
            let others = roster.ids.iter().map(String::as_str).filter(|other| *other != id);
            let hint = did_you_mean(id, others).unwrap_or_else(|| "add path = \"lib….so\"".to_owned());
            r.error(Code::ConfigMissing, "path", "is missing", Some(hint));
            PathBuf::new()
        }
    }
}

/// A bare name is looked for in `<config>/plugins/`, then beside the host; what is nowhere is expected in the former.
fn resolve(cx: &Context<'_>, written: &str) -> PathBuf {
    let path = Path::new(written);
    let bare =
        path.components().count() == 1 && path.file_name().is_some_and(|name| name == path.as_os_str());
    if !bare {
        return cx.relative(path.to_owned());
    }
    let in_folder = cx.dir.as_ref().map(|dir| dir.join("plugins").join(path));
    let beside = cx.beside.as_ref().map(|dir| dir.join(path));
    let candidates = || [&in_folder, &beside].into_iter().flatten();
    let found = candidates().find(|candidate| candidate.symlink_metadata().is_ok());
    found.or_else(|| candidates().next()).cloned().unwrap_or_else(|| path.to_owned())
}

fn sha256(r: &Reader<'_>) -> Option<String> {
    let digest: String = r.value("sha256")?;
    if digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
        let hint = Some("what `sha256sum` prints for the library".to_owned());
        r.error(Code::ConfigRange, "sha256", "should be 64 hexadecimal digits", hint);
    }
    Some(digest.to_ascii_lowercase())
}

fn secrets(r: &Reader<'_>) -> BTreeMap<String, Option<Secret>> {
    r.declare(Key {
        path: r.path_of("*"),
        expects: SecretReference::expects(),
        style: Style::Secret,
        schema: SecretReference::schema(),
    });
    let mut secrets = BTreeMap::new();
    for (name, entry) in r.entries() {
        match SecretReference::parse(&entry.node, r.cx) {
            Ok(reference) => {
                r.hold(name, entry.node.origin.clone(), reference.written());
                secrets.insert(name.clone(), reference.secret);
            }
            Err(wrong) => {
                let origin = wrong.origin.unwrap_or_else(|| entry.node.origin.clone());
                r.error_at(wrong.code, name, origin, wrong.reason, wrong.hint);
            }
        }
    }
    secrets
}

fn network(r: &Reader<'_>) -> Vec<String> {
    let written: Vec<Located<String>> = r.or("network", Vec::new());
    for Located { value, origin } in &written {
        let port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
        let peer = value.rsplit_once(':');
        if !peer.is_some_and(|(host, number)| is_host(host) && port(number)) {
            let hint = Some("write \"host:port\", as in \"api.example.com:443\"".to_owned());
            r.error_at(
                Code::ConfigRange,
                "network",
                origin.clone(),
                format!("holds {value:?}, no peer"),
                hint,
            );
        }
    }
    written.into_iter().map(|located| located.value).collect()
}

/// A name of the domain system, an address, or a newer address in brackets.
fn is_host(text: &str) -> bool {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    match bare {
        Some(six) => six.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            !text.is_empty() && text.bytes().all(plain)
        }
    }
}

/// What could have been meant by a name that is no id.
fn proposed_id(name: &str) -> String {
    let plain = name.to_ascii_lowercase().replace(['_', ' ', '.'], "-");
    let plain: String =
        plain.chars().filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-').collect();
    let id = plain.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    if id.is_empty() { "my-agent".to_owned() } else { id.to_owned() }
}

/// `config`: what the plugin is handed. Its values are shown one by one, as each may come from another layer.
fn free_table(r: &Reader<'_>) -> Json {
    let table: FreeTable = r.or("config", FreeTable { json: json!({}), leaves: Vec::new() });
    r.spread("config", table.leaves);
    table.json
}

/// A table of whatever the plugin understands.
struct FreeTable {
    json: Json,
    leaves: Vec<Leaf>,
}

impl Value for FreeTable {
    const STYLE: Style = Style::Free;

    fn expects() -> String {
        "a table that the plugin understands".to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "object" })
    }

    fn written(&self) -> Json {
        self.json.clone()
    }

    fn parse(node: &Node, _: &Context<'_>) -> Result<Self, Wrong> {
        match node.kind {
            Kind::Table(_) => Ok(Self { json: node.to_json(), leaves: leaves(node) }),
            Kind::Text(_)
            | Kind::Integer(_)
            | Kind::Huge(_)
            | Kind::Float(_)
            | Kind::Bool(_)
            | Kind::Datetime(_)
            | Kind::List(_) => Err(Wrong::kind("a table", node)),
        }
    }
}

/// Everything below a table that is no table itself, and the empty tables.
fn leaves(node: &Node) -> Vec<Leaf> {
    let Kind::Table(table) = &node.kind else { return Vec::new() };
    let mut found = Vec::new();
    for (key, entry) in &table.0 {
        match leaves(&entry.node) {
            below if below.is_empty() => found.push(Leaf {
                key: key.clone(),
                origin: entry.node.origin.clone(),
                value: entry.node.to_json(),
            }),
            below => found
                .extend(below.into_iter().map(|leaf| Leaf { key: format!("{key}.{}", leaf.key), ..leaf })),
        }
    }
    found
}
