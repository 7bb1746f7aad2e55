//! What the operator wrote, and what of it is valid.
//!
//! Layers, later wins: built-in defaults → `host.toml` → `plugins.d/*.toml` → the profile's file → environment
//! `AGENT_HOST__SECTION__KEY` → command line. [`load`] merges them, checks every value and gives a [`Config`] that is
//! valid by construction, with the [`Origin`] of each value; or [`ConfigErrors`]: everything that is wrong, each
//! with its place, a caret and what to do.
//!
//! A section's `read` function is the one description of its keys: it yields the values, their origins and, run
//! over nothing, the list of [`known_keys`], of which the JSON [`schema`] is made.
#![forbid(unsafe_code)]

mod edit;
mod error;
mod layer;
mod load;
mod merge;
mod node;
mod origin;
mod print;
mod reader;
mod schema;
mod secret;
mod section;
mod value;
mod variable;

pub use edit::{EditError, edited};
pub use error::{ConfigError, ConfigErrors};
pub use load::{Loaded, PROFILE_VARIABLE, Sources, as_far_as_it_reads, load};
pub use origin::{Origin, Origins};
pub use print::{Setting, Values, toml_of};
pub use reader::Key;
pub use schema::schema;
pub use secret::{HS256_SECRET_BYTES, Secret};
pub use section::{
    AdminConfig, AuthConfig, AuthoritiesFile, CanaryConfig, ChaosConfig, Config, DefaultProtocol,
    DoubleTexting, DrainConfig, Durability, GatewayConfig, IsolationConfig, KeySetConfig, LimitsConfig,
    LogConfig, LogFormat, LogLevel, NetraConfig, OnDisconnect, PluginConfig, PluginIsolation, PluginLimits,
    PluginTimeouts, PublicKeyFile, ReadinessConfig, RestartConfig, RoutingConfig, SelfCheckConfig,
    ServiceConfig, StoreConfig, TrustConfig, UidRange, known_keys,
};
pub use value::{ByteSize, parse_duration};

#[cfg(test)]
mod tests;
