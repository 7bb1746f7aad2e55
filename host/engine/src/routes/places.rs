//! The places for calls in an instance, and the queue for them: when one gets free, the user who waited longest for a
//! turn has it, however many messages others have waiting.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
};

use agent_host_core::{
    failpoint, failpoint::Action, fair_queue::FairQueue, identity::Scope, ports::instance::Limits,
};
use agent_host_telemetry::series;
use tokio::sync::oneshot;

use super::Instance;

/// The places of one instance.
pub(super) struct Places {
    /// 0: no limit.
    most: u32,
    running: AtomicU32,
    /// So many may wait.
    most_waiting: usize,
    /// How many wait, those included that gave up and were not yet found gone. Only changed in the lock.
    waiting: AtomicUsize,
    /// Whether the routes name the instance: who came too late is not left waiting in it.
    open: AtomicBool,
    /// Held for one insertion or removal.
    queue: Mutex<FairQueue<Scope, oneshot::Sender<Slot>>>,
}

/// One place, taken; given on when dropped.
pub(crate) struct Slot {
    instance: Arc<Instance>,
    /// It was given back.
    empty: bool,
}

/// A place in the queue; given up when dropped.
pub(crate) struct Place {
    slot: oneshot::Receiver<Slot>,
    /// For the gauge.
    instance: Arc<Instance>,
}

impl Places {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            most: limits.concurrent_runs,
            running: AtomicU32::new(0),
            most_waiting: usize::try_from(limits.queued_runs).unwrap_or(usize::MAX),
            waiting: AtomicUsize::new(0),
            open: AtomicBool::new(true),
            queue: Mutex::default(),
        }
    }

    pub(super) fn running(&self) -> u32 {
        self.running.load(Ordering::Relaxed)
    }

    pub(super) fn waiting(&self) -> usize {
        let mut queue = self.lock();
        queue.retain(|waits| !waits.is_closed());
        self.count(&queue);
        queue.len()
    }

    /// Whoever waits goes first: a newcomer finds no place that is free for a moment.
    pub(super) fn is_full(&self) -> bool {
        self.most != 0 && (self.running() >= self.most || self.waiting.load(Ordering::Acquire) > 0)
    }

    /// See [`Instance::routed`]. Those who wait find their way anew when their place is gone.
    pub(super) fn open(&self, is: bool) {
        let mut queue = self.lock();
        self.open.store(is, Ordering::Relaxed);
        if !is {
            queue.retain(|_| false);
            self.count(&queue);
        }
    }

    /// Takes a place if one is free.
    fn occupy(&self) -> bool {
        let free = |running: u32| (self.most == 0 || running < self.most).then_some(running + 1);
        self.running.fetch_update(Ordering::AcqRel, Ordering::Relaxed, free).is_ok()
    }

    fn count(&self, queue: &FairQueue<Scope, oneshot::Sender<Slot>>) {
        self.waiting.store(queue.len(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, FairQueue<Scope, oneshot::Sender<Slot>>> {
        // Nothing in the lock can panic half-way.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// A free one.
    pub(super) fn take(instance: &Arc<Instance>) -> Option<Self> {
        let places = instance.places();
        (!places.is_full() && places.occupy()).then(|| Self::of(instance))
    }

    /// Of a place that was occupied.
    fn of(instance: &Arc<Instance>) -> Self {
        Self { instance: Arc::clone(instance), empty: false }
    }

    pub(super) fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// Gives free places to those who wait, by turns. Whoever makes a place free and whoever begins to wait both look:
    /// whichever is later finds the other.
    fn hand_out(instance: &Arc<Instance>) {
        let places = instance.places();
        while places.waiting.load(Ordering::Acquire) > 0 && places.occupy() {
            let slot = Self::of(instance);
            let mut queue = places.lock();
            let next = queue.pop();
            places.count(&queue);
            drop(queue);
            match next {
                // Who gave up meanwhile hands it back, and the next turn of the loop gives it away.
                Some(waits) => {
                    if let Err(back) = waits.send(slot) {
                        back.give_back();
                    }
                }
                None => slot.give_back(),
            }
        }
    }

    /// Without looking who waits: whoever calls it does.
    fn give_back(mut self) {
        self.instance.places().running.fetch_sub(1, Ordering::AcqRel);
        self.empty = true;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.empty {
            return;
        }
        let instance = &self.instance;
        let last = instance.places().running.fetch_sub(1, Ordering::AcqRel) == 1;
        // One that must end takes nobody in.
        if last && instance.is_over() {
            instance.emptied.notify_waiters();
            return;
        }
        Self::hand_out(instance);
        if last {
            instance.emptied.notify_waiters();
        }
    }
}

impl Place {
    pub(super) fn take(instance: &Arc<Instance>, whose: &Scope) -> Option<Self> {
        let places = instance.places();
        // For broken twins: a host without the queue, and one that serves whoever came first.
        let off = |action| action == Some(Action::Off);
        let whose = match off(failpoint!("engine.queue.fair")) {
            true => Scope { tenant: "all".into(), user: "all".into() },
            false => whose.clone(),
        };
        if off(failpoint!("engine.queue")) {
            return None;
        }
        let (sender, slot) = oneshot::channel();
        let mut queue = places.lock();
        if queue.len() >= places.most_waiting {
            queue.retain(|waits| !waits.is_closed());
        }
        // In the lock: whoever closes it finds who came before, and who comes after finds it closed.
        if !places.open.load(Ordering::Relaxed) || queue.push(places.most_waiting, whose, sender).is_err() {
            return None;
        }
        places.count(&queue);
        drop(queue);
        series::run_waits(instance.handle.plugin.as_str(), 1.0);
        let place = Self { slot, instance: Arc::clone(instance) };
        Slot::hand_out(instance);
        Some(place)
    }

    /// Waits for its turn; `None` if the instance takes nobody any more. Cancel safe.
    pub(crate) async fn turn(&mut self) -> Option<Slot> {
        (&mut self.slot).await.ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        series::run_waits(self.instance.handle.plugin.as_str(), -1.0);
    }
}
