//! What can happen, each declared once. `docs/log-events.md` is made from this list.

use agent_plugin_protocol::{RunId, ThreadId};
use metrics::{counter, gauge};

use crate::{declare::happenings, metric, series};

happenings! {
    /// The host answers on its listeners.
    HostListening INFO Success "listening" action "None."
    { address: String, admin: String }

    /// The host begins to shut down in order.
    DrainStarted INFO Success "draining" action "None; clients are told to connect again."
    { grace_ms: u128 }

    /// The host has shut down in order.
    DrainCompleted INFO Success "drained" action "None."
    { interrupted_runs: usize }

    /// A generation of a plugin answered its self-test and takes runs.
    PluginHealthy INFO Success "plugin is healthy" action "None."
    { plugin: String, kind: String, generation: u32, version: String, digest: String, isolation: String, took_ms: u128 }

    /// Plugins run that are not confined: hostile code in them could do what the host's user can. Said once.
    IsolationWeak ERROR Critical "plugins are not confined" action "Run the host as an ordinary user, or give `[isolation] uid_range`; `docs/sandbox.md` says what each layer needs."
    { plugin: String, reason: String }

    /// A plugin could not be started. The host serves without it.
    PluginFailed WARN Warning "plugin failed" action "Follow the hint; `agent-host explain CODE` says more."
    { plugin: String, kind: String, generation: u32, stage: String, code: String, reason: String, hint: String }

    /// A running generation of a plugin ended by itself.
    PluginExited WARN Warning "plugin's process ended" action "The next generation is started by itself; report the crash to the plugin's authors."
    { plugin: String, generation: u32, code: String, signal: &'static str, how: String, uptime_ms: u128, stderr: String }
    => |it| { counter!(metric::PLUGIN_CRASHES, "plugin" => it.plugin.clone(), "signal" => it.signal).increment(1); }

    /// A worker died of a crash and told of it; its frames are found out (`backtrace` is `found`), or will not be, and
    /// `frames` says why. Follows `PluginExited` or `PluginFailed`.
    PluginCrashed WARN Warning "plugin crashed" action "Send the frames to the plugin's authors; the next generation is started by itself."
    { plugin: String, generation: u32, signal: &'static str, how: String, uptime_ms: u128, open_calls: String, backtrace: &'static str, frames: String }
    => |it| {
        counter!(metric::CRASH_REPORTS, "plugin" => it.plugin.clone(), "backtrace" => it.backtrace).increment(1);
    }

    /// A failed plugin is given another try.
    PluginRestarted INFO Warning "plugin is being started again" action "None, unless it keeps happening."
    { plugin: String, generation: u32, attempt: u32, after_ms: u128 }
    => |it| { counter!(metric::PLUGIN_RESTARTS, "plugin" => it.plugin.clone()).increment(1); }

    /// A plugin spent its restart budget and is left alone until an operator resets it or its file changes.
    PluginQuarantined ERROR Critical "plugin is quarantined" action "Mend the plugin, then reset it."
    { plugin: String, restarts: u32, within_ms: u128, code: String, reason: String }

    /// The file of a plugin became another (its digest is told; where it would not be loaded, the code too). What runs is
    /// not touched, and a restart after a crash does not take it.
    PluginFileChanged INFO Warning "plugin's file changed" action "Reload the plugin to take it, or put the file back."
    { plugin: String, digest: String, code: String, reason: String }

    /// A running plugin gets no new runs: its self-test fails, its breaker is open, or a service that it requires is gone.
    PluginDegraded WARN Warning "plugin gets no new runs" action "None, unless it stays so: then see the reason, and the plugin's failed runs."
    { plugin: String, generation: u32, code: String, reason: String }

    /// A plugin that got no new runs gets them again.
    PluginRecovered INFO Success "plugin gets runs again" action "None."
    { plugin: String, generation: u32 }

    /// A new generation took over from the one that served, which finishes its calls.
    PluginReplaced INFO Success "plugin was replaced" action "None."
    { plugin: String, from: u32, to: u32, version: String, digest: String }

    /// A new generation failed within its rollback window, or an operator took it back: the one before serves again.
    PluginRolledBack WARN Warning "plugin was rolled back" action "See the reason; mend the plugin, then reload it. It is not tried again by itself."
    { plugin: String, from: u32, to: u32, code: String, reason: String }
    => |it| {
        counter!(metric::PLUGIN_ROLLBACKS, "plugin" => it.plugin.clone()).increment(1);
        series::version_failed(&it.plugin, &it.code);
    }

    /// A new generation has a share of the threads beside the one that serves, until it is promoted or taken back.
    CanaryBegan INFO Success "plugin is tried on a share of the threads" action "None; see how it fares in `agent-host plugins show`."
    { plugin: String, from: u32, to: u32, version: String, digest: String, share: String, for_ms: u128 }

    /// A trial on a share of the threads ended: promoted, rolled back, or withdrawn for another order.
    CanaryEnded INFO Success "plugin's trial ended" action "None; a rollback has its own event."
    { plugin: String, generation: u32, end: &'static str, reason: String, runs: u32, failed: u32, runs_beside: u32, failed_beside: u32 }
    => |it| { counter!(metric::CANARIES_ENDED, "plugin" => it.plugin.clone(), "end" => it.end).increment(1); }

    /// The new generation of a reload did not get healthy. The one that served goes on.
    ReloadFailed WARN Warning "plugin was not replaced" action "Follow the hint, then reload again."
    { plugin: String, generation: u32, stage: String, code: String, reason: String, hint: String }
    => |it| { series::version_failed(&it.plugin, &it.code); }

    /// A generation died, and its warm spare serves in its place.
    SpareTookOver INFO Warning "a warm spare took over" action "None; the crash has its own event, and the next spare is loaded by itself."
    { plugin: String, from: u32, to: u32 }
    => |it| { counter!(metric::SPARE_TAKEOVERS, "plugin" => it.plugin.clone()).increment(1); }

    /// A warm spare could not be loaded, or died before it was needed. The plugin serves on without.
    SpareFailed WARN Warning "no warm spare" action "None, unless it keeps happening: then see the reason."
    { plugin: String, code: String, reason: String, retry_ms: u128 }

    /// An operator told a plugin what to do.
    PluginOrdered INFO Success "plugin was ordered" action "None."
    { plugin: String, order: &'static str, state: String }

    /// The plugin's state changed.
    PluginStateChanged DEBUG Success "plugin state changed" action "None."
    { plugin: String, from: String, to: String }
    => |it| {
        gauge!(metric::PLUGIN_STATE, "plugin" => it.plugin.clone(), "state" => it.from.clone()).set(0.0);
        gauge!(metric::PLUGIN_STATE, "plugin" => it.plugin.clone(), "state" => it.to.clone()).set(1.0);
    }

    /// An in-process library hangs in a static initialiser, though it did not in its preflight. The dynamic loader of the
    /// host waits for it, and new threads and the exit of the host may.
    DynamicLoaderStuck ERROR Critical "the dynamic loader hangs in a plugin" action "Restart the host (SIGKILL), and that plugin with `isolation = \"process\"`."
    { digest: String }

    /// Many in-process generations were mapped. None is ever unmapped: each that is over keeps about 0.65 MiB.
    GenerationsPiledUp WARN Warning "many in-process generations are mapped" action "Restart the host at a quiet moment, or use `isolation = \"process\"` for what is reloaded often."
    { generations: u32, threads_left_behind: u64 }

    /// A plugin wanted a connection to a peer that is not in its list. Told once for each peer; the metric counts all.
    PeerRefused WARN Warning "plugin tried a peer that it may not reach" action "Add the peer to the plugin's `network`, if it shall; else ask its authors."
    { plugin: String, peer: String, reason: String }

    /// The plugin's breaker let calls through again, or stopped them.
    BreakerMoved INFO Warning "breaker moved" action "None, unless it stays open: then see the plugin's failed runs."
    { plugin: String, from: &'static str, to: &'static str }
    => |it| { gauge!(metric::BREAKER_STATE, "plugin" => it.plugin.clone()).set(series::breaker(it.to)); }

    /// The service level changed, after it had held for the settling time.
    ServiceLevelChanged WARN Warning "service level changed" action "See what is missing; each plugin's own event says why."
    { from: String, to: String, missing: String }
    => |it| {
        gauge!(metric::SERVICE_LEVEL, "level" => it.from.clone()).set(0.0);
        gauge!(metric::SERVICE_LEVEL, "level" => it.to.clone()).set(1.0);
    }

    /// A run ended, in whatever way.
    RunCompleted<'a> DEBUG Success "run completed" action "None."
    { plugin: &'a str, generation: u32, run: &'a RunId, thread: &'a ThreadId, outcome: &'static str, code: &'a str, by: &'static str, seconds: f64 }
    => |it| { series::run_completed(it.plugin, it.outcome, it.by, it.seconds); }

    /// A run moved to another responder, or ended without an answer, because its plugin failed.
    RunFailed WARN Warning "a plugin failed a run" action "See the plugin's state; the person got an honest answer."
    { plugin: String, generation: u32, run: String, code: String, reason: String, next: String }

    /// A run was dropped before its last event: its task died, or the host ended at a second signal. A store that lasts
    /// completes it as `interrupted` at the next start.
    RunAbandoned<'a> ERROR Critical "a run was abandoned" action "Report it with the log, unless the host was told to end at once."
    { run: &'a RunId, thread: &'a ThreadId }
    => |_it| { series::run_abandoned(); }

    /// What a plugin said was not passed on.
    EventDropped<'a> DEBUG Warning "dropped what a plugin said" action "Report it to the plugin's authors if it persists."
    { plugin: &'a str, run: &'a RunId, reason: &'static str }
    => |it| { series::dropped(it.reason, 1); }

    /// The built-in fallback itself failed; the person got an error frame.
    FallbackFailed ERROR Critical "the built-in fallback failed" action "Report it: this is a bug in the host."
    { run: String, reason: String }
    => |_it| { counter!(metric::FALLBACK_FAILURES).increment(1); }

    /// The store did not do what it was asked.
    StoreFailed ERROR Critical "the store failed" action "See the store's disk; messages are refused until it recovers."
    { operation: &'static str, code: String, reason: String }
    => |it| { counter!(metric::STORE_FAILURES, "operation" => it.operation).increment(1); }

    /// The log is open for writing.
    StoreOpened INFO Success "the log is open" action "None. `clean` is false after a crash; what was acknowledged is there all the same."
    { file: String, epoch: String, clean: bool }

    /// The log's file is damaged. It was set aside, and the host goes on with an empty one, in a new epoch.
    StoreDamaged ERROR Critical "the log was damaged and is set aside" action "Restore a backup with `agent-host db restore`, or keep what `agent-host db check` can read of the files that were set aside."
    { reason: String, set_aside: String }

    /// Threads that nobody used for `store.retention` were deleted.
    ThreadsExpired INFO Success "unused threads were deleted" action "None."
    { threads: usize }

    /// After a restart a run was found that the end of the host had cut off; it was completed as `interrupted`, or begun
    /// if it had not been.
    RunRecovered INFO Warning "a run was cut off by the end of the host" action "None."
    { run: String, thread: String, how: &'static str }

    /// A client's connection is open.
    ConnectionOpened DEBUG Success "connection opened" action "None."
    { connection: String, surface: &'static str }
    => |_it| { series::connections(1.0); }

    /// A client's connection is closed.
    ConnectionClosed DEBUG Success "connection closed" action "None."
    { connection: String, code: u16, reason: String }
    => |it| {
        series::connections(-1.0);
        series::closed(it.code);
    }

    /// An upgrade was answered, by HTTP status.
    UpgradeAnswered DEBUG Success "upgrade answered" action "None for 101; see the code otherwise."
    { status: u16, code: String }
    => |it| { series::upgrade(it.status); }

    /// A panic in the host's own code was caught at the door: 503 instead of 500.
    PanicCaught ERROR Critical "a panic in the host was caught" action "Report it with the log: this is a bug in the host."
    { place: &'static str, message: String }
    => |_it| { counter!(metric::PANICS).increment(1); }

    /// Log lines found no room because nobody read stderr, or it was closed; they are lost. It is said when lines go
    /// out again.
    LogLinesDropped WARN Warning "log lines were dropped" action "Look at what reads the host's stderr: it stopped reading for a while."
    { lines: u64 }

    /// A step of the start failed, and the host does without what it sets up.
    StartStepFailed ERROR Critical "a step of the start failed" action "The reason says what is missing; mend it and restart the host. Users are served meanwhile."
    { step: &'static str, reason: String }

    /// An address sent more bad tokens than `limits.auth_failures_per_minute`: each further one is answered 429. Good tokens
    /// from there are let in. Said once until it has paused.
    TokensGuessed WARN Warning "an address sends bad tokens" action "See whose address it is: a client whose token has run out, or somebody who guesses."
    { from: String, retry_after_ms: u128 }

    /// The keys of another issuer (`auth.jwks_url`) are there, or have become others, or can be fetched again.
    KeySetChanged INFO Success "key set changed" action "None. Connections whose token was signed with a key that is gone are closed with 4401."
    { from: String, keys: usize, added: usize, removed: usize }

    /// The key set could not be fetched, or has no key that could be used. `state` says what the keys of before are worth:
    /// `stale` ones go on verifying for `auth.jwks_stale`.
    KeySetFailed WARN Warning "key set was not fetched" action "See that the address answers this host as the reason says; it is tried again by itself."
    { from: String, reason: String, failures: u32, state: &'static str, retry_ms: u128 }
    => |_it| { counter!(metric::KEY_SET_FAILURES).increment(1); }

    /// There is no key of the other issuer any more, or none yet: its tokens are answered 503 `auth.keys_unavailable`.
    KeysUnavailable ERROR Critical "tokens of the issuer cannot be verified" action "Mend what the reason says. Tokens that the host's own keys verify are let in meanwhile, and open connections stay."
    { from: String, state: &'static str, reason: String }

    /// A key of the set is not used. Said once for each set that is another than before.
    KeyPassedOver WARN Warning "a key of the set is not used" action "None, unless tokens are signed with it: then have its issuer publish one for RS256 or ES256."
    { from: String, kid: String, reason: String }

    /// A client read too slowly; its connection is closed and it can resume from the log.
    SlowConsumer WARN Warning "slow consumer" action "None, unless many: then look at the network."
    { connection: String }
    => |_it| { counter!(metric::SLOW_CONSUMERS).increment(1); }

    /// A step of the upgrade path did not do its work; the client got 503 instead of a hang or a 500.
    UpgradeStepFailed ERROR Critical "a step of the upgrade failed" action "Report it with the log: this is a bug in the host."
    { step: &'static str, reason: String }

    /// A listener cannot accept for the moment, mostly for want of file descriptors; it waits instead of spinning.
    AcceptPaused WARN Warning "accepting is paused" action "Raise the descriptor limit (`ulimit -n`), or lower `gateway.connections`."
    { listener: &'static str, reason: String, pause_ms: u128 }

    /// The host connected to itself as a client does, and a step of that did not hold: users meet the same. Said when
    /// it begins, and when another step fails.
    SelfCheckFailed ERROR Critical "the host's check of itself failed" action "Users meet the same. `reason` says what the step met: see the runbook, `docs/runbook.md`."
    { step: &'static str, reason: String, failures: u32 }

    /// The host's check of itself holds again.
    SelfCheckRecovered INFO Success "the host's check of itself holds again" action "None."
    { failures: u32 }

    /// An operator's order to a plugin was carried out: the audit line. `outcome` is the state that the plugin has now.
    OperatorOrdered [audit] INFO Success "an operator's order was carried out" action "None; ask whom the line names if the order is a surprise."
    { operator: String, token: String, from: String, order: &'static str, plugin: String, outcome: String }

    /// An operator's order to the host itself was carried out: the audit line. `about` is what it was about, `outcome` how
    /// it ended.
    HostOrdered [audit] INFO Success "an operator's order to the host was carried out" action "None; ask whom the line names if the order is a surprise."
    { operator: String, token: String, from: String, order: &'static str, about: String, outcome: String }

    /// An operator's order was tried, and what it is for is not so: the audit line. `about` is the plugin, or what else it was
    /// about. A plugin's switch is kept all the same.
    OrderFailed [audit] WARN Warning "an operator's order failed" action "Do what `agent-host explain` says of the `code`, then give the order again."
    { operator: String, token: String, from: String, order: &'static str, about: String, code: &'static str, reason: String }

    /// An order to a plugin or to the configuration is begun: `operation` is the name by which it can be looked up.
    OperationBegun INFO Success "an operation was begun" action "None; `agent-host operations show` says how it goes."
    { operation: String, order: &'static str, about: String }

    /// It ended. `outcome` is `done`, or the code of what went wrong.
    OperationEnded INFO Success "an operation ended" action "None where `outcome` is `done`; else look it up: it says what to do."
    { operation: String, order: String, about: String, outcome: &'static str }

    /// The log writes other levels from now on.
    LogLevelChanged [audit] INFO Success "the level of the log changed" action "None; `HostOrdered` before it says who wanted it."
    { from: &'static str, to: &'static str, why: &'static str }

    /// An operator revoked tokens of users: the audit line. `outcome` says whether the revocation outlives the host.
    TokensRevoked [audit] INFO Success "tokens were revoked" action "None where `outcome` is `revoked`. `until the host ends`: see to `store.path`, then revoke again."
    { operator: String, token: String, from: String, of: &'static str, name: String, outcome: &'static str }

    /// This host injects faults if an operator orders it: `chaos.enabled` is set.
    ChaosEnabled WARN Warning "faults may be injected here" action "None where that is wanted. Where people rely on the host: take `[chaos] enabled` out of its files and restart it."
    { reason: &'static str }

    /// A fault is injected, on the order that `HostOrdered` tells of. Until `FaultEnded`, what goes wrong may be of it.
    FaultBegan [audit] WARN Warning "a fault is injected" action "None if it is wanted; `agent-host chaos stop` ends it. It ends by itself after `seconds`; 0: it is done once."
    { id: u32, fault: String, seconds: f64 }

    /// An injected fault has ended: `done`, `expired`, `stopped` by an operator, or `host_ended`. `hits` is how often it hit
    /// something.
    FaultEnded [audit] INFO Success "an injected fault has ended" action "None."
    { id: u32, fault: String, why: &'static str, hits: u64 }

    /// An order over the admin API was refused and nothing was done: no valid operator's token, not the permission, a
    /// foreign page or host name, not the way to order it, or nothing that can be done.
    OrderRefused [audit] WARN Warning "an order was refused" action "None for a mistake; look into who is at that address if it keeps happening."
    { operator: String, token: String, from: String, order: String, plugin: String, code: &'static str, reason: String }

    /// An address sent so many bad tokens to the admin API that it is refused without a line for each from now on.
    OperatorGuessed WARN Warning "too many failed tokens from one address" action "Find out who is at that address; `agent_host_admin_refusals_total` goes on counting."
    { from: String, retry_after_ms: u128 }

    /// A switch of a plugin that stood in no file, as one ordered for a time, ended with the host before this one: a start
    /// goes by the files alone.
    SwitchEnded WARN Warning "a switch that no file kept ended with the host before" action "Order it again if it is still meant; without `--for`, `plugins enable|disable` writes it into the file."
    { key: String, value: String, until: String, reason: String }

    /// A changed configuration was taken over.
    ConfigApplied INFO Success "configuration applied" action "None; what cannot change while the host runs is named."
    { changed: String, not_live: String }

    /// The end of the host before cut off a change of several files: it was `completed` before they were read, or `left` as it
    /// was found, because somebody edited them since or one cannot be replaced.
    ConfigChangeCutOff WARN Warning "a change of several files was cut off" action "`completed`: none. `left`: see whether each of `files` says what is meant; `agent-host config validate` reads them."
    { outcome: &'static str, files: String, reason: String }

    /// A changed configuration was refused; the running one stays.
    ConfigRefused WARN Warning "configuration refused" action "Correct the file at the place that the reason names."
    { code: String, reason: String }
    => |_it| { counter!(metric::CONFIG_RELOAD_FAILURES).increment(1); }
}
