//! Fault injection for tests: named points at which a test makes the host fail. Compiled out by default.
//!
//! `failpoint!("gateway.upgrade.token")` is `None` in a normal build, at no cost. With the feature `failpoints`, the
//! environment variable `AGENT_HOST_FAILPOINTS` (`name=action;name=action`, or `@FILE` with one `name=action` a line,
//! read anew at each hit) sets the action of each point: `panic`, `error`, `delay:MS`, `hang`, or `off`, the last of
//! which switches a *protection* off, for the twins that show a test turning red on a broken host.

/// What a test wants to happen at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Unwind here.
    Panic,
    /// Take the point's error path.
    Error,
    /// Wait so many milliseconds, then go on.
    Delay(u64),
    /// Never go on.
    Hang,
    /// Leave out the protection that stands here.
    Off,
}

/// The action of a point; panics by itself for [`Action::Panic`].
///
/// Async callers act on `Delay` and `Hang` themselves; see [`Action::pause`].
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {{
        #[cfg(feature = "failpoints")]
        let action = $crate::failpoint::hit($name);
        #[cfg(not(feature = "failpoints"))]
        let action: Option<$crate::failpoint::Action> = None;
        action
    }};
    // One of many points of a kind, by its word.
    ($kind:literal / $word:expr) => {{
        #[cfg(feature = "failpoints")]
        let action = $crate::failpoint::hit(&format!(concat!($kind, ".{}"), $word));
        #[cfg(not(feature = "failpoints"))]
        let action: Option<$crate::failpoint::Action> = {
            let _ = $word;
            None
        };
        action
    }};
}

impl Action {
    /// How long an async caller shall wait; `None` for the actions that are no pause. A hang is a year.
    pub fn pause(self) -> Option<std::time::Duration> {
        match self {
            Self::Delay(ms) => Some(std::time::Duration::from_millis(ms)),
            Self::Hang => Some(std::time::Duration::from_secs(365 * 24 * 3600)),
            Self::Panic | Self::Error | Self::Off => None,
        }
    }
}

/// Looks a point up in the environment. For the macro.
///
/// # Panics
/// If a test asked for a panic here.
#[cfg(feature = "failpoints")]
#[allow(clippy::panic, reason = "the injected fault itself")]
pub fn hit(name: &str) -> Option<Action> {
    let setting = std::env::var("AGENT_HOST_FAILPOINTS").ok()?;
    let table = match setting.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file).ok()?,
        None => setting.replace(';', "\n"),
    };
    let action =
        table.lines().find_map(|line| line.split_once('=').filter(|(n, _)| n.trim() == name))?.1.trim();
    match action {
        "panic" => panic!("failpoint {name}"),
        "error" => Some(Action::Error),
        "hang" => Some(Action::Hang),
        "off" => Some(Action::Off),
        other => Some(Action::Delay(other.strip_prefix("delay:")?.parse().ok()?)),
    }
}
