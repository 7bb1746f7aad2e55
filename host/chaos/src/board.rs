//! What is injected now: begun on an order, ended by its time, by an order, or with the host.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use agent_host_core::{
    chaos::{Fault, Kind},
    failpoint,
    failpoint::Action,
    ports::{
        BoxFuture,
        chaos::{Chaos, Doors, Ended, Injected, NotInjected},
        clock::Clock,
        instance::{InstanceCommand, Strike},
    },
};
use agent_host_telemetry::{
    happening::{FaultBegan, FaultEnded},
    series,
};
use agent_plugin_protocol::{Code, PluginId};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::targets::Targets;

/// Faults at once. More would only hide each other.
const AT_ONCE: usize = 8;
/// Of those that ended, how many are shown.
const SHOWN: usize = 16;
/// How long a worker's orders may be full: the task that reads them does nothing else first.
const STRIKE_WITHIN: Duration = Duration::from_secs(1);

/// A fault in force.
#[derive(Debug)]
pub(crate) struct Active {
    id: u32,
    pub(crate) fault: Fault,
    since: SystemTime,
    until: Instant,
    /// What it could have hit.
    met: AtomicU64,
    hits: AtomicU64,
    stop: CancellationToken,
}

impl Active {
    /// It has hit what it is about, which is one thing.
    pub(crate) fn has_hit(&self) {
        if self.hits.swap(1, Ordering::Relaxed) == 0 {
            series::fault_hits(self.fault.kind.name(), 1);
        }
    }

    /// It has hit so many more.
    fn hits_more(&self, count: u64) {
        self.hits.fetch_add(count, Ordering::Relaxed);
        series::fault_hits(self.fault.kind.name(), count);
    }

    fn is_over(&self, now: Instant) -> bool {
        now >= self.until && expires()
    }
}

/// For a broken twin: a host whose faults do not end by themselves.
fn expires() -> bool {
    failpoint!("chaos.expiry") != Some(Action::Off)
}

/// Those in force: an immutable list, replaced at each change.
pub(crate) type InForce = Arc<[Arc<Active>]>;

/// Owns the faults.
pub struct Board {
    clock: Arc<dyn Clock>,
    since: SystemTime,
    /// Locked for a push or a removal.
    kept: Mutex<Kept>,
    in_force: watch::Sender<InForce>,
    pub(crate) targets: Targets,
    doors: OnceLock<Arc<dyn Doors>>,
}

#[derive(Default)]
struct Kept {
    last: u32,
    ended: VecDeque<Injected>,
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board").field("in_force", &*self.in_force.borrow()).finish_non_exhaustive()
    }
}

impl Board {
    /// A board without faults; `clock` is what their times are shown by.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        let in_force = watch::Sender::new(InForce::from([]));
        Arc::new(Self {
            since: clock.now(),
            clock,
            kept: Mutex::default(),
            in_force,
            targets: Targets::default(),
            doors: OnceLock::new(),
        })
    }

    /// Whether a fault of that kind hits what happens now, and how late it makes it. `fits` says whether it is about it.
    pub(crate) fn hit(&self, kind: Kind, fits: impl Fn(&Fault) -> bool) -> Option<Duration> {
        let in_force = Arc::clone(&self.in_force.borrow());
        let now = Instant::now();
        let active = in_force
            .iter()
            .find(|active| active.fault.kind == kind && !active.is_over(now) && fits(&active.fault))?;
        let before = active.met.fetch_add(1, Ordering::Relaxed);
        active.fault.share.takes(before).then(|| {
            active.hits_more(1);
            active.fault.delay
        })
    }

    /// Waits as long as a fault of that kind has it wait.
    pub(crate) async fn pause(&self, kind: Kind, fits: impl Fn(&Fault) -> bool) {
        if let Some(delay) = self.hit(kind, fits) {
            tokio::time::sleep(delay).await;
        }
    }

    /// Whether a fault of that kind is in force.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.in_force.borrow().iter().any(|active| active.fault.kind == kind)
    }

    /// Those in force, now and at each change.
    pub(crate) fn watch(&self) -> watch::Receiver<InForce> {
        self.in_force.subscribe()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A panic inside leaves a whole list: it is a push.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown(&self, active: &Active, ended: Option<Ended>) -> Injected {
        Injected {
            id: active.id,
            fault: active.fault.clone(),
            since: active.since,
            left: match ended {
                None => active.until.saturating_duration_since(Instant::now()),
                Some(_) => Duration::ZERO,
            },
            hits: active.hits.load(Ordering::Relaxed),
            ended: ended.map(|how| (how, self.clock.now())),
        }
    }

    fn enter(&self, fault: Fault) -> Result<Arc<Active>, NotInjected> {
        if let Some(plugin) = &fault.plugin
            && !self.targets.knows(plugin)
        {
            return Err(no_target(format!("no plugin {plugin} was started")));
        }
        let mut kept = self.kept();
        if self.in_force.borrow().len() >= AT_ONCE {
            let reason = format!("{AT_ONCE} faults are injected already");
            return Err(NotInjected { code: Code::ChaosTooMany, reason });
        }
        kept.last += 1;
        let active = Arc::new(Active {
            id: kept.last,
            since: self.clock.now(),
            until: Instant::now() + fault.lasting,
            fault,
            met: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            stop: CancellationToken::new(),
        });
        self.in_force.send_modify(|all| *all = all.iter().cloned().chain([Arc::clone(&active)]).collect());
        series::faults_active(active.fault.kind.name(), 1.0);
        Ok(active)
    }

    /// Takes it off the board; `false`: somebody else did.
    fn forget(&self, active: &Active) -> bool {
        let was_there = self.in_force.send_if_modified(|all| {
            let before = all.len();
            *all = all.iter().filter(|one| one.id != active.id).cloned().collect();
            all.len() != before
        });
        if was_there {
            series::faults_active(active.fault.kind.name(), -1.0);
        }
        was_there
    }

    /// The same for one that has ended, which is noted.
    fn leave(&self, active: &Active, ended: Ended) -> Option<Injected> {
        let mut kept = self.kept();
        if !self.forget(active) {
            return None;
        }
        let shown = self.shown(active, Some(ended));
        kept.ended.truncate(SHOWN - 1);
        kept.ended.push_front(shown.clone());
        drop(kept);
        FaultEnded {
            id: active.id,
            fault: active.fault.brief(),
            why: ended.as_str(),
            hits: active.hits.load(Ordering::Relaxed),
        }
        .emit();
        Some(shown)
    }

    /// Ends one of those in force, or all.
    fn end(&self, which: Option<u32>, how: Ended) -> Vec<Injected> {
        let in_force = Arc::clone(&self.in_force.borrow());
        let meant = in_force.iter().filter(|active| which.is_none_or(|id| id == active.id));
        meant
            .filter_map(|active| {
                // Noted first: its task would note it in its own way.
                let ended = self.leave(active, how);
                active.stop.cancel();
                ended
            })
            .collect()
    }

    /// Sees a fault through: the act, its repetitions, and its undoing.
    async fn see_through(
        self: Arc<Self>,
        active: Arc<Active>,
        begun: oneshot::Sender<Result<Injected, NotInjected>>,
    ) {
        let mut struck = Vec::new();
        if let Err(why) = self.act(&active, &mut struck).await {
            self.forget(&active);
            let _ = begun.send(Err(why));
            return;
        }
        FaultBegan {
            id: active.id,
            fault: active.fault.brief(),
            seconds: active.fault.lasting.as_secs_f64(),
        }
        .emit();
        let once = active.fault.lasting.is_zero();
        let done = if once { self.leave(&active, Ended::Done) } else { None };
        // Who ordered it may have left.
        let _ = begun.send(Ok(done.unwrap_or_else(|| self.shown(&active, once.then_some(Ended::Done)))));
        if once {
            return;
        }
        let ended = self.last(&active, &mut struck).await;
        self.leave(&active, ended);
        for orders in struck {
            let _ = strike(&orders, Strike::Continue).await;
        }
    }

    /// Until its end.
    async fn last(&self, active: &Active, struck: &mut Vec<mpsc::WeakSender<InstanceCommand>>) -> Ended {
        let every = active.fault.every.unwrap_or(active.fault.lasting);
        let mut again = interval_at(Instant::now() + every, every);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = active.stop.cancelled() => return Ended::Stopped,
                () = sleep_until(active.until), if expires() => return Ended::Expired,
                // What is not there now, as a worker that has not come back, may be there the next time.
                _ = again.tick(), if active.fault.every.is_some() => drop(self.act(active, struck).await),
            }
        }
    }

    /// What is done once, or each time; a state is in force by being on the board.
    async fn act(
        &self,
        active: &Active,
        struck: &mut Vec<mpsc::WeakSender<InstanceCommand>>,
    ) -> Result<(), NotInjected> {
        let hits = match (active.fault.kind, &active.fault.plugin) {
            (Kind::WorkerKill, Some(plugin)) => self.strike(plugin, Strike::Kill).await.map(|_| 1)?,
            (Kind::WorkerCrash, Some(plugin)) => self.strike(plugin, Strike::Crash).await.map(|_| 1)?,
            (Kind::WorkerHang, Some(plugin)) => {
                struck.push(self.strike(plugin, Strike::Stop).await?);
                1
            }
            (Kind::ConnectionsCut, _) => match self.doors.get() {
                Some(doors) => doors.cut(active.fault.share) as u64,
                None => return Err(no_target("the doors are not open yet".to_owned())),
            },
            _ => 0,
        };
        active.hits_more(hits);
        Ok(())
    }

    async fn strike(
        &self,
        plugin: &PluginId,
        what: Strike,
    ) -> Result<mpsc::WeakSender<InstanceCommand>, NotInjected> {
        let orders = self.targets.process(plugin).map_err(no_target)?;
        match strike(&orders, what).await {
            true => Ok(orders),
            false => Err(no_target(format!("the worker of {plugin} ended just now"))),
        }
    }
}

/// Sends it; whether somebody took it.
async fn strike(orders: &mpsc::WeakSender<InstanceCommand>, what: Strike) -> bool {
    let Some(orders) = orders.upgrade() else { return false };
    matches!(timeout(STRIKE_WITHIN, orders.send(InstanceCommand::Strike(what))).await, Ok(Ok(())))
}

fn no_target(reason: String) -> NotInjected {
    NotInjected { code: Code::ChaosNoTarget, reason }
}

/// What the operators' API is given.
pub(crate) struct Handle(Arc<Board>);

impl Board {
    /// The board, as the operators' API sees it.
    pub fn handle(self: &Arc<Self>) -> Arc<dyn Chaos> {
        Arc::new(Handle(Arc::clone(self)))
    }
}

impl Chaos for Handle {
    fn injected(&self) -> Vec<Injected> {
        let kept = self.0.kept();
        let in_force = Arc::clone(&self.0.in_force.borrow());
        let active = in_force.iter().map(|active| self.0.shown(active, None));
        active.chain(kept.ended.iter().cloned()).collect()
    }

    fn begin(&self, fault: Fault) -> BoxFuture<'static, Result<Injected, NotInjected>> {
        let entered = self.0.enter(fault);
        let board = Arc::clone(&self.0);
        Box::pin(async move {
            let active = entered?;
            let (begun, told) = oneshot::channel();
            // A task of its own: what was begun is undone though its operator may leave.
            tokio::spawn(board.see_through(active, begun));
            told.await.unwrap_or_else(|_| Err(no_target("the host is ending".to_owned())))
        })
    }

    fn since(&self) -> SystemTime {
        self.0.since
    }

    fn close(&self) {
        self.0.end(None, Ended::HostEnded);
    }

    fn end(&self, which: Option<u32>) -> Vec<Injected> {
        self.0.end(which, Ended::Stopped)
    }

    fn attach(&self, doors: Arc<dyn Doors>) {
        // Told again, the first stays: a host has one gateway.
        let _ = self.0.doors.set(doors);
    }
}
