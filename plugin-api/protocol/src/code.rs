//! The error codes: stable words, each with what happened, whether a retry may help, and what to do.
//!
//! The one table. Frames, problem documents, logs, metrics and the command line all use [`Code`];
//! `docs/codes.md` is made from it. Codes are added, never renamed.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($variant:ident $name:literal $retry:ident: $what:literal, $remedy:literal;)*) => {
        /// A stable error code.
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Code {
            $(#[doc = $what] #[serde(rename = $name)] $variant,)*
        }

        impl Code {
            /// Every code, grouped as in the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Whether the same request may succeed later without a change.
            pub const fn retryable(self) -> bool {
                match self { $(Self::$variant => codes!(@ $retry),)* }
            }

            /// What happened, in half a sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $what,)* }
            }

            /// What to do about it.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)* }
            }
        }
    };
    (@ retry) => { true };
    (@ fatal) => { false };
}

impl Code {
    /// The code of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

codes! {
    PluginNotFound "plugin.not_found" fatal:
        "the plugin's file does not exist",
        "put the library where `path` says, or correct `path`; a bare name is looked for in <config>/plugins/, then beside the host's binary";
    PluginNotAFile "plugin.not_a_file" fatal:
        "the path is a directory, fifo, device or socket",
        "point `path` at a regular file";
    PluginUnreadable "plugin.unreadable" fatal:
        "the host may not read the plugin's file",
        "give the host's user read permission on the file and its folders";
    PluginTooLarge "plugin.too_large" fatal:
        "the plugin's file is above the size limit",
        "strip the library (`strip = true` in its release profile), or raise `limits.library`";
    PluginInsecureMode "plugin.insecure_mode" fatal:
        "others could exchange the plugin's file: it, or a folder on its way, is theirs or can be written by them",
        "the fault's own hint names the part of the path and the chmod or chown that mends it";
    PluginNotElf "plugin.not_elf" fatal:
        "the file is not an ELF library",
        "build the plugin as `crate-type = [\"cdylib\"]` for Linux";
    PluginTruncated "plugin.truncated" fatal:
        "the file ends before its headers say",
        "copy the library again: the copy was cut short";
    PluginWrongMachine "plugin.wrong_machine" fatal:
        "the library was built for another machine",
        "build it for the host's target";
    PluginNoDescriptor "plugin.no_descriptor" fatal:
        "the library carries no plugin descriptor",
        "end the crate with `export_agent!` or `export_supervisor!`, and do not strip the `.agent_plugin` section";
    PluginBadDescriptor "plugin.bad_descriptor" fatal:
        "the plugin's descriptor is damaged",
        "build the plugin again with the current agent-plugin-api";
    PluginAbiTooOld "plugin.abi_too_old" fatal:
        "the plugin speaks an ABI this host no longer speaks",
        "build the plugin with a current agent-plugin-api";
    PluginAbiTooNew "plugin.abi_too_new" fatal:
        "the plugin speaks an ABI this host does not speak yet",
        "upgrade the host, or build the plugin with an older agent-plugin-api";
    PluginPanicAbort "plugin.panic_abort" fatal:
        "the library was built with panic=abort, which in-process would end the host",
        "use `isolation = \"process\"`, or build it with panic=unwind";
    PluginDigestMismatch "plugin.digest_mismatch" fatal:
        "the file's SHA-256 is not the pinned one",
        "deploy the pinned file, or change `sha256` after reviewing the new one";
    PluginSignatureMissing "plugin.signature_missing" fatal:
        "the plugin needs a pin or a signature and has none",
        "set `sha256`, or sign the file (`minisign -S -m FILE.so`), keep the .minisig beside it and the public key in [trust] keys";
    PluginSignatureInvalid "plugin.signature_invalid" fatal:
        "the plugin's signature does not verify",
        "sign the file again with a key of [trust] keys, and deploy both files together";
    PluginMissingLibrary "plugin.missing_library" fatal:
        "a library that the plugin needs is not installed",
        "install the named library on the host, or link it statically";
    PluginGlibcTooNew "plugin.glibc_too_new" fatal:
        "the plugin needs a newer glibc than the host's",
        "build the plugin on a system as old as the host's";
    PluginDuplicateId "plugin.duplicate_id" fatal:
        "two slots would have the same name",
        "give each plugin table its own name";
    PluginLoadFailed "plugin.load_failed" fatal:
        "the dynamic loader refused the library",
        "see the reason; `ldd` on the file helps";
    PluginMissingSymbol "plugin.missing_symbol" fatal:
        "the library lacks its entry point",
        "end the crate with `export_agent!` or `export_supervisor!`";
    PluginLayoutMismatch "plugin.layout_mismatch" fatal:
        "the plugin's tables are laid out otherwise than this host expects",
        "build the plugin with the same agent-plugin-api major version as the host";
    PluginLoadCrashed "plugin.load_crashed" fatal:
        "the library crashed while it was being loaded",
        "look at its static initialisers (constructors)";
    PluginLoadTimeout "plugin.load_timeout" fatal:
        "the library was not loaded within its deadline",
        "look at its static initialisers (constructors)";
    PluginHandshakeFailed "plugin.handshake_failed" retry:
        "the worker process did not answer its first message properly",
        "look at the host's log for the worker's last words";
    PluginSandboxUnavailable "plugin.sandbox_unavailable" fatal:
        "a required layer of the sandbox is not to be had here",
        "run on a platform that offers it, or take it out of `[isolation] require`";
    PluginConfigInvalid "plugin.config_invalid" fatal:
        "the plugin's configuration does not fit",
        "correct `[plugins.<id>.config]` as the reason says";
    PluginInitError "plugin.init_error" retry:
        "the plugin's create returned an error",
        "see the reason; it is the plugin's own";
    PluginInitPanicked "plugin.init_panicked" fatal:
        "the plugin panicked in create",
        "report it to the plugin's authors with the reason";
    PluginInitTimeout "plugin.init_timeout" retry:
        "the plugin's create did not return within its deadline",
        "raise `timeouts.init`, or make create faster";
    PluginInitCrashed "plugin.init_crashed" fatal:
        "the plugin's process died in create",
        "report it to the plugin's authors with the crash report";
    PluginDependencyMissing "plugin.dependency_missing" retry:
        "a service that the plugin requires is not available",
        "bring the named service back; the plugin comes alive by itself";
    PluginProbeFailed "plugin.probe_failed" retry:
        "the plugin does not answer its self-test",
        "see the reason; it is tried again";
    PluginError "plugin.error" retry:
        "the plugin answered with an error",
        "see the message; it is the plugin's own";
    PluginPanicked "plugin.panicked" fatal:
        "the plugin panicked while it handled the message",
        "report it to the plugin's authors";
    PluginCrashed "plugin.crashed" retry:
        "the plugin's process was killed by a signal",
        "see the crash report (`agent-host plugins show`); the next generation is being started";
    PluginExited "plugin.exited" retry:
        "the plugin's process exited by itself",
        "a plugin must not call exit; report it to its authors";
    PluginHung "plugin.hung" retry:
        "the plugin no longer gives a sign of life",
        "look for blocking code in the agent; the next generation is being started";
    PluginTimeoutIdle "plugin.timeout_idle" retry:
        "the plugin was silent for longer than `timeouts.idle`",
        "raise `timeouts.idle`, or emit progress";
    PluginTimeoutTool "plugin.timeout_tool" retry:
        "a tool took longer than `timeouts.tool`",
        "raise `timeouts.tool`, or make the tool faster";
    PluginTimeoutRun "plugin.timeout_run" retry:
        "the run took longer than `timeouts.run`",
        "raise `timeouts.run`, or split the work";
    PluginMemory "plugin.memory" retry:
        "the plugin reached its memory limit",
        "raise `limits.memory`, or find the leak";
    PluginFlood "plugin.flood" fatal:
        "the plugin sent more events than it was allowed to have outstanding",
        "report it to the plugin's authors: emit ignores its credit";
    PluginProtocolViolation "plugin.protocol_violation" fatal:
        "the plugin said something that the contract does not allow",
        "report it to the plugin's authors";
    PluginBreakerOpen "plugin.breaker_open" retry:
        "the plugin failed too often just now and gets no new runs",
        "it is tried again by itself after the cool-down";
    PluginCrashLoop "plugin.crash_loop" retry:
        "the plugin keeps crashing and waits for its next start",
        "see the last crash; it is started again with growing pauses";
    PluginQuarantined "plugin.quarantined" fatal:
        "the plugin spent its restart budget",
        "mend it, then reset it; a new file or configuration resets it too";
    PluginRolledBack "plugin.rolled_back" fatal:
        "the new generation of the plugin was taken back, and the one before serves again",
        "see why in `agent-host plugins show`; mend it, then reload it";
    PluginCanaryWorse "plugin.canary_worse" fatal:
        "the new generation of the plugin failed more of its share of the runs than the one beside it",
        "see its failed runs in the log; mend it, then reload it";
    PluginNoCanary "plugin.no_canary" fatal:
        "no generation of the plugin is on trial",
        "set its `canary.share`, then reload it or change its configuration";
    PluginNothingBefore "plugin.nothing_before" fatal:
        "no generation is kept that the plugin could go back to",
        "put the former file or configuration back, then reload";
    PluginDraining "plugin.draining" retry:
        "the plugin takes no new runs: it is being stopped or replaced",
        "try again in a moment";
    PluginDisabled "plugin.disabled" fatal:
        "the plugin is switched off in the configuration",
        "set `enabled = true` to use it";
    PluginNotConfigured "plugin.not_configured" fatal:
        "a plugin of that kind is required, and none is configured",
        "configure one in `plugins.d`, or take it out of `readiness.require`";
    PluginStarting "plugin.starting" retry:
        "the plugin is still starting",
        "try again in a moment";
    PluginOverloaded "plugin.overloaded" retry:
        "the plugin runs as many messages as it may, and no place got free in time",
        "try again in a moment, or raise `limits.concurrent_runs`";
    PluginUnknown "plugin.unknown" fatal:
        "no plugin of that name is configured",
        "see `agent-host plugins list` for the names";
    AuthMissing "auth.missing" fatal:
        "the request carries no token",
        "send `Authorization: Bearer <token>`, or the subprotocol entry `bearer.<token>`";
    AuthMalformed "auth.malformed" fatal:
        "the token is not a JWT, or too long",
        "send a whole JWT";
    AuthInvalid "auth.invalid" fatal:
        "the token's signature does not verify",
        "get a token from the configured issuer";
    AuthAlgorithm "auth.algorithm" fatal:
        "the token's algorithm is not an allowed one",
        "sign tokens with a configured algorithm";
    AuthExpired "auth.expired" fatal:
        "the token has expired",
        "get a new token";
    AuthNotYetValid "auth.not_yet_valid" retry:
        "the token is not valid yet",
        "check the clocks of issuer and host";
    AuthIssuer "auth.issuer" fatal:
        "the token's issuer is not the configured one",
        "use a token of the configured issuer";
    AuthAudience "auth.audience" fatal:
        "the token is meant for another audience",
        "use a token whose `aud` is the configured one";
    AuthRevoked "auth.revoked" fatal:
        "the token was revoked",
        "get a new token";
    AuthKeysUnavailable "auth.keys_unavailable" retry:
        "the keys that verify tokens could not be fetched yet",
        "see that the key set's URL is reachable from the host";
    AuthTicketInvalid "auth.ticket_invalid" fatal:
        "the ticket is unknown, used or too old",
        "get a new ticket; it lives 30 s and works once";
    OriginDenied "origin.denied" fatal:
        "the page's origin is not on the allow-list",
        "add the origin to `gateway.origins`";
    OriginUnknownHost "origin.unknown_host" fatal:
        "the request names a host that this listener does not go by",
        "use the listener's address or localhost, or add the name to `admin.hosts`";
    PermissionDenied "permission.denied" fatal:
        "the token does not permit this",
        "use a token with the permission named";
    FrameInvalidJson "frame.invalid_json" fatal:
        "the frame is not JSON",
        "send one JSON object per text frame";
    FrameUnknownType "frame.unknown_type" fatal:
        "the frame's type is not known",
        "see the protocol reference for the types";
    FrameInvalid "frame.invalid" fatal:
        "a field of the frame is missing or wrong",
        "correct the field named";
    FrameTooLarge "frame.too_large" fatal:
        "the frame is above the size limit",
        "send smaller frames; the limit is in the welcome";
    FrameEmptyContent "frame.empty_content" fatal:
        "the message has no text",
        "put the text in `content`";
    AgentUnknown "agent.unknown" fatal:
        "no agent of that name is configured",
        "name one of the agents listed in the welcome, or none";
    AgentFailed "agent.failed" retry:
        "the agent could not answer",
        "see the message";
    AgentFallback "agent.fallback" retry:
        "no agent could answer; the built-in fallback did",
        "see what is missing in the answer";
    DelegateDenied "delegate.denied" fatal:
        "the plugin may not hand on this work",
        "only a supervisor hands work on, three deep at most, and never in a circle";
    ThreadNotFound "thread.not_found" fatal:
        "there is no such thread for this user",
        "start a new thread by leaving out `thread_id`";
    RunNotFound "run.not_found" fatal:
        "there is no such run for this user",
        "use a run id from `accepted`";
    RunNotCancellable "run.not_cancellable" fatal:
        "the run is already over",
        "nothing to do";
    RunConnectionLost "run.connection_lost" retry:
        "the connection that followed the run was lost, and its agent wants it stopped then",
        "connect again and send the message again; `on_disconnect = \"continue\"` lets runs go on";
    RunBusy "run.busy" retry:
        "the thread has a run already, and its agent takes one at a time",
        "wait for it to end, or cancel it";
    InterruptNotFound "interrupt.not_found" fatal:
        "there is no such open question for this user",
        "answer a question that is still open";
    Interrupted "interrupted" retry:
        "the host stopped the run",
        "send the message again";
    IdempotencyConflict "idempotency.conflict" fatal:
        "the id was used before with another body",
        "use a new id for a new message";
    LimitConnections "limit.connections" retry:
        "the user has as many connections as allowed",
        "close one, or try again later";
    LimitRate "limit.rate" retry:
        "messages come faster than allowed",
        "wait as long as `retry_after_ms` says";
    LimitRuns "limit.runs" retry:
        "the user has as many runs at once as allowed",
        "wait for one to end";
    LimitSubscriptions "limit.subscriptions" fatal:
        "the user follows as many threads as allowed, over all connections",
        "unsubscribe from threads that are not looked at";
    LimitAuthFailures "limit.auth_failures" retry:
        "too many failed tokens from this address",
        "wait as long as Retry-After says";
    QuotaStorage "quota.storage" fatal:
        "the user's storage is full",
        "delete threads";
    QuotaThreads "quota.threads" fatal:
        "the user has as many threads as allowed",
        "delete threads";
    ChaosDisabled "chaos.disabled" fatal:
        "this host injects no faults",
        "set `[chaos] enabled = true` in its files and restart it, or give `--set chaos.enabled=true` to `agent-host dev`; never where people rely on it";
    ChaosNoTarget "chaos.no_target" retry:
        "what the fault is to hit is not there",
        "see the reason; `agent-host plugins list` and `agent-host chaos list` show what is";
    ChaosTooMany "chaos.too_many" retry:
        "as many faults are injected as may be at once",
        "end one with `agent-host chaos stop`, or wait: each ends by itself";
    StoreUnavailable "store.unavailable" retry:
        "the store cannot be written now; the message was not accepted",
        "send it again later";
    StoreFull "store.full" retry:
        "the store's disk is full; the message was not accepted",
        "free space on the store's volume";
    StoreCorrupt "store.corrupt" fatal:
        "the store's file is damaged",
        "it was set aside; restore a backup";
    StoreNewerSchema "store.newer_schema" fatal:
        "the store was written by a newer host",
        "upgrade the host, or restore an older backup";
    ServiceUnavailable "service.unavailable" retry:
        "a service that the host offers plugins is not available",
        "see the service's state; it comes back by itself";
    ServiceNotConfigured "service.not_configured" fatal:
        "a service is required, and the operator did not configure it",
        "configure it, or take it out of `readiness.require`";
    LlmUnavailable "llm.unavailable" retry:
        "the model cannot be reached",
        "see the service's state";
    LlmRateLimited "llm.rate_limited" retry:
        "the model's provider limits the rate",
        "wait as long as told";
    LlmRejected "llm.rejected" fatal:
        "the model's provider refused the request",
        "see the reason";
    LlmProtocol "llm.protocol" retry:
        "the model's provider sent something that is not an answer",
        "try again; report it if it stays";
    ToolUnknown "tool.unknown" fatal:
        "there is no tool of that name",
        "use a tool that `tools.list` names";
    ToolInvalidArguments "tool.invalid_arguments" fatal:
        "the arguments do not fit the tool's schema",
        "correct the arguments";
    ToolFailed "tool.failed" retry:
        "the tool failed",
        "see the reason";
    ToolDenied "tool.denied" fatal:
        "the plugin was not granted the tool",
        "add it to the plugin's `tools` in the configuration";
    NetworkDenied "network.denied" fatal:
        "the plugin may not reach that peer",
        "add \"host:port\" to the plugin's `network`, if it shall; an address that is not public has to be listed itself";
    NetworkUnreachable "network.unreachable" retry:
        "the peer cannot be connected to",
        "see the reason: the name, the peer, or the network between";
    NetworkBroken "network.broken" retry:
        "the connection is no more",
        "connect again";
    NetworkLimit "network.limit" retry:
        "there are too many connections, or one carried too much",
        "close connections that are done with, and carry large things elsewhere";
    ConfigSyntax "config.syntax" fatal:
        "the file is not TOML",
        "correct the place named";
    ConfigUnknownKey "config.unknown_key" fatal:
        "there is no such key",
        "correct its name or take it out";
    ConfigUnknownVariable "config.unknown_variable" fatal:
        "an AGENT_HOST__… variable names no key",
        "correct its name or unset it";
    ConfigType "config.type" fatal:
        "the value is of the wrong type",
        "write a value of the type named";
    ConfigRange "config.range" fatal:
        "the value is outside its range",
        "choose a value in the range named";
    ConfigDuplicate "config.duplicate" fatal:
        "the same thing is defined twice",
        "keep one of the two";
    ConfigMissing "config.missing" fatal:
        "something needed is not there",
        "add it";
    ConfigReference "config.reference" fatal:
        "a value names something that does not exist",
        "correct the name";
    ConfigNotLive "config.not_live" fatal:
        "the change needs a restart",
        "restart the host to apply it";
    ConfigFilesOnly "config.files_only" fatal:
        "this key is set in files only: whoever may set it decides what runs, and as whom",
        "edit the file; it is taken up by itself";
    ConfigUnwritable "config.unwritable" fatal:
        "the file that holds the key cannot be written, or something stronger than a file sets it",
        "edit it where it is kept, or give the host a folder that it may write to";
    ConfigBusy "config.busy" retry:
        "another change of the configuration is going on",
        "try again in a moment";
    ConfigStaleEtag "config.stale_etag" retry:
        "the configuration changed since it was read",
        "read it again, then send the change";
    UpgradeNotWebsocket "upgrade.not_websocket" fatal:
        "the request is not a WebSocket upgrade",
        "send `Connection: Upgrade` and `Upgrade: websocket`, or use a WebSocket client";
    UpgradeMissingKey "upgrade.missing_key" fatal:
        "the upgrade lacks Sec-WebSocket-Key",
        "use a WebSocket client, or add the header";
    UpgradeInvalidKey "upgrade.invalid_key" fatal:
        "Sec-WebSocket-Key is not 16 bytes in base64, or stands there twice",
        "use a WebSocket client, or send one key of 16 random bytes in base64";
    UpgradeVersion "upgrade.version" fatal:
        "the WebSocket version is not 13",
        "use a client that speaks RFC 6455";
    HostStarting "host.starting" retry:
        "the host is still starting",
        "try again in a moment";
    HostDraining "host.draining" retry:
        "the host is shutting down",
        "connect again; another host or the next one answers";
    HostCapacity "host.capacity" retry:
        "the host has as many connections as it can hold",
        "try again later";
    HostInternal "host.internal" retry:
        "a bug in the host itself",
        "report it with the host's log";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_parse_back() {
        let names: HashSet<_> = Code::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), Some(*code));
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }

    #[test]
    fn every_code_says_what_happened_and_what_to_do() {
        for code in Code::ALL {
            assert!(!code.meaning().is_empty() && !code.remedy().is_empty(), "{code}");
        }
    }
}
