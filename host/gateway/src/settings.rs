//! What the gateway is told: plain values, already valid. The server maps its configuration into them.

use std::{net::SocketAddr, ops::RangeInclusive, time::Duration};

use secrecy::SecretSlice;

use agent_host_core::address_range::AddressRange;

use crate::{auth::PublicKey, surface::Surface};

/// Everything the gateway is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The public listener.
    pub listen: SocketAddr,
    /// The operators' listener.
    pub admin_listen: SocketAddr,
    /// What a client speaks that offers no subprotocol this host knows.
    pub default_protocol: Surface,
    /// Whether the second version of the older wire is spoken, whose answer to an upgrade repeats the client's token.
    pub netra_v2: bool,
    /// The users' tokens.
    pub auth: Auth,
    /// The operators' tokens: their own keys and audience, so that a user's key cannot mint one.
    pub admin: Auth,
    /// How much of everything.
    pub limits: Limits,
    /// How long everything.
    pub timing: Timing,
    /// Pages that may connect, as `scheme://host[:port]`; `*` is any page. A page of this host's own name may always.
    /// A request without `Origin` does not come from a page.
    pub origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<AddressRange>,
    /// Names by which operators reach the admin API, beside the listener's address and `localhost`; lower case,
    /// without a port.
    pub admin_hosts: Vec<String>,
    /// What `/ready` insists on: `agent`, `supervisor`, `store`, …, a plugin's or a service's name. Empty: a degraded
    /// host is ready.
    pub require: Vec<String>,
    /// How often the host looks at itself through its own door; zero: never.
    pub self_check: Duration,
}

/// How tokens are judged.
#[derive(Debug, Clone)]
pub struct Auth {
    /// The HS256 secrets, each of at least 32 bytes; the first signs, all verify. None: no token is valid.
    pub hs256_secrets: Vec<SecretSlice<u8>>,
    /// Keys of RS256 and ES256.
    pub public_keys: Vec<PublicKey>,
    /// The only `iss` allowed; empty: unchecked.
    pub issuer: String,
    /// The `aud` that must be there; empty: unchecked.
    pub audience: String,
    /// How far the clocks of issuer and host may be apart.
    pub leeway: Duration,
}

/// How much. 0 switches a limit off, but for `frame_bytes`.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest message of a client.
    pub frame_bytes: usize,
    /// Open connections on the public listener.
    pub connections: usize,
    /// WebSockets of one user.
    pub connections_per_user: usize,
    /// Messages of one connection, on average; the burst is one minute's worth.
    pub messages_per_minute: u32,
    /// Frames of any kind of one connection, on average; five times that is the burst. Beyond it the socket is
    /// closed. Off as well if `messages_per_minute` is.
    pub frames_per_second: u32,
    /// For the welcome only; the engine keeps this limit.
    pub runs_at_once: u32,
    /// Bad tokens that one address may send to the admin API in a minute; a good one is never refused for it.
    pub auth_failures_per_minute: u32,
}

/// How long.
#[derive(Debug, Clone)]
pub struct Timing {
    /// A ping goes out after a random time in this range.
    pub ping: RangeInclusive<Duration>,
    /// A sign of life must follow a ping within this time.
    pub pong: Duration,
    /// One write to a client.
    pub write: Duration,
    /// Reading a request's head.
    pub header: Duration,
    /// Each upgrade, up to the 101.
    pub upgrade: Duration,
    /// The engine's acceptance of one frame.
    pub handle: Duration,
    /// The client's half of a close handshake.
    pub close: Duration,
    /// Warning before a token expires.
    pub expiry_warning: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 9901)),
            default_protocol: Surface::Native,
            netra_v2: false,
            auth: Auth::default(),
            admin: Auth { audience: "agent-host-admin".to_owned(), ..Auth::default() },
            limits: Limits::default(),
            timing: Timing::default(),
            origins: Vec::new(),
            trusted_proxies: Vec::new(),
            admin_hosts: Vec::new(),
            require: Vec::new(),
            self_check: Duration::ZERO,
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            hs256_secrets: Vec::new(),
            public_keys: Vec::new(),
            issuer: String::new(),
            audience: String::new(),
            leeway: Duration::from_secs(60),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes: 64 * 1024,
            connections: 10_000,
            connections_per_user: 64,
            messages_per_minute: 120,
            frames_per_second: 100,
            runs_at_once: 4,
            auth_failures_per_minute: 60,
        }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            // 25 s at most: common load balancers close a connection that is idle for 30 s.
            ping: Duration::from_secs(20)..=Duration::from_secs(25),
            pong: Duration::from_secs(8),
            write: Duration::from_secs(10),
            header: Duration::from_secs(10),
            // Law 2 promises the welcome within 1 s. What comes before it takes less, so that there is time left for what
            // a busy machine takes around it; and more than the 500 ms for which a token waits for its key.
            upgrade: Duration::from_millis(750),
            handle: Duration::from_secs(15),
            close: Duration::from_secs(2),
            expiry_warning: Duration::from_secs(30),
        }
    }
}
