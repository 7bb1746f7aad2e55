//! Decides whose crash is looked into next, and whose is told without its frames.
//!
//! ```text
//!  add ──▶ the plugin has one waiting ──▶ the newer takes its place, the older is left out: superseded
//!      ──▶ there is room ───────────────▶ at the end of the line
//!      ──▶ there is none ───────────────▶ whose plugin had its turn last is left out, be it the newest: crowded
//! ```
//! What waits holds a copy of a stack and a descriptor, so the line is short. A plugin that crashes again and again has
//! one place in it, of which it loses none by crashing once more, and is never in the way of one that has had no turn.

use std::collections::VecDeque;

use agent_plugin_protocol::PluginId;

use super::NoFrames;

/// Turns that are remembered, by whose they were: far more than plugins crash at a time.
const TURNS: usize = 64;

/// A bounded line of crashes, at most one for each plugin.
#[derive(Debug)]
pub struct WaitingLine<T> {
    room: usize,
    line: VecDeque<(PluginId, T)>,
    /// Plugins that had a turn, each once, the latest last.
    turns: VecDeque<PluginId>,
}

/// A crash that does not wait, and why.
#[derive(Debug, PartialEq, Eq)]
pub struct LeftOut<T>(pub T, pub NoFrames);

impl<T> WaitingLine<T> {
    /// An empty line for so many.
    pub fn new(room: usize) -> Self {
        Self { room, line: VecDeque::new(), turns: VecDeque::new() }
    }

    /// A plugin crashed. What is left out for it, an older crash or this one, is to be told at once.
    #[must_use]
    pub fn add(&mut self, plugin: PluginId, crash: T) -> Option<LeftOut<T>> {
        if let Some((_, waiting)) = self.line.iter_mut().find(|(other, _)| *other == plugin) {
            return Some(LeftOut(std::mem::replace(waiting, crash), NoFrames::Superseded));
        }
        if self.line.len() < self.room {
            self.line.push_back((plugin, crash));
            return None;
        }
        let places = self.line.iter().enumerate();
        let latest = places.map(|(at, (other, _))| (self.last_turn(other), at)).max();
        // Where none had a turn later than the newcomer's own, those who came first go first.
        let displaced = latest.filter(|(turn, _)| *turn > self.last_turn(&plugin));
        match displaced.and_then(|(_, at)| self.line.remove(at)) {
            Some((_, other)) => {
                self.line.push_back((plugin, crash));
                Some(LeftOut(other, NoFrames::Crowded))
            }
            None => Some(LeftOut(crash, NoFrames::Crowded)),
        }
    }

    /// Whose turn it is.
    #[must_use]
    pub fn take(&mut self) -> Option<T> {
        let (plugin, crash) = self.line.pop_front()?;
        self.turns.retain(|other| *other != plugin);
        if self.turns.len() == TURNS {
            self.turns.pop_front();
        }
        self.turns.push_back(plugin);
        Some(crash)
    }

    /// When a plugin had its last turn: the greater, the later; `None` before any.
    fn last_turn(&self, plugin: &PluginId) -> Option<usize> {
        self.turns.iter().position(|other| other == plugin)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOM: usize = 3;

    fn id(plugin: u8) -> PluginId {
        format!("plugin-{plugin}").parse().unwrap()
    }

    /// A line into which these plugins' crashes came, each named by its place among them.
    fn line(crashed: &[u8]) -> WaitingLine<usize> {
        let mut line = WaitingLine::new(ROOM);
        for (at, plugin) in crashed.iter().enumerate() {
            assert_eq!(line.add(id(*plugin), at), None);
        }
        line
    }

    fn drained(mut line: WaitingLine<usize>) -> Vec<usize> {
        std::iter::from_fn(|| line.take()).collect()
    }

    #[test]
    fn the_newer_crash_of_a_plugin_takes_the_place_of_the_older() {
        let mut line = line(&[1, 2]);
        assert_eq!(line.add(id(1), 9), Some(LeftOut(0, NoFrames::Superseded)));
        assert_eq!(drained(line), [9, 1]);
    }

    #[test]
    fn a_full_line_has_no_room_for_another_whom_nobody_owes_a_place() {
        let mut line = line(&[1, 2, 3]);
        assert_eq!(line.add(id(4), 9), Some(LeftOut(9, NoFrames::Crowded)));
        assert_eq!(drained(line), [0, 1, 2]);
    }

    #[test]
    fn who_had_a_turn_makes_room_for_who_had_none() {
        let mut line = line(&[1, 2, 3]);
        assert_eq!((line.take(), line.take()), (Some(0), Some(1)));
        // Both again, the one after the other: the turn of the second is the later one.
        assert_eq!((line.add(id(2), 4), line.add(id(1), 5)), (None, None));
        assert_eq!(line.add(id(4), 6), Some(LeftOut(4, NoFrames::Crowded)));
        assert_eq!(line.add(id(5), 7), Some(LeftOut(5, NoFrames::Crowded)));
        // Whoever is left had none, as the newcomer.
        assert_eq!(line.add(id(6), 8), Some(LeftOut(8, NoFrames::Crowded)));
        assert_eq!(drained(line), [2, 6, 7]);
    }

    #[test]
    fn the_one_that_had_the_last_turn_waits_for_no_one_elses_place() {
        let mut line = line(&[1, 2, 3]);
        assert_eq!(line.take(), Some(0));
        assert_eq!(line.add(id(4), 9), None);
        assert_eq!(line.add(id(1), 10), Some(LeftOut(10, NoFrames::Crowded)));
    }

    proptest! {
        /// Whatever crashes and whenever turns are given: few wait, one for each plugin, and each crash has one end.
        #[test]
        fn few_wait_and_each_crash_has_exactly_one_end(
            steps in prop::collection::vec(prop::option::weighted(0.7, 0_u8..8), 0..200),
        ) {
            let (mut line, mut ended) = (WaitingLine::new(ROOM), Vec::new());
            for (at, step) in steps.iter().enumerate() {
                match step {
                    Some(plugin) => ended.extend(line.add(id(*plugin), at).map(|LeftOut(crash, _)| crash)),
                    None => ended.extend(line.take()),
                }
                prop_assert!(line.line.len() <= ROOM && line.turns.len() <= TURNS);
                let mut plugins: Vec<_> = line.line.iter().map(|(plugin, _)| plugin.clone()).collect();
                plugins.sort();
                plugins.dedup();
                prop_assert_eq!(plugins.len(), line.line.len());
            }
            ended.extend(drained(line));
            ended.sort_unstable();
            let crashes = steps.iter().enumerate().filter(|(_, step)| step.is_some());
            prop_assert_eq!(ended, crashes.map(|(at, _)| at).collect::<Vec<_>>());
        }

        /// However others crash meanwhile: a plugin whose crash was not yet looked into has its turn by the time that all
        /// who wait had theirs, or found nobody in line who had one.
        #[test]
        fn who_crashes_all_the_time_is_not_in_the_way_of_who_crashes_once(
            storm in prop::collection::vec(0_u8..ROOM as u8, 30..100),
        ) {
            let mut line = WaitingLine::new(ROOM);
            for (at, plugin) in storm.iter().enumerate() {
                let _ = line.add(id(*plugin), at);
                if at % 3 == 0 {
                    let _ = line.take();
                }
            }
            // The line's plugins may all be waiting for their first turn: then they are given it.
            while line.line.iter().any(|(plugin, _)| line.last_turn(plugin).is_none()) {
                let _ = line.take();
            }
            let rare = usize::MAX;
            prop_assert_ne!(line.add(id(100), rare).map(|LeftOut(crash, _)| crash), Some(rare));
            let mut turns = 0;
            loop {
                // The storm goes on.
                for plugin in 0..ROOM as u8 {
                    let left_out = line.add(id(plugin), 0);
                    prop_assert_ne!(left_out.map(|LeftOut(crash, _)| crash), Some(rare));
                }
                turns += 1;
                prop_assert!(turns <= ROOM, "it waits behind who came later");
                if line.take() == Some(rare) {
                    break;
                }
            }
        }
    }
}
