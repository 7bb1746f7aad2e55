use super::*;

fn missing(name: &str, kind: MissingKind) -> Missing {
    Missing {
        name: name.into(),
        kind,
        code: Code::PluginCrashLoop,
        reason: "it crashed".into(),
        retry_after: Some(Duration::from_secs(30)),
    }
}

fn facts(store_appends: bool, fallback_works: bool, healthy_agents: usize, missing_one: bool) -> LevelFacts {
    let missing = missing_one.then(|| missing("billing", MissingKind::Agent)).into_iter().collect();
    LevelFacts { store_appends, fallback_works, healthy_agents, starting: false, missing }
}

#[test]
fn the_first_line_that_applies_wins_in_every_combination() {
    use ServiceLevel::{Basic, Fallback, Full, Partial};
    // store, fallback, agents, something missing
    let table = [
        (false, false, 0, false, Basic),
        (false, false, 0, true, Basic),
        (false, false, 2, false, Basic),
        (false, false, 2, true, Basic),
        (false, true, 0, false, Basic),
        (false, true, 0, true, Basic),
        (false, true, 2, false, Basic),
        (false, true, 2, true, Basic),
        (true, false, 0, false, Basic),
        (true, false, 0, true, Basic),
        (true, false, 2, false, Partial),
        (true, false, 2, true, Partial),
        (true, true, 0, false, Fallback),
        (true, true, 0, true, Fallback),
        (true, true, 2, false, Full),
        (true, true, 2, true, Partial),
    ];
    for (store, fallback, agents, missing, expected) in table {
        let facts = facts(store, fallback, agents, missing);
        assert_eq!(ServiceLevel::of(&facts), expected, "{facts:?}");
        let status = ServiceStatus::of(&facts);
        assert_eq!(status.level, expected);
        assert_eq!(status.reason.is_empty(), expected == Full, "a level below full says why: {status:?}");
        assert_eq!(status.missing.iter().any(|m| m.kind == MissingKind::Store), !store);
        assert_eq!(status.missing.iter().any(|m| m.kind == MissingKind::Fallback), !fallback);
    }
}

#[test]
fn the_words_are_those_of_the_wire() {
    let words: Vec<_> = ServiceLevel::ALL.iter().map(|l| serde_json::to_value(l).unwrap()).collect();
    assert_eq!(words, ["basic", "fallback", "partial", "full"]);
    assert!(ServiceLevel::ALL.iter().all(|l| serde_json::to_value(l).unwrap() == l.as_str()));
}

#[test]
fn a_missing_part_is_written_as_the_protocol_says() {
    let json = serde_json::to_string(&missing("billing", MissingKind::Agent)).unwrap();
    let expected = r#"{"name":"billing","kind":"agent","code":"plugin.crash_loop","reason":"it crashed","retry_after_ms":30000}"#;
    assert_eq!(json, expected);
}

#[test]
fn starting_is_a_reason_only_while_no_agent_is_there() {
    let starting = LevelFacts { starting: true, ..facts(true, true, 0, true) };
    assert_eq!(ServiceStatus::of(&starting).reason, "starting");
    let some = LevelFacts { healthy_agents: 1, ..starting };
    assert_eq!(ServiceStatus::of(&some).reason, "not healthy: billing");
}

#[test]
fn a_store_that_is_named_is_not_named_twice() {
    let mut facts = facts(false, true, 1, false);
    facts.missing.push(missing("store", MissingKind::Store));
    assert_eq!(ServiceStatus::of(&facts).missing.len(), 1);
}

#[test]
fn what_changed_is_named_once() {
    let full = ServiceStatus::of(&facts(true, true, 1, false));
    let partial = ServiceStatus::of(&facts(true, true, 1, true));
    assert_eq!(partial.changed_since(&full), ["billing"]);
    assert_eq!(full.changed_since(&partial), ["billing"]);
    let mut later = partial.clone();
    later.missing[0].reason = "it crashed again".into();
    assert_eq!(later.changed_since(&partial), ["billing"]);
    assert!(partial.changed_since(&partial).is_empty());
}
