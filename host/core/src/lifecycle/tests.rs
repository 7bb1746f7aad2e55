use std::fmt::Write as _;

use super::*;

/// Every pair, as a table of what changes, and the graph for people (`dot -Tsvg`).
#[test]
fn the_whole_table() {
    let mut table = String::new();
    for state in PluginState::ALL {
        writeln!(table, "{state} ({})", state.verdict()).unwrap();
        for event in PluginEvent::ALL {
            let what = match state.on(*event) {
                Transition::To(next) => next.to_string(),
                Transition::NextGeneration => "next generation".to_owned(),
                Transition::Stay => "-".to_owned(),
            };
            writeln!(table, "    {event:15} {what}").unwrap();
        }
    }
    insta::assert_snapshot!("table", table);
}

#[test]
fn the_graph() {
    let mut graph = String::from("digraph plugin {\n");
    for state in PluginState::ALL {
        for event in PluginEvent::ALL {
            match state.on(*event) {
                Transition::To(next) => writeln!(graph, "    {state} -> {next} [label={event}]").unwrap(),
                Transition::NextGeneration => {
                    writeln!(graph, "    {state} -> discovered [label={event} style=dashed]").unwrap();
                }
                Transition::Stay => {}
            }
        }
    }
    graph.push_str("}\n");
    insta::assert_snapshot!("graph", graph);
}

/// Discovered, verified, …: a generation only ever moves on, but for the pair healthy ⇄ degraded.
#[test]
fn a_generation_never_goes_back() {
    for state in PluginState::ALL {
        for event in PluginEvent::ALL {
            if let Transition::To(next) = state.on(*event) {
                let healing = (*state, next) == (PluginState::Degraded, PluginState::Healthy);
                assert!(
                    next > *state || healing || next == PluginState::Disabled,
                    "{state} -{event}-> {next}"
                );
            }
        }
    }
}

#[test]
fn every_state_that_is_not_the_end_of_a_slot_can_fail_or_finish() {
    for state in PluginState::ALL {
        let serving_or_starting = *state < PluginState::Unloaded;
        if serving_or_starting {
            assert_ne!(state.on(PluginEvent::Exited), Transition::Stay, "{state} must notice that it died");
        }
    }
}

#[test]
fn from_everywhere_healthy_can_be_reached_again() {
    for start in PluginState::ALL {
        let mut reached = vec![*start];
        let mut at = 0;
        while at < reached.len() {
            for event in PluginEvent::ALL {
                let next = match reached[at].on(*event) {
                    Transition::To(next) => next,
                    Transition::NextGeneration => PluginState::Discovered,
                    Transition::Stay => continue,
                };
                if !reached.contains(&next) {
                    reached.push(next);
                }
            }
            at += 1;
        }
        assert!(reached.contains(&PluginState::Healthy), "{start}");
    }
}
