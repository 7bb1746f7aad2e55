//! The scenarios: what is injected, and what must then be seen.

use agent_host_gateway::admin::view::FaultOrder;
use agent_plugin_protocol::PluginId;
use std::time::Duration;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scenario {
    /// Its name, which is that of its fault.
    pub(super) name: &'static str,
    /// Whether it is about the plugin.
    of_plugin: bool,
    share: Option<u64>,
    delay: Option<&'static str>,
    every: Option<&'static str>,
    /// Whether it is done once, so that its order says no time.
    once: bool,
    service: Option<&'static str>,
    /// A shorter time would show nothing.
    at_least: Duration,
    pub(super) expect: Expect,
}

/// What must be seen, beside what always must: whole runs, no hole in a thread, the same host, and all as it was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expect {
    /// This service level, at some time.
    pub(super) level: Option<&'static str>,
    /// Messages may be refused with these codes.
    pub(super) refuses: &'static [&'static str],
    /// How runs may end.
    pub(super) ends: &'static [&'static str],
    /// The agent is told of the fault: no run ends by a clock because it heard nothing.
    pub(super) told: bool,
    /// Connections are cut.
    pub(super) cuts: bool,
    /// The plugin has another generation afterwards.
    pub(super) replaced: bool,
    /// How the last one ended is shown.
    pub(super) crash: Option<&'static str>,
}

/// An answer, or the honest lack of one.
const HONEST: &[&str] = &["ok", "degraded", "failed"];

pub(super) const NOTHING_ELSE: Expect = Expect {
    level: None,
    refuses: &[],
    ends: HONEST,
    told: false,
    cuts: false,
    replaced: false,
    crash: None,
};

/// In the order in which they are played: those that spend a plugin's restarts are apart.
pub(super) const ALL: [Scenario; 12] = [
    Scenario { expect: Expect { replaced: true, ..NOTHING_ELSE }, once: true, ..of_plugin("worker-kill") },
    Scenario {
        expect: Expect { level: Some("basic"), refuses: &["store.unavailable"], ..NOTHING_ELSE },
        ..of_host("store-fail")
    },
    Scenario {
        expect: Expect {
            level: Some("basic"),
            refuses: &["store.full", "store.unavailable"],
            ..NOTHING_ELSE
        },
        ..of_host("store-full")
    },
    Scenario {
        expect: Expect { ends: &["ok"], ..NOTHING_ELSE },
        delay: Some("200ms"),
        ..of_host("store-slow")
    },
    Scenario {
        expect: Expect { replaced: true, crash: Some("SIGSEGV"), ..NOTHING_ELSE },
        once: true,
        ..of_plugin("worker-crash")
    },
    // Another agent answers, or the fallback: somebody does.
    Scenario {
        expect: Expect { ends: &["ok", "degraded"], ..NOTHING_ELSE },
        share: Some(20),
        ..of_plugin("runs-fail")
    },
    Scenario {
        expect: Expect { ends: &["ok"], ..NOTHING_ELSE },
        share: Some(50),
        delay: Some("500ms"),
        ..of_plugin("runs-slow")
    },
    Scenario { expect: Expect { told: true, ..NOTHING_ELSE }, share: Some(50), ..of_host("tools-fail") },
    Scenario { expect: Expect { told: true, ..NOTHING_ELSE }, share: Some(50), ..of_host("network-fail") },
    Scenario {
        expect: Expect { level: Some("partial"), ..NOTHING_ELSE },
        service: Some("threads"),
        ..of_host("service-down")
    },
    Scenario {
        expect: Expect { ends: &["ok"], cuts: true, ..NOTHING_ELSE },
        every: Some("1s"),
        ..of_host("connections-cut")
    },
    // A worker that is not heard of for four heartbeats, a second each, has hung.
    Scenario {
        expect: Expect { replaced: true, ..NOTHING_ELSE },
        at_least: Duration::from_secs(6),
        ..of_plugin("worker-hang")
    },
];

/// Theirs.
pub(super) const fn names() -> [&'static str; ALL.len()] {
    let mut names = [""; ALL.len()];
    let mut at = 0;
    while at < ALL.len() {
        names[at] = ALL[at].name;
        at += 1;
    }
    names
}

const fn of_host(name: &'static str) -> Scenario {
    Scenario {
        name,
        of_plugin: false,
        share: None,
        delay: None,
        every: None,
        once: false,
        service: None,
        at_least: Duration::ZERO,
        expect: NOTHING_ELSE,
    }
}

const fn of_plugin(name: &'static str) -> Scenario {
    Scenario { of_plugin: true, ..of_host(name) }
}

impl Scenario {
    /// The one of that name.
    pub(super) fn find(name: &str) -> Option<Self> {
        ALL.into_iter().find(|one| one.name == name)
    }

    /// How long it is in force, of what was asked for.
    pub(super) fn lasting(self, duration: Duration) -> Duration {
        duration.max(self.at_least)
    }

    /// What is ordered, for so long.
    pub(super) fn order(self, plugin: &PluginId, duration: Duration) -> FaultOrder {
        let lasting = self.lasting(duration);
        let text = |text: Option<&str>| text.map(str::to_owned);
        FaultOrder {
            fault: self.name.to_owned(),
            plugin: self.of_plugin.then(|| plugin.to_string()),
            service: text(self.service),
            share: self.share,
            delay: text(self.delay),
            every: text(self.every),
            lasting: (!self.once).then(|| format!("{}s", lasting.as_secs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use agent_host_core::{
        chaos::{Kind, Order},
        duration,
        service::ServiceName,
    };

    use super::*;

    #[test]
    fn each_scenario_orders_a_fault_that_there_is() {
        let plugin = PluginId::new("echo").unwrap();
        for scenario in ALL {
            let told = scenario.order(&plugin, Duration::from_secs(10));
            let time = |text: &Option<String>| text.as_deref().map(|text| duration::parse(text).unwrap());
            let order = Order {
                kind: Kind::parse(&told.fault).unwrap(),
                plugin: told.plugin.as_deref().map(|id| PluginId::new(id).unwrap()),
                service: told.service.as_deref().map(|name| ServiceName::parse(name).unwrap()),
                share: told.share,
                delay: time(&told.delay),
                every: time(&told.every),
                lasting: time(&told.lasting),
            };
            let judged = order.clone().judged();
            assert!(judged.is_ok(), "{order:?}: {judged:?}");
            assert_eq!(Scenario::find(scenario.name), Some(scenario));
        }
    }
}
