//! `[gateway]`: the public listener and what is spoken on it.

use std::net::{Ipv4Addr, SocketAddr};

use agent_host_core::address_range::{AddressRange, NoRange};
use agent_plugin_protocol::Code;

use crate::{
    reader::Reader,
    value::{Located, Word},
};

/// The public listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayConfig {
    /// Where to listen. `PORT` in the environment overrides the port.
    pub listen: SocketAddr,
    /// Origins of pages that may connect; `*` is any. A request without an `Origin` is not a page's.
    pub origins: Vec<String>,
    /// Proxies before this host: what their `X-Forwarded-For` says of a client's address is believed.
    pub trusted_proxies: Vec<AddressRange>,
    /// What a client gets that names no protocol.
    pub default_protocol: DefaultProtocol,
    /// The wire of the platform that this host replaces.
    pub netra: NetraConfig,
}

/// What a client gets that names no subprotocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultProtocol {
    /// `agent-host.v1`.
    Native,
    /// `netra-v1`.
    NetraV1,
}

/// The wire of the platform that this host replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetraConfig {
    /// Whether its second version is spoken, which echoes the token in the upgrade's answer.
    pub v2: bool,
}

impl Word for DefaultProtocol {
    const WORDS: &'static [(&'static str, Self)] =
        &[("agent-host.v1", Self::Native), ("netra-v1", Self::NetraV1)];
}

impl GatewayConfig {
    pub(crate) fn read(r: &Reader<'_>) -> Self {
        let netra = r.section("netra");
        Self {
            listen: r.or("listen", (Ipv4Addr::LOCALHOST, 8080).into()),
            origins: origins(r),
            trusted_proxies: trusted_proxies(r),
            default_protocol: r.or("default_protocol", DefaultProtocol::Native),
            netra: NetraConfig { v2: netra.or("v2", false) },
        }
    }
}

fn origins(r: &Reader<'_>) -> Vec<String> {
    let written: Vec<Located<String>> = r.or("origins", Vec::new());
    for Located { value, origin } in &written {
        if !is_origin(value) {
            let hint = Some(
                "an origin is scheme, host and port without a path: \"https://chat.example.com\"".into(),
            );
            r.error_at(
                Code::ConfigRange,
                "origins",
                origin.clone(),
                format!("holds {value:?}, no origin"),
                hint,
            );
        }
    }
    written.into_iter().map(|located| located.value).collect()
}

fn trusted_proxies(r: &Reader<'_>) -> Vec<AddressRange> {
    let written: Vec<Located<String>> = r.or("trusted_proxies", Vec::new());
    let ranges = written.into_iter().filter_map(|Located { value, origin }| match value.parse() {
        Ok(range) => Some(range),
        Err(NoRange) => {
            let hint = Some(NoRange.to_string());
            r.error_at(
                Code::ConfigRange,
                "trusted_proxies",
                origin,
                format!("holds {value:?}, no range"),
                hint,
            );
            None
        }
    });
    ranges.collect()
}

fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    text == "*" || host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']))
}
