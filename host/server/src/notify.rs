//! Tells the service manager (systemd, `Type=notify` or `notify-reload`) how the host fares: ready, its level, that it reads
//! its files again, stopping, and that it lives.
//!
//! Without `NOTIFY_SOCKET` in the environment nothing is told. A thread of its own does the telling, so that a manager
//! that does not listen costs the host nothing; what it has not taken is dropped.

mod reload;

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

use self::reload::{Due, Reload, Reloads};

/// What may wait for the manager. Beyond it, news is dropped: the next is as good, and of a reload the teller knows by itself.
const WAITING: usize = 16;

/// The way to the service manager.
#[derive(Debug, Clone)]
pub(crate) struct Manager {
    news: Option<SyncSender<News>>,
    reloads: Arc<Reloads>,
}

#[derive(Debug)]
enum News {
    Ready(String),
    Status(String),
    /// There is news of a reload.
    Reload,
    Stopping,
    Alive,
}

impl Manager {
    /// The manager that the environment names, if it names one.
    pub(crate) fn of_environment() -> Self {
        let reloads = Arc::<Reloads>::default();
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Self { news: None, reloads };
        }
        let (news, told) = sync_channel::<News>(WAITING);
        let mut teller = Teller {
            reloads: Arc::clone(&reloads),
            ready: false,
            reload: Reload::default(),
            words: String::new(),
        };
        // It ends with the last sender, or with the process.
        let thread = std::thread::Builder::new().name("notify".to_owned()).spawn(move || {
            for news in told {
                if let Err(error) = teller.tell(&news) {
                    tracing::warn!(%error, ?news, "the service manager was not told");
                }
            }
        });
        let news = match thread {
            Ok(_) => Some(news),
            Err(error) => {
                tracing::warn!(%error, "the service manager will not be told anything");
                None
            }
        };
        Self { news, reloads }
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

    /// The host reads its files again, until [`reloaded`](Self::reloaded).
    pub(crate) fn reloading(&self) {
        self.reloads.begin();
        self.tell(News::Reload);
    }

    /// What it reads is in force, or was refused for this reason, and what was in force still is.
    pub(crate) fn reloaded(&self, refused: Option<&str>) {
        // A message to the manager is lines: what is more than one of them would be read as something else.
        let words =
            |reason: &str| format!("configuration refused: {}", reason.lines().next().unwrap_or_default());
        self.reloads.end(refused.map(words));
        self.tell(News::Reload);
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

/// The thread's own.
struct Teller {
    reloads: Arc<Reloads>,
    /// Whether the doors are open, and stay so: before and after that, no reload is told.
    ready: bool,
    reload: Reload,
    /// The last words on how it fares.
    words: String,
}

impl Teller {
    fn tell(&mut self, news: &News) -> std::io::Result<()> {
        match news {
            News::Ready(words) => {
                self.words.clone_from(words);
                sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(words)])?;
                // A reload of before is part of the start.
                self.reload = self.reloads.now();
                self.ready = true;
            }
            News::Status(words) => {
                self.words.clone_from(words);
                sd_notify::notify(&[NotifyState::Status(words)])?;
            }
            News::Reload => {}
            News::Stopping => {
                self.ready = false;
                sd_notify::notify(&[NotifyState::Stopping, NotifyState::Status("draining")])?;
            }
            News::Alive => sd_notify::notify(&[NotifyState::Watchdog])?,
        }
        if self.ready { self.tell_of_reloads() } else { Ok(()) }
    }

    /// Asked after any news, so that a manager that waits for the end of a reload hears of it, whatever was dropped.
    fn tell_of_reloads(&mut self) -> std::io::Result<()> {
        for due in self.reload.due(&self.reloads.now()) {
            match due {
                // The manager takes it for the reload that it ordered if it is of later than its order.
                Due::Begin => {
                    sd_notify::notify(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?])?
                }
                Due::End(refused) => {
                    let words = refused.unwrap_or_else(|| self.words.clone());
                    sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&words)])?;
                }
            }
        }
        Ok(())
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
