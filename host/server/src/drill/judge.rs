//! Decides whether what was seen is what must hold. Pure.

use std::time::Duration;

use super::{scenario::Expect, talk::Talk};

/// How a scenario ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was tried, and held.
    Held,
    /// With what did not.
    Failed(Vec<String>),
    /// With why not.
    NotTried(String),
    /// With why it was broken off.
    BrokenOff(String),
}

impl Verdict {
    /// In a word.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Failed(_) => "FAILED",
            Self::NotTried(_) => "not tried",
            Self::BrokenOff(_) => "BROKEN OFF",
        }
    }

    /// Why, where that is to be said.
    pub(super) fn because(&self) -> Vec<String> {
        match self {
            Self::Held => Vec::new(),
            Self::Failed(why) => why.clone(),
            Self::NotTried(why) | Self::BrokenOff(why) => vec![why.clone()],
        }
    }

    /// Both, in a line.
    pub(super) fn told(&self) -> String {
        match self.because() {
            why if why.is_empty() => self.word().to_owned(),
            why => format!("{}: {}", self.word(), why.join("; ")),
        }
    }
}

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) talk: Talk,
    /// How often the fault hit something.
    pub(super) hits: u64,
    /// Each level, and when it was first seen, from the begin of the fault on.
    pub(super) levels: Vec<(Duration, String)>,
    /// The host is the one that it was.
    pub(super) same_host: bool,
    /// The plugin has another generation.
    pub(super) replaced: bool,
    /// How the generation from before the fault ended, where it did and that is shown.
    pub(super) crash: Option<String>,
    /// The fault did not end by itself.
    pub(super) overstayed: bool,
    /// From the fault's end until all was as before; `None`: it was not, in the time there was.
    pub(super) recovered: Option<Duration>,
}

const NOTHING_HIT: &str = "the fault hit nothing: nobody used what it is about (see --message)";

/// Codes of runs that ended because nothing more came.
const BY_A_CLOCK: [&str; 2] = ["plugin.timeout_idle", "plugin.timeout_run"];

pub(super) fn judge(expect: &Expect, seen: &Seen, recover_within: Duration) -> Verdict {
    let talk = &seen.talk;
    let mut wrong = talk.wrong.clone();
    let mut object = |objection: String| wrong.push(objection);
    if !seen.same_host {
        object("the host is another one than before: it has started again".to_owned());
    }
    for (code, count) in &talk.refused {
        if !expect.refuses.contains(&code.as_str()) {
            object(format!("{count} messages were refused with {code}"));
        }
    }
    for (status, count) in &talk.answers {
        if !expect.ends.contains(&status.as_str()) {
            object(format!("{count} runs ended as {status}"));
        }
    }
    for (code, count) in &talk.codes {
        if expect.told && BY_A_CLOCK.contains(&code.as_str()) {
            object(format!("{count} runs ended by {code}: their agent was not told of the fault"));
        }
    }
    let ended: u32 = talk.answers.values().sum();
    if ended < talk.accepted {
        object(format!("{} of {} accepted messages have no whole run", talk.accepted - ended, talk.accepted));
    }
    if talk.cuts > 0 && !expect.cuts {
        object(format!("{} connections were lost", talk.cuts));
    }
    if seen.overstayed {
        object("the fault did not end by itself".to_owned());
    }
    if seen.recovered.is_none() {
        object(format!("{} s after the fault it was not as before", recover_within.as_secs()));
    }
    // Whether the fault was there at all is asked only of what holds otherwise.
    let hit = seen.hits > 0 || expect.level.is_some();
    if let Some(level) = expect.level
        && !seen.levels.iter().any(|(_, seen)| seen == level)
    {
        object(format!("the level was never {level}"));
    }
    if expect.replaced && !seen.replaced {
        object("the worker was not replaced".to_owned());
    }
    if let Some(how) = expect.crash
        && seen.crash.as_deref() != Some(how)
    {
        let shown = seen.crash.as_deref().unwrap_or("nothing");
        object(format!("of the worker's end {shown} is shown, and not {how}"));
    }
    if expect.cuts && talk.cuts == 0 && hit {
        object("no connection was cut, though the host says so".to_owned());
    }
    match (wrong.is_empty(), hit) {
        (false, _) => Verdict::Failed(wrong),
        (true, false) => Verdict::NotTried(NOTHING_HIT.to_owned()),
        (true, true) if talk.accepted == 0 && talk.refused.is_empty() => {
            Verdict::NotTried("no message was sent".to_owned())
        }
        (true, true) => Verdict::Held,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{super::scenario::NOTHING_ELSE, *};

    const WITHIN: Duration = Duration::from_secs(60);

    fn well() -> Seen {
        Seen {
            talk: Talk {
                sent: 3,
                accepted: 2,
                answers: BTreeMap::from([("ok".to_owned(), 1), ("degraded".to_owned(), 1)]),
                ..Talk::default()
            },
            hits: 1,
            levels: vec![(Duration::ZERO, "basic".to_owned())],
            same_host: true,
            replaced: true,
            crash: None,
            overstayed: false,
            recovered: Some(Duration::ZERO),
        }
    }

    #[test]
    fn what_holds_holds_and_what_hit_nothing_was_not_tried() {
        let nothing = NOTHING_ELSE;
        assert_eq!(judge(&nothing, &well(), WITHIN), Verdict::Held);
        assert!(matches!(judge(&nothing, &Seen { hits: 0, ..well() }, WITHIN), Verdict::NotTried(_)));
        let silent = Seen { talk: Talk::default(), ..well() };
        assert!(matches!(judge(&nothing, &silent, WITHIN), Verdict::NotTried(_)));
    }

    #[test]
    fn each_thing_that_does_not_hold_is_named() {
        let talk = |change: fn(&mut Talk)| {
            let mut seen = well();
            change(&mut seen.talk);
            seen
        };
        let expecting = |change: fn(&mut Expect)| {
            let mut expect = NOTHING_ELSE;
            change(&mut expect);
            expect
        };
        for (expect, seen, words) in [
            (NOTHING_ELSE, talk(|talk| talk.wrong.push("a hole".to_owned())), "a hole"),
            (NOTHING_ELSE, talk(|talk| talk.answers.retain(|status, _| status != "ok")), "1 of 2 accepted"),
            (NOTHING_ELSE, talk(|talk| talk.cuts = 1), "1 connections were lost"),
            (
                NOTHING_ELSE,
                talk(|talk| talk.refused = BTreeMap::from([("limit.rate".to_owned(), 2)])),
                "refused with limit.rate",
            ),
            (
                NOTHING_ELSE,
                talk(|talk| talk.answers.extend([("interrupted".to_owned(), 1)])),
                "1 runs ended as interrupted",
            ),
            (expecting(|expect| expect.ends = &["ok"]), well(), "1 runs ended as degraded"),
            (expecting(|expect| expect.level = Some("fallback")), well(), "never fallback"),
            (expecting(|expect| expect.cuts = true), well(), "no connection was cut"),
            (expecting(|expect| expect.replaced = true), Seen { replaced: false, ..well() }, "not replaced"),
            (
                expecting(|expect| expect.told = true),
                talk(|talk| talk.codes = BTreeMap::from([("plugin.timeout_idle".to_owned(), 1)])),
                "was not told",
            ),
            (expecting(|expect| expect.crash = Some("SIGSEGV")), well(), "nothing is shown"),
            (
                expecting(|expect| expect.crash = Some("SIGSEGV")),
                Seen { crash: Some("SIGKILL".to_owned()), ..well() },
                "SIGKILL is shown",
            ),
            (NOTHING_ELSE, Seen { same_host: false, ..well() }, "started again"),
            (NOTHING_ELSE, Seen { overstayed: true, ..well() }, "by itself"),
            (NOTHING_ELSE, Seen { recovered: None, ..well() }, "60 s after"),
        ] {
            let Verdict::Failed(wrong) = judge(&expect, &seen, WITHIN) else { panic!("{words}: {seen:?}") };
            assert!(wrong.iter().any(|one| one.contains(words)), "{words}: {wrong:?}");
        }
    }
}
