//! The host looks at itself: at intervals it connects to its own door as a client does, and has a message answered by the
//! built-in fallback. A host whose health pages are green while its users get nothing is so found out by itself.
//!
//! It is no user's traffic: nothing of it is counted among theirs, no plugin is asked, and its thread is deleted. What
//! comes of it is told, and changes nothing else: a check that fails, hangs or panics ends no host.

mod own;
mod pass;
mod report;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use agent_host_core::identity::Scope;
use agent_host_telemetry::{
    happening::{SelfCheckFailed, SelfCheckRecovered},
    series,
};
use futures_util::FutureExt as _;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

pub(crate) use self::{
    own::Own,
    report::{Report, SELF_CHECK, Shown},
};
use self::{pass::Pass, report::Failure};
use crate::{
    host::Host,
    upgrade::{Door, panic_message},
};

/// The task that looks.
pub(crate) struct SelfCheck<H> {
    door: Arc<Door<H>>,
    to: SocketAddr,
    report: watch::Sender<Report>,
    /// Whether nothing of an earlier look can be left in the store.
    tidy: bool,
}

impl<H: Host> SelfCheck<H> {
    /// Through `door`, which is served at `public`.
    pub(crate) fn new(door: Arc<Door<H>>, public: SocketAddr, report: watch::Sender<Report>) -> Self {
        Self { door, to: reachable(public), report, tidy: false }
    }

    /// Looks until the doors close: at once, then at the interval that holds by then, counted from the last look; not at
    /// all while that is zero.
    pub(crate) async fn run(mut self) {
        let stop = self.door.stop.clone();
        let mut rules = self.door.shared.rules.watch();
        let looking = async {
            let mut last: Option<Instant> = None;
            loop {
                let every = rules.borrow_and_update().settings.self_check;
                if self.report.borrow().is_off() != every.is_zero() {
                    self.report.send_replace(Report::before(every));
                    last = None;
                }
                let due = async {
                    match (every.is_zero(), last) {
                        (true, _) => std::future::pending().await,
                        (false, None) => {}
                        (false, Some(last)) => sleep_until(last + every).await,
                    }
                };
                tokio::select! {
                    () = due => {
                        self.look().await;
                        last = Some(Instant::now());
                    }
                    changed = rules.changed() => if changed.is_err() { return },
                }
            }
        };
        tokio::select! {
            () = looking => {}
            () = stop.cancelled() => {}
        }
    }

    async fn look(&mut self) {
        let draining = || self.door.is_draining();
        if draining() {
            return;
        }
        if !self.tidy {
            // Of a look that was cut off, by the end of the host as well. What the store says, the look itself will find.
            self.tidy = self.door.host.delete_user(&Scope::self_check()).await.is_ok();
        }
        let began = Instant::now();
        let rules = self.door.shared.rules.now();
        let mut failure = self.pass().await;
        // What was exchanged in the midst of it, its own key perhaps, is no fault.
        if failure.is_some() && !Arc::ptr_eq(&rules, &self.door.shared.rules.now()) {
            failure = self.pass().await;
        }
        // A host that goes away refuses in order.
        if draining() {
            return;
        }
        self.tidy &= failure.is_none();
        self.note(failure, began.elapsed());
    }

    /// One look; what did not hold, if something did not.
    async fn pass(&self) -> Option<Failure> {
        let mut pass = Pass::new(&self.door, self.to);
        let outcome = timeout(WITHIN, AssertUnwindSafe(pass.go()).catch_unwind()).await;
        let reason = match outcome {
            Ok(Ok(Ok(()))) => return None,
            Ok(Ok(Err(reason))) => reason,
            Ok(Err(panic)) => format!("it panicked: {}", panic_message(panic.as_ref())),
            Err(_) => format!("it was not done within {} s", WITHIN.as_secs()),
        };
        Some(Failure { step: pass.at().name(), reason })
    }

    /// Tells what came of it: in the log when it changes, to whoever asks always.
    fn note(&self, failure: Option<Failure>, took: Duration) {
        let before = self.report.borrow().clone();
        let now = before.after(failure, self.door.shared.clock.now(), took);
        match (before.failure(), now.failure()) {
            (Some(_), None) => SelfCheckRecovered { failures: before.failures() }.emit(),
            (was, Some(is)) if was.is_none_or(|was| was.step != is.step) => {
                SelfCheckFailed { step: is.step, reason: is.reason.clone(), failures: now.failures() }.emit();
            }
            (Some(_), Some(_)) | (None, Some(_) | None) => {}
        }
        series::self_checked(took, now.failures());
        self.report.send_replace(now);
    }
}

/// A whole look. A healthy one takes some milliseconds; an append that the disk takes its time for is still none that failed.
const WITHIN: Duration = Duration::from_secs(10);

/// Where a listener's address is reached from its own machine.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_the_machine_is_reached_by_its_own() {
        for (listener, to) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:81", "[::1]:81"),
            ("10.1.2.3:82", "10.1.2.3:82"),
            ("127.0.0.1:83", "127.0.0.1:83"),
        ] {
            assert_eq!(reachable(listener.parse().unwrap()), to.parse().unwrap());
        }
    }
}
