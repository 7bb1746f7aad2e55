//! Tells the service manager (systemd, `Type=notify`) how the host fares: ready, its level, stopping, and that it lives.
//!
//! Without `NOTIFY_SOCKET` in the environment nothing is told. A thread of its own does the telling, so that a manager
//! that does not listen costs the host nothing; what it has not taken is dropped.

use std::{
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    time::Duration,
};

use agent_host_engine::view::Status;
use sd_notify::NotifyState;
use tokio::{sync::watch, time::interval};

/// What may wait for the manager. Beyond it, news is dropped: the next is as good.
const WAITING: usize = 16;

/// The way to the service manager.
#[derive(Debug, Clone)]
pub(crate) struct Manager {
    news: Option<SyncSender<News>>,
}

#[derive(Debug)]
enum News {
    Ready(String),
    Status(String),
    Stopping,
    Alive,
}

impl Manager {
    /// The manager that the environment names, if it names one.
    pub(crate) fn of_environment() -> Self {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Self { news: None };
        }
        let (news, told) = sync_channel::<News>(WAITING);
        // It ends with the last sender, or with the process.
        let teller = std::thread::Builder::new().name("notify".to_owned()).spawn(move || {
            for news in told {
                if let Err(error) = tell(&news) {
                    tracing::warn!(%error, ?news, "the service manager was not told");
                }
            }
        });
        match teller {
            Ok(_) => Self { news: Some(news) },
            Err(error) => {
                tracing::warn!(%error, "the service manager will not be told anything");
                Self { news: None }
            }
        }
    }

    /// The doors are open. From now on each settled level is told, and, where the manager watches (`WATCHDOG_USEC`), that
    /// the runtime still turns.
    pub(crate) fn ready(&self, mut settled: watch::Receiver<Arc<Status>>) {
        if self.news.is_none() {
            return;
        }
        self.tell(News::Ready(words(&settled.borrow_and_update())));
        let this = self.clone();
        tokio::spawn(async move {
            while settled.changed().await.is_ok() {
                let words = words(&settled.borrow_and_update());
                this.tell(News::Status(words));
            }
        });
        let Some(within) = sd_notify::watchdog_enabled().filter(|within| !within.is_zero()) else { return };
        let this = self.clone();
        // Half of what the manager allows, as its own manual advises.
        tokio::spawn(async move {
            let mut beat = interval((within / 2).max(Duration::from_millis(1)));
            loop {
                beat.tick().await;
                this.tell(News::Alive);
            }
        });
    }

    /// The host drains.
    pub(crate) fn stopping(&self) {
        self.tell(News::Stopping);
    }

    fn tell(&self, news: News) {
        if let Some(teller) = &self.news {
            // Full or gone: see above.
            let _ = teller.try_send(news);
        }
    }
}

fn tell(news: &News) -> std::io::Result<()> {
    match news {
        News::Ready(words) => sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(words)]),
        News::Status(words) => sd_notify::notify(&[NotifyState::Status(words)]),
        News::Stopping => sd_notify::notify(&[NotifyState::Stopping, NotifyState::Status("draining")]),
        News::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
    }
}

/// One line, as `systemctl status` shows it.
fn words(status: &Status) -> String {
    let missing: Vec<String> =
        status.missing.iter().map(|one| format!("{} ({})", one.name, one.code)).collect();
    match (status.starting, missing.is_empty()) {
        (true, _) => "serving, plugins are starting".to_owned(),
        (false, true) => format!("level {}", status.level),
        (false, false) => format!("level {}; missing: {}", status.level, missing.join(", ")),
    }
}
