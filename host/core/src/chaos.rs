//! The faults that an operator may have the host suffer on purpose: one table, and what an order for one must say.

use std::{ops::RangeInclusive, time::Duration};

use agent_plugin_protocol::PluginId;

use crate::service::ServiceName;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The serving worker is killed.
    WorkerKill,
    /// It crashes.
    WorkerCrash,
    /// It is stopped, and so answers nothing.
    WorkerHang,
    /// A plugin's runs fail as by a panic.
    RunsFail,
    /// A plugin's runs begin late.
    RunsSlow,
    /// The store does nothing.
    StoreFail,
    /// The store has no room.
    StoreFull,
    /// The store takes its time.
    StoreSlow,
    /// Tools fail.
    ToolsFail,
    /// Tools take their time.
    ToolsSlow,
    /// Peers cannot be reached.
    NetworkFail,
    /// Peers are reached late.
    NetworkSlow,
    /// A service is not there.
    ServiceDown,
    /// Connections are cut off.
    ConnectionsCut,
}

/// What an order may say beside the fault's name and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Which plugin's.
    Plugin,
    /// Which service.
    Service,
    /// Of how many, in percent.
    Share,
    /// How late.
    Delay,
    /// How often again.
    Every,
}

impl Word {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plugin => "plugin",
            Self::Service => "service",
            Self::Share => "share",
            Self::Delay => "delay",
            Self::Every => "every",
        }
    }
}

/// What there is to know of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// As it is ordered.
    pub name: &'static str,
    /// What is done.
    pub does: &'static str,
    /// What the host owes its users meanwhile.
    pub holds: &'static str,
    /// What an order must say.
    pub needs: &'static [Word],
    /// What it may say.
    pub takes: &'static [Word],
    /// Whether it is an act, done once or again and again, rather than a state that lasts.
    pub acts: bool,
}

impl Kind {
    /// Every kind, in the order of the table.
    pub const ALL: [Self; 14] = [
        Self::WorkerKill,
        Self::WorkerCrash,
        Self::WorkerHang,
        Self::RunsFail,
        Self::RunsSlow,
        Self::StoreFail,
        Self::StoreFull,
        Self::StoreSlow,
        Self::ToolsFail,
        Self::ToolsSlow,
        Self::NetworkFail,
        Self::NetworkSlow,
        Self::ServiceDown,
        Self::ConnectionsCut,
    ];

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// As it is ordered.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// Whether it is done to the process of a plugin's worker.
    pub const fn strikes(self) -> bool {
        matches!(self, Self::WorkerKill | Self::WorkerCrash | Self::WorkerHang)
    }

    /// Its row.
    pub const fn row(self) -> Row {
        use Word::{Delay, Every, Plugin, Service, Share};
        const RUNS: &str = "each accepted message has one whole run; the others' runs are as ever";
        match self {
            Self::WorkerKill => Row {
                name: "worker-kill",
                does: "the worker that serves a plugin gets SIGKILL",
                holds: "only its runs see it, and each is completed; it is back by itself",
                needs: &[Plugin],
                takes: &[Every],
                acts: true,
            },
            Self::WorkerCrash => Row {
                name: "worker-crash",
                does: "the worker that serves a plugin gets SIGSEGV",
                holds: "only its runs see it, and each is completed; it is back by itself, and the crash is shown",
                needs: &[Plugin],
                takes: &[Every],
                acts: true,
            },
            Self::WorkerHang => Row {
                name: "worker-hang",
                does: "the worker that serves a plugin gets SIGSTOP, and SIGCONT when the fault ends",
                holds: "it is found out and replaced; its runs are completed, the others' are as ever",
                needs: &[Plugin],
                takes: &[],
                acts: false,
            },
            Self::RunsFail => Row {
                name: "runs-fail",
                does: "a share of a plugin's runs ends as by a panic",
                holds: RUNS,
                needs: &[Plugin],
                takes: &[Share],
                acts: false,
            },
            Self::RunsSlow => Row {
                name: "runs-slow",
                does: "a share of a plugin's runs begins late",
                holds: RUNS,
                needs: &[Plugin],
                takes: &[Share, Delay],
                acts: false,
            },
            Self::StoreFail => Row {
                name: "store-fail",
                does: "a share of what is asked of the store fails",
                holds: "what is not in the log is not acknowledged; connections stay; it heals by itself",
                needs: &[],
                takes: &[Share],
                acts: false,
            },
            Self::StoreFull => Row {
                name: "store-full",
                does: "what is written to the store fails for want of room; what is there is read",
                holds: "what is not in the log is not acknowledged; connections stay; it heals by itself",
                needs: &[],
                takes: &[],
                acts: false,
            },
            Self::StoreSlow => Row {
                name: "store-slow",
                does: "what is asked of the store is done late",
                holds: "messages wait, and none is lost; connections stay",
                needs: &[],
                takes: &[Share, Delay],
                acts: false,
            },
            Self::ToolsFail => Row {
                name: "tools-fail",
                does: "a share of the calls of tools fails",
                holds: "the agent is told by a code; the run is completed",
                needs: &[],
                takes: &[Share],
                acts: false,
            },
            Self::ToolsSlow => Row {
                name: "tools-slow",
                does: "a share of the calls of tools is answered late",
                holds: "the run is completed, by its deadline at the latest",
                needs: &[],
                takes: &[Share, Delay],
                acts: false,
            },
            Self::NetworkFail => Row {
                name: "network-fail",
                does: "a share of the connections that plugins make to their peers (a model's, for one) fails",
                holds: "the agent is told by a code; the run is completed",
                needs: &[],
                takes: &[Plugin, Share],
                acts: false,
            },
            Self::NetworkSlow => Row {
                name: "network-slow",
                does: "a share of the connections that plugins make to their peers is made late",
                holds: "the run is completed, by its deadline at the latest",
                needs: &[],
                takes: &[Plugin, Share, Delay],
                acts: false,
            },
            Self::ServiceDown => Row {
                name: "service-down",
                does: "a service is not there: llm, threads, tools, delegate or events",
                holds: "whoever requires it is degraded, and said to be; messages are answered; it heals by itself",
                needs: &[Service],
                takes: &[],
                acts: false,
            },
            Self::ConnectionsCut => Row {
                name: "connections-cut",
                does: "a share of the clients' connections is cut off, without a word",
                holds: "runs go on; who comes back misses nothing",
                needs: &[],
                takes: &[Share, Every],
                acts: true,
            },
        }
    }
}

/// Of how many, in percent: 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(u8);

impl Share {
    /// All.
    pub const ALL: Self = Self(100);

    /// So many percent; `None` for what is no share.
    pub fn of(percent: u64) -> Option<Self> {
        u8::try_from(percent).ok().filter(|percent| (1..=100).contains(percent)).map(Self)
    }

    /// In percent.
    pub const fn percent(self) -> u8 {
        self.0
    }

    /// Whether it is the turn of the one that came `before` others: exactly the share of any hundred, evenly spread.
    pub const fn takes(self, before: u64) -> bool {
        let place = before % 100;
        (place + 1) * self.0 as u64 / 100 > place * self.0 as u64 / 100
    }
}

/// What an operator says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Which fault.
    pub kind: Kind,
    /// See [`Word::Plugin`].
    pub plugin: Option<PluginId>,
    /// See [`Word::Service`].
    pub service: Option<ServiceName>,
    /// See [`Word::Share`], in percent.
    pub share: Option<u64>,
    /// See [`Word::Delay`].
    pub delay: Option<Duration>,
    /// See [`Word::Every`].
    pub every: Option<Duration>,
    /// For how long.
    pub lasting: Option<Duration>,
}

/// A fault that can be injected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which.
    pub kind: Kind,
    /// To which plugin.
    pub plugin: Option<PluginId>,
    /// To which service.
    pub service: Option<ServiceName>,
    /// To how many.
    pub share: Share,
    /// How late.
    pub delay: Duration,
    /// How often again.
    pub every: Option<Duration>,
    /// For how long; zero: it is done once.
    pub lasting: Duration,
}

/// A fault is undone by itself: none lasts longer.
pub const LASTING: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
/// How late something may be made.
pub const DELAY: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);
/// How often an act may be repeated.
pub const EVERY: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
const USUAL_LASTING: Duration = Duration::from_secs(30);
const USUAL_DELAY: Duration = Duration::from_secs(1);

impl Order {
    /// An order for that fault which says nothing else.
    pub const fn of(kind: Kind) -> Self {
        Self { kind, plugin: None, service: None, share: None, delay: None, every: None, lasting: None }
    }

    /// The fault that is meant.
    ///
    /// # Errors
    /// What is wrong with the order, in a sentence.
    pub fn judged(self) -> Result<Fault, String> {
        let row = self.kind.row();
        let says = [
            (Word::Plugin, self.plugin.is_some()),
            (Word::Service, self.service.is_some()),
            (Word::Share, self.share.is_some()),
            (Word::Delay, self.delay.is_some()),
            (Word::Every, self.every.is_some()),
        ];
        for (word, said) in says {
            let needed = row.needs.contains(&word);
            if said && !needed && !row.takes.contains(&word) {
                return Err(format!("`{}` takes no `{}`", row.name, word.as_str()));
            }
            if needed && !said {
                return Err(format!("`{}` needs `{}`", row.name, word.as_str()));
            }
        }
        let share = match self.share {
            None => Share::ALL,
            Some(percent) => Share::of(percent).ok_or("`share` is a number of percent from 1 to 100")?,
        };
        let within = |value: Option<Duration>, range: &RangeInclusive<Duration>, what: &str| match value {
            Some(value) if !range.contains(&value) => Err(format!("`{what}`")),
            value => Ok(value),
        };
        let delay =
            within(self.delay, &DELAY, "delay").map_err(|what| what + " is a time from 10ms to 60s")?;
        let every =
            within(self.every, &EVERY, "every").map_err(|what| what + " is a time from 100ms to 60s")?;
        let lasting =
            within(self.lasting, &LASTING, "for").map_err(|what| what + " is a time from 1s to 10m")?;
        let once = row.acts && every.is_none();
        if once && lasting.is_some() {
            return Err(format!("`{}` is done once, so that `for` says nothing without `every`", row.name));
        }
        Ok(Fault {
            kind: self.kind,
            plugin: self.plugin,
            service: self.service,
            share,
            delay: delay.unwrap_or(USUAL_DELAY),
            every,
            lasting: if once { Duration::ZERO } else { lasting.unwrap_or(USUAL_LASTING) },
        })
    }
}

impl Fault {
    /// In a few words: the name, and to what.
    pub fn brief(&self) -> String {
        let mut text = self.kind.name().to_owned();
        if let Some(plugin) = &self.plugin {
            text = format!("{text} of {plugin}");
        }
        if let Some(service) = self.service {
            text = format!("{text} of {service}");
        }
        if self.share != Share::ALL {
            text = format!("{text} at {} %", self.share.percent());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin() -> Option<PluginId> {
        PluginId::new("echo").ok()
    }

    #[test]
    fn names_are_read_back_and_no_word_is_both_needed_and_only_taken() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.name()), Some(kind));
            let row = kind.row();
            assert!(row.needs.iter().all(|word| !row.takes.contains(word)), "{row:?}");
            assert!(kind.strikes() == row.name.starts_with("worker-"), "{row:?}");
            assert!(row.acts || !row.takes.contains(&Word::Every), "{row:?}: a state is not repeated");
        }
        assert_eq!(Kind::parse("host-kill"), None);
    }

    #[test]
    fn an_order_says_what_its_fault_needs_and_no_more() {
        for (order, wrong) in [
            (Order::of(Kind::WorkerKill), "needs `plugin`"),
            (Order { plugin: plugin(), ..Order::of(Kind::StoreFail) }, "takes no `plugin`"),
            (Order { delay: Some(Duration::from_secs(1)), ..Order::of(Kind::StoreFail) }, "takes no `delay`"),
            (Order { every: Some(Duration::from_secs(1)), ..Order::of(Kind::StoreFail) }, "takes no `every`"),
            (Order::of(Kind::ServiceDown), "needs `service`"),
            (Order { share: Some(0), ..Order::of(Kind::StoreFail) }, "1 to 100"),
            (Order { share: Some(101), ..Order::of(Kind::StoreFail) }, "1 to 100"),
            (Order { lasting: Some(Duration::from_secs(601)), ..Order::of(Kind::StoreFail) }, "1s to 10m"),
            (Order { lasting: Some(Duration::from_millis(1)), ..Order::of(Kind::StoreFail) }, "1s to 10m"),
            (Order { delay: Some(Duration::from_secs(61)), ..Order::of(Kind::StoreSlow) }, "10ms to 60s"),
            (Order { every: Some(Duration::ZERO), ..Order::of(Kind::ConnectionsCut) }, "100ms to 60s"),
            (Order { lasting: Some(Duration::from_secs(9)), ..Order::of(Kind::ConnectionsCut) }, "done once"),
        ] {
            let said = order.clone().judged().unwrap_err();
            assert!(said.contains(wrong), "{order:?}: {said}");
        }
        let lasts = |order: Order| order.judged().unwrap().lasting;
        assert_eq!(lasts(Order::of(Kind::StoreFail)), USUAL_LASTING);
        assert_eq!(lasts(Order { plugin: plugin(), ..Order::of(Kind::WorkerKill) }), Duration::ZERO);
        let again = Some(Duration::from_secs(1));
        assert_eq!(
            lasts(Order { plugin: plugin(), every: again, ..Order::of(Kind::WorkerKill) }),
            USUAL_LASTING
        );
    }

    #[test]
    fn a_share_is_exact_in_each_hundred_and_evenly_spread() {
        for percent in 1..=100 {
            let share = Share::of(percent).unwrap();
            for first in [0, 100, 7_700] {
                let taken = (first..first + 100).filter(|turn| share.takes(*turn)).count() as u64;
                assert_eq!(taken, percent);
            }
        }
        let fifth = Share::of(20).unwrap();
        assert!(
            (0..20)
                .map(|five| (five * 5..five * 5 + 5).filter(|turn| fifth.takes(*turn)).count())
                .all(|n| n == 1)
        );
        assert!((0..100).all(|turn| Share::ALL.takes(turn)));
    }
}
