//! The one line that makes a crate a plugin: the descriptor in its own section, and the root module.

use agent_plugin_protocol::{
    PanicStrategy, PluginKind,
    section::{Identity, SECTION_BYTES, encode},
};

/// Exports an [`Agent`](crate::Agent) from a `cdylib`.
///
/// ```ignore
/// export_agent!(MyAgent);
/// export_agent!(MyAgent { description: "knows the weather", requires: "llm, tools" });
/// ```
///
/// Fields, all optional: `id` (default: the crate's name), `version` and `description` (default: those of `Cargo.toml`),
/// `requires` (services without which the agent is of no use, comma separated). Each is a constant text. An id that
/// is not of `[a-z0-9-]`, or fields that do not fit the descriptor (1024 bytes), stop the build.
#[macro_export]
macro_rules! export_agent {
    ($agent:ty $({ $($field:ident : $value:expr),* $(,)? })?) => {
        $crate::__export!($crate::__private::OfAgent<$agent>, Agent, { $($($field : $value,)*)? });
    };
}

/// Exports a [`Supervisor`](crate::Supervisor) from a `cdylib`; as [`export_agent!`](crate::export_agent).
#[macro_export]
macro_rules! export_supervisor {
    ($supervisor:ty $({ $($field:ident : $value:expr),* $(,)? })?) => {
        $crate::__export!($crate::__private::OfSupervisor<$supervisor>, Supervisor, { $($($field : $value,)*)? });
    };
}

/// The two statics of a plugin. Both are exported, and so are roots for the linker: neither `--gc-sections` nor `strip`
/// takes them away.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($kind:ty, $word:ident, { $($field:ident : $value:expr,)* }) => {
        const _: () = {
            // The crate's own words: `env!` is expanded where the macro is used.
            const DEFAULTS: $crate::__private::Identity = $crate::__private::Identity {
                id: env!("CARGO_PKG_NAME"),
                version: env!("CARGO_PKG_VERSION"),
                description: env!("CARGO_PKG_DESCRIPTION"),
                ..$crate::__private::identity($crate::__private::PluginKind::$word, $crate::__private::PANIC)
            };
            #[allow(clippy::needless_update)]
            const IDENTITY: $crate::__private::Identity =
                $crate::__private::Identity { $($field: $value,)* ..DEFAULTS };

            #[used]
            #[unsafe(link_section = ".agent_plugin")]
            #[unsafe(export_name = "agent_plugin_descriptor")]
            static DESCRIPTOR: [u8; $crate::__private::SECTION_BYTES] = $crate::__private::descriptor(IDENTITY);

            #[used]
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            static ROOT: $crate::__private::LibHeader = $crate::__private::lib_header::<$kind>();
        };
    };
}

/// How this build panics. The SDK is built with the plugin, in one build with one strategy.
pub const PANIC: PanicStrategy =
    if cfg!(panic = "abort") { PanicStrategy::Abort } else { PanicStrategy::Unwind };

/// What every plugin of this SDK says; the crate's own words are filled in by the macro.
pub const fn identity(kind: PluginKind, panic: PanicStrategy) -> Identity {
    Identity {
        id: "",
        kind,
        version: "",
        description: "",
        sdk_version: env!("CARGO_PKG_VERSION"),
        rustc_version: env!("AGENT_PLUGIN_RUSTC_VERSION"),
        panic,
        requires: "",
    }
}

/// The section's bytes. Evaluated at compile time: what is wrong stops the build.
pub const fn descriptor(identity: Identity) -> [u8; SECTION_BYTES] {
    assert!(
        valid_id(identity.id),
        "a plugin's id is 1 to 64 of [a-z0-9-] and begins with a letter: set `id`"
    );
    encode(identity)
}

/// The rule of `PluginId`, at compile time.
const fn valid_id(id: &str) -> bool {
    let bytes = id.as_bytes();
    if bytes.is_empty() || bytes.len() > 64 || !bytes[0].is_ascii_lowercase() {
        return false;
    }
    let mut i = 0;
    while i < bytes.len() {
        if !(bytes[i].is_ascii_lowercase() || bytes[i].is_ascii_digit() || bytes[i] == b'-') {
            return false;
        }
        i += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use agent_plugin_protocol::{PluginId, section};

    use super::*;

    #[test]
    fn the_symbol_is_the_one_that_abi_stable_looks_for() {
        let symbol = format!("#[unsafe(export_name = {:?})]", abi_stable::library::ROOT_MODULE_LOADER_NAME);
        assert!(include_str!("export.rs").contains(&symbol), "{symbol}");
    }

    #[test]
    fn ids_follow_the_rule_of_plugin_ids() {
        for id in ["a", "echo", "my-agent-2", "", "Echo", "2fast", "-x", "a_b", "a b", "é"] {
            assert_eq!(valid_id(id), PluginId::new(id).is_ok(), "{id:?}");
        }
    }

    #[test]
    fn the_descriptor_says_how_it_was_built() {
        let bytes =
            descriptor(Identity { id: "x", ..identity(PluginKind::Supervisor, PanicStrategy::Abort) });
        let read = section::decode(&bytes).unwrap();
        assert_eq!((read.kind, read.panic), (PluginKind::Supervisor, PanicStrategy::Abort));
        assert!(read.rustc_version.starts_with("1."), "{}", read.rustc_version);
    }
}
