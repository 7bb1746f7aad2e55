//! The gateway as a whole: binds both listeners, serves, and shuts down in order.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    accept::Listener,
    admin::{Admin, Operated},
    descriptors::Places,
    guesses::Guesses,
    health::Health,
    host::Host,
    limits::UserConnections,
    native::{DeliveredNetra, Shared},
    open::OpenConnections,
    rotation::Rotation,
    routes,
    rules::Rules,
    self_check::{Own, Report, SelfCheck},
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
}

impl Gateway {
    /// Binds and serves. Answers as soon as both listeners are bound: a host that is still starting has its doors open.
    /// What holds is what `rules` say at each time; their key set, if there is one, is kept fetched until
    /// [`Gateway::shutdown`].
    ///
    /// # Errors
    /// If an address cannot be bound; nothing is served then.
    pub async fn start<H: Host>(
        rules: Arc<Rules>,
        host: H,
        metrics: MetricsPage,
        operated: Operated,
    ) -> io::Result<Self> {
        let begun = rules.now();
        let settings = &begun.settings;
        let public = listen(settings.listen)?;
        let admin = listen(settings.admin_listen)?;
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let gateway = Self {
            public: public.local_addr()?,
            admin: admin.local_addr()?,
            tasks: tasks.clone(),
            stop: stop.clone(),
        };

        let host = Arc::new(host);
        let (open, rotation) = (Arc::<OpenConnections>::default(), Arc::<Rotation>::default());
        let checked = watch::Sender::new(Report::before(settings.self_check));
        let health = Arc::new(Health {
            host: Arc::clone(&host),
            checked: checked.subscribe(),
            rules: Arc::clone(&rules),
            rotation: Arc::clone(&rotation),
            chaos: operated.chaos.clone(),
            configuration: operated.configuration.clone(),
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
        let api = Admin::new(&rules, Arc::clone(&host), tasks.clone(), gateway.admin.ip())
            .configuring(operated.configuration)
            .injecting(operated.chaos.clone())
            .beside(Arc::clone(&open), Arc::clone(&rotation), stop.clone())
            .bundling(metrics.clone());
        // None of `tasks`: it is no connection, and nobody waits for it.
        tokio::spawn(Arc::clone(&rules).keep_keys(stop.clone()));
        let door = door(rules, host, (open, rotation), (&tasks, &stop));
        tasks.spawn(SelfCheck::new(Arc::clone(&door), gateway.public, checked).run());
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
    rules: Arc<Rules>,
    host: Arc<H>,
    (open, rotation): (Arc<OpenConnections>, Arc<Rotation>),
    (tasks, stop): (&TaskTracker, &CancellationToken),
) -> Arc<Door<H>> {
    let shared = Arc::new(Shared {
        clock: Arc::clone(rules.clock()),
        rules,
        delivered: agent_host_telemetry::series::Delivered::on(crate::surface::Surface::Native.name()),
        delivered_netra: DeliveredNetra::default(),
        closers: Semaphore::new(CLOSING_AT_ONCE),
    });
    Arc::new(Door {
        host,
        shared,
        users: UserConnections::default(),
        tickets: Tickets::default(),
        failures: Guesses::default(),
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
