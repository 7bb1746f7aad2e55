//! The one that injects faults on an operator's order, as the operators' API sees it. A host without `[chaos]` has none.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use agent_plugin_protocol::Code;

use super::BoxFuture;
use crate::chaos::{Fault, Share};

/// Injects faults, and undoes each of them by itself.
pub trait Chaos: Send + Sync + 'static {
    /// What is injected now, and after it the last that ended.
    fn injected(&self) -> Vec<Injected>;

    /// Injects a fault. Answers once it is in force, or done. Cancel safe: what was begun is undone in its time.
    fn begin(&self, fault: Fault) -> BoxFuture<'static, Result<Injected, NotInjected>>;

    /// Since when there are faults to tell of: what was injected before ended with the host before.
    fn since(&self) -> SystemTime;

    /// The host ends, and all in force with it: for the log.
    fn close(&self);

    /// Ends one of those in force, or all; answers which. They are out of force when it returns; what has to be undone in
    /// a worker follows at once.
    fn end(&self, which: Option<u32>) -> Vec<Injected>;

    /// Tells it where connections can be cut. Told once, when the doors open.
    fn attach(&self, doors: Arc<dyn Doors>);
}

/// Where clients' connections are.
pub trait Doors: Send + Sync + 'static {
    /// Cuts off a share of them; answers how many.
    fn cut(&self, share: Share) -> usize;
}

/// A fault that was injected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injected {
    /// Its number in this life of the host.
    pub id: u32,
    /// What it is.
    pub fault: Fault,
    /// Since when.
    pub since: SystemTime,
    /// How long it has to go; zero once it has ended.
    pub left: Duration,
    /// How often it has hit something.
    pub hits: u64,
    /// How and when it ended, if it has.
    pub ended: Option<(Ended, SystemTime)>,
}

impl Injected {
    /// How it ended, if it has.
    pub fn how(&self) -> Option<Ended> {
        self.ended.map(|(how, _at)| how)
    }
}

/// How a fault ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was to be done once.
    Done,
    /// Its time is over.
    Expired,
    /// An operator ended it.
    Stopped,
    /// The host ended while it was in force.
    HostEnded,
}

impl Ended {
    /// The word in views and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Expired => "expired",
            Self::Stopped => "stopped",
            Self::HostEnded => "host_ended",
        }
    }
}

/// Why a fault was not injected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotInjected {
    /// `chaos.no_target` or `chaos.too_many`.
    pub code: Code,
    /// In a sentence.
    pub reason: String,
}
