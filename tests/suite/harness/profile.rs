//! The shipped profiles, as an operator lays them over a configuration: each file as it is shipped.

use super::{artifacts, setup::Setup};

/// Under which profile a host is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// None: the defaults, as `agent-host dev` has them.
    Dev,
    Staging,
    Production,
}

impl Profile {
    pub(crate) const ALL: [Self; 3] = [Self::Dev, Self::Staging, Self::Production];

    /// That host under this profile. Only what cannot be had on a machine with other tests is put back: the address and
    /// the folder.
    pub(crate) fn over(self, setup: Setup) -> Setup {
        let Some(name) = self.name() else { return setup };
        let shipped = std::fs::read(artifacts::root().join(format!("config/{name}.toml"))).unwrap();
        setup
            .file(&format!("{name}.toml"), shipped)
            .env("AGENT_HOST_PROFILE", name)
            .env("AGENT_HOST__GATEWAY__LISTEN", "127.0.0.1:0")
            .env("AGENT_HOST__STORE__PATH", "data")
    }

    fn name(self) -> Option<&'static str> {
        match self {
            Self::Dev => None,
            Self::Staging => Some("staging"),
            Self::Production => Some("production"),
        }
    }
}
