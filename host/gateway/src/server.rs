//! The gateway as a whole: binds both listeners, serves, and shuts down in order.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use agent_host_core::ports::clock::Clock;
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    accept::Listener,
    admin::{Admin, Operated},
    auth::{KeySet, Verifier},
    descriptors::Places,
    guesses::Guesses,
    health::Health,
    host::Host,
    limits::UserConnections,
    native::{DeliveredNetra, Shared},
    open::OpenConnections,
    revoked::RevokedTokens,
    rotation::Rotation,
    routes,
    self_check::{Own, Report, SelfCheck},
    settings::Settings,
    tickets::Tickets,
    upgrade::Door,
};

/// Renders `/metrics`; `None` if there are none, which is answered with 503.
pub type MetricsPage = Option<Arc<dyn Fn() -> String + Send + Sync>>;

/// The doors, open. Dropping it leaves them open; see [`Gateway::shutdown`].
pub struct Gateway {
    public: SocketAddr,
    admin: SocketAddr,
    tasks: TaskTracker,
    stop: CancellationToken,
    shown_configuration: Arc<OnceLock<Value>>,
}

impl Gateway {
    /// Binds and serves. Answers as soon as both listeners are bound: a host that is still starting has its doors open.
    /// `keys`, if there are any, are kept fetched until [`Gateway::shutdown`].
    ///
    /// # Errors
    /// If an address cannot be bound; nothing is served then.
    pub async fn start<H: Host>(
        settings: Settings,
        host: H,
        clock: Arc<dyn Clock>,
        metrics: MetricsPage,
        revoked: Arc<RevokedTokens>,
        keys: Option<Arc<KeySet>>,
        operated: Operated,
    ) -> io::Result<Self> {
        let public = listen(settings.listen)?;
        let admin = listen(settings.admin_listen)?;
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let gateway = Self {
            public: public.local_addr()?,
            admin: admin.local_addr()?,
            tasks: tasks.clone(),
            stop: stop.clone(),
            shown_configuration: Arc::default(),
        };

        let host = Arc::new(host);
        let (open, rotation) = (Arc::<OpenConnections>::default(), Arc::<Rotation>::default());
        let checked = watch::Sender::new(Report::before(settings.self_check));
        let health = Arc::new(Health {
            host: Arc::clone(&host),
            require: settings.require.clone(),
            checked: checked.subscribe(),
            admin: Verifier::new(&settings.admin, Arc::clone(&clock)),
            clock: Arc::clone(&clock),
            keys: keys.clone(),
            rotation: Arc::clone(&rotation),
            chaos: operated.chaos.clone(),
        });
        if let Some(chaos) = &operated.chaos {
            chaos.attach(Arc::<OpenConnections>::clone(&open));
        }
        let listener = |name, socket, router, places| Listener {
            name,
            socket,
            router,
            header_within: settings.timing.header,
            places,
            tasks: tasks.clone(),
            stop: stop.clone(),
        };
        let places = Places::of(settings.limits.connections);
        let api =
            Admin::new(&settings, Arc::clone(&host), Arc::clone(&clock), tasks.clone(), gateway.admin.ip())
                .revoking(Arc::clone(&revoked))
                .configuring(operated.configuration)
                .injecting(operated.chaos.clone())
                .beside(Arc::clone(&open), Arc::clone(&rotation), stop.clone())
                .bundling(Arc::clone(&gateway.shown_configuration), metrics.clone());
        let verifier = Verifier::new(&settings.auth, Arc::clone(&clock))
            .with_key_set(keys.clone())
            .without(Arc::clone(&revoked));
        if let Some(keys) = keys {
            // None of `tasks`: it is no connection, and nobody waits for it.
            tokio::spawn(keys.keep(revoked, stop.clone()));
        }
        let door = door(&settings, host, clock, verifier, (open, rotation), (&tasks, &stop));
        if !settings.self_check.is_zero() {
            let check = SelfCheck::new(Arc::clone(&door), gateway.public, checked);
            tasks.spawn(check.run(settings.self_check));
        }
        tasks.spawn(listener("public", public, routes::public(door, Arc::clone(&health)), places).run());
        tasks.spawn(listener("admin", admin, routes::admin(Arc::new(api), health, metrics), OPERATORS).run());
        Ok(gateway)
    }

    /// Where clients connect.
    pub fn public_addr(&self) -> SocketAddr {
        self.public
    }

    /// Where operators connect.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin
    }

    /// What the host was started with, as it may be shown: without secrets. For the support bundle; told once.
    pub fn show_configuration(&self, shown: Value) {
        // Told again, the first stays: it is what the host was started with.
        let _ = self.shown_configuration.set(shown);
    }

    /// About how many connections are open.
    pub fn connections(&self) -> usize {
        self.tasks.len()
    }

    /// Closes everything: no more is accepted, every socket gets its close 1012, in batches, and its handshake.
    /// Answers whether all were done `within` that time; what was not is cut off when the process ends.
    ///
    /// The engine is drained before: while it drains, the doors answer 503 and the sockets carry `going_away`.
    pub async fn shutdown(&self, within: Duration) -> bool {
        self.stop.cancel();
        self.tasks.close();
        timeout(within, self.tasks.wait()).await.is_ok()
    }
}

/// Binds an address, with room for a herd.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart must not wait for the connections of the host before it.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn door<H: Host>(
    settings: &Settings,
    host: Arc<H>,
    clock: Arc<dyn Clock>,
    verifier: Verifier,
    (open, rotation): (Arc<OpenConnections>, Arc<Rotation>),
    (tasks, stop): (&TaskTracker, &CancellationToken),
) -> Arc<Door<H>> {
    let shared = Arc::new(Shared {
        verifier,
        clock,
        delivered: agent_host_telemetry::series::Delivered::on(crate::surface::Surface::Native.name()),
        delivered_netra: DeliveredNetra::default(),
        closers: Semaphore::new(CLOSING_AT_ONCE),
        settings: settings.clone(),
    });
    Arc::new(Door {
        host,
        shared,
        users: UserConnections::new(settings.limits.connections_per_user),
        tickets: Tickets::default(),
        failures: Guesses::new(settings.limits.auth_failures_per_minute),
        own: Own::default(),
        tasks: tasks.clone(),
        stop: stop.clone(),
        open,
        rotation,
    })
}

/// Connections that may wait to be accepted. What finds no room must ask again after 1 s, 3 s, 7 s, 15 s: with a usual
/// 1024, the last of five thousand clients that came back at once had waited for 20 s. The kernel has a bound of its own,
/// `net.core.somaxconn`, which is 4096 since Linux 5.4.
const BACKLOG: u32 = 16_384;
/// The operators' own places, so that a flood of clients does not lock them out.
const OPERATORS: Places = Places { served: 64, told: 64 };
/// Sockets of one batch of closes.
const CLOSING_AT_ONCE: usize = 128;
