use std::sync::Arc;

use agent_plugin_protocol::call::Reply;

use super::*;
use crate::outcome::{Clock, Exit, ExitReport, Outcome};

fn id(name: &str) -> PluginId {
    PluginId::new(name).unwrap()
}

fn thread() -> ThreadId {
    ThreadId::new("t").unwrap()
}

fn target(name: &str, generation: u32) -> Target {
    Target { plugin: id(name), generation: Generation(generation) }
}

fn healthy(name: &str, generation: u32) -> RouteEntry {
    RouteEntry {
        id: id(name),
        generation: Generation(generation),
        health: RouteHealth::Healthy,
        canary: None,
        substitutes: Vec::new(),
    }
}

fn down(name: &str, code: Code) -> RouteEntry {
    let reason = code.meaning().to_owned();
    let health = RouteHealth::Unhealthy { code, reason, retry_after: Some(Duration::from_secs(3)) };
    RouteEntry { health, ..healthy(name, 1) }
}

fn table(agents: Vec<RouteEntry>) -> RouteTable {
    RouteTable { agents, supervisor: None, starting: false }
}

fn with_supervisor(agents: Vec<RouteEntry>, supervisor: RouteEntry) -> RouteTable {
    RouteTable { supervisor: Some(supervisor), ..table(agents) }
}

fn named(table: &RouteTable, name: &str, tried: &[Target]) -> Choice {
    choose(table, RouteRequest { named: Some(&id(name)), tried, thread: &thread() })
}

fn unnamed(table: &RouteTable, tried: &[Target]) -> Choice {
    choose(table, RouteRequest { named: None, tried, thread: &thread() })
}

#[test]
fn a_named_agent_answers_whatever_the_order_and_the_supervisor() {
    let table = with_supervisor(vec![healthy("a", 1), healthy("b", 2)], healthy("boss", 1));
    assert_eq!(named(&table, "b", &[]), Choice::Agent(target("b", 2)));
}

#[test]
fn a_named_agent_is_never_replaced_by_another() {
    let table = with_supervisor(vec![down("a", Code::PluginCrashLoop), healthy("b", 1)], healthy("boss", 1));
    let Choice::Fallback(why) = named(&table, "a", &[]) else { panic!("another one answered") };
    assert_eq!((why.code(), why.label()), (Code::PluginCrashLoop, "named_unhealthy"));
    assert_eq!(why.retry_after(), Some(Duration::from_secs(3)));
}

#[test]
fn substitutes_stand_in_in_their_order() {
    let a = RouteEntry { substitutes: vec![id("gone"), id("c"), id("b")], ..down("a", Code::PluginHung) };
    let table = table(vec![a, healthy("b", 1), healthy("c", 1)]);
    assert_eq!(named(&table, "a", &[]), Choice::Agent(target("c", 1)));
    assert_eq!(named(&table, "a", &[target("c", 1)]), Choice::Agent(target("b", 1)));
    assert!(matches!(named(&table, "a", &[target("c", 1), target("b", 1)]), Choice::Fallback(_)));
}

#[test]
fn an_agent_that_is_not_configured_is_unknown() {
    let table = with_supervisor(vec![healthy("a", 1)], healthy("boss", 1));
    assert_eq!(named(&table, "zzz", &[]), Choice::Unknown);
    assert_eq!(named(&table, "boss", &[]), Choice::Unknown, "a supervisor is no agent");
}

#[test]
fn an_unnamed_message_goes_to_the_supervisor_then_the_order_then_the_fallback() {
    let agents = vec![down("a", Code::PluginCrashed), healthy("b", 1), healthy("c", 1)];
    let table = with_supervisor(agents.clone(), healthy("boss", 1));
    assert_eq!(unnamed(&table, &[]), Choice::Supervisor(target("boss", 1)));
    assert_eq!(unnamed(&table, &[target("boss", 1)]), Choice::Agent(target("b", 1)));
    let table = with_supervisor(agents, down("boss", Code::PluginCrashed));
    assert_eq!(unnamed(&table, &[]), Choice::Agent(target("b", 1)));
    assert_eq!(unnamed(&table, &[target("b", 1)]), Choice::Agent(target("c", 1)));
    let tried = [target("b", 1), target("c", 1)];
    assert_eq!(unnamed(&table, &tried), Choice::Fallback(FallbackReason::NoneHealthy));
}

#[test]
fn a_new_generation_of_a_tried_agent_comes_after_the_untried_ones() {
    let both = table(vec![healthy("a", 2), healthy("b", 1)]);
    assert_eq!(unnamed(&both, &[target("a", 1)]), Choice::Agent(target("b", 1)));
    assert_eq!(unnamed(&both, &[target("a", 1), target("b", 1)]), Choice::Agent(target("a", 2)));
}

#[test]
fn the_fallback_says_why() {
    assert_eq!(unnamed(&table(vec![]), &[]), Choice::Fallback(FallbackReason::NoneConfigured));
    let starting = RouteTable { starting: true, ..table(vec![down("a", Code::PluginStarting)]) };
    assert_eq!(unnamed(&starting, &[]), Choice::Fallback(FallbackReason::Starting));
    assert_eq!(named(&starting, "a", &[]), Choice::Fallback(FallbackReason::Starting));
    assert_eq!(FallbackReason::Starting.code(), Code::HostStarting);
    let failed = RouteTable { starting: true, ..table(vec![down("a", Code::PluginNotFound)]) };
    let Choice::Fallback(why) = named(&failed, "a", &[]) else { panic!() };
    assert_eq!(why.code(), Code::PluginNotFound, "a start that failed is not still going on");
}

fn crash() -> Outcome {
    let report = ExitReport {
        exit: Exit::Signal(11),
        uptime: Duration::from_secs(1),
        stderr_tail: vec![],
        crash: None,
    };
    Outcome::Lost(report)
}

fn error(retryable: bool) -> Outcome {
    Outcome::PluginError { code: "x".into(), message: "y".into(), retryable }
}

/// A first try at `a` generation 1 of an unnamed message failed.
fn after_first(table: &RouteTable, outcome: &Outcome) -> NextMove {
    after(table, None, outcome, true, 0, 0)
}

fn after(
    table: &RouteTable,
    name: Option<&str>,
    outcome: &Outcome,
    before_first_event: bool,
    earlier_tries: u32,
    earlier_crashes: u32,
) -> NextMove {
    let name = name.map(id);
    let tried = [target("a", 1)];
    let request = RouteRequest { named: name.as_ref(), tried: &tried, thread: &thread() };
    let target = &tried[0];
    let failed =
        FailedTry { target, outcome, before_first_event, earlier_tries, retries: true, earlier_crashes };
    after_failure(table, request, failed)
}

fn fallback(code: Code) -> NextMove {
    NextMove::Fallback(FallbackReason::AgentFailed { agent: id("a"), code, retryable: code.retryable() })
}

#[test]
fn where_no_second_try_is_wanted_only_a_refusal_moves_on() {
    let table = table(vec![healthy("a", 2), healthy("b", 1)]);
    let tried = [target("a", 1)];
    for (outcome, next) in [
        (crash(), fallback(Code::PluginCrashed)),
        (error(true), fallback(Code::PluginError)),
        (Outcome::Refused(Code::PluginDraining), NextMove::Retry(target("b", 1))),
    ] {
        let failed = FailedTry {
            target: &tried[0],
            outcome: &outcome,
            before_first_event: true,
            earlier_tries: 0,
            retries: false,
            earlier_crashes: 0,
        };
        assert_eq!(
            after_failure(&table, RouteRequest { named: None, tried: &tried, thread: &thread() }, failed),
            next,
            "{outcome:?}"
        );
    }
}

#[test]
fn before_the_first_event_a_message_is_tried_once_more() {
    let table = table(vec![healthy("a", 2), healthy("b", 1)]);
    let violation = Outcome::Violation("x".into());
    let panicked = Outcome::Panicked { message: "x".into() };
    for outcome in [crash(), error(true), panicked, Outcome::TimedOut(Clock::Idle), violation] {
        assert_eq!(after_first(&table, &outcome), NextMove::Retry(target("b", 1)), "{outcome:?}");
        let of_a = after(&table, Some("a"), &outcome, true, 0, 0);
        assert_eq!(of_a, NextMove::Retry(target("a", 2)), "a named one stays with its agent");
        assert_eq!(after(&table, None, &outcome, true, 1, 0), fallback(outcome.code().unwrap()));
    }
}

#[test]
fn a_named_agent_without_a_next_generation_leaves_the_message_to_the_fallback() {
    let table = table(vec![healthy("a", 1), healthy("b", 1)]);
    assert_eq!(after(&table, Some("a"), &crash(), true, 0, 0), fallback(Code::PluginCrashed));
}

#[test]
fn a_second_crash_by_the_same_message_is_never_retried() {
    let table = table(vec![healthy("a", 2), healthy("b", 1)]);
    assert_eq!(after(&table, None, &crash(), true, 0, 1), fallback(Code::PluginCrashed));
    assert_eq!(after(&table, None, &crash(), true, 1, 1), fallback(Code::PluginCrashed));
}

#[test]
fn after_an_event_there_is_no_move() {
    let table = table(vec![healthy("a", 2), healthy("b", 1)]);
    for outcome in [crash(), error(true), Outcome::TimedOut(Clock::Run)] {
        assert_eq!(after(&table, None, &outcome, false, 0, 0), NextMove::Finish);
    }
}

#[test]
fn what_another_try_cannot_help_goes_to_the_fallback() {
    let table = table(vec![healthy("a", 2), healthy("b", 1)]);
    let code = Code::PluginError;
    let of_no_use = FallbackReason::AgentFailed { agent: id("a"), code, retryable: false };
    assert_eq!(after_first(&table, &error(false)), NextMove::Fallback(of_no_use));
    assert_eq!(after_first(&table, &Outcome::TimedOut(Clock::Run)), fallback(Code::PluginTimeoutRun));
}

#[test]
fn an_end_that_is_no_failure_is_the_end() {
    let table = table(vec![healthy("a", 2), healthy("b", 1)]);
    for outcome in
        [Outcome::Ok(Reply::default()), Outcome::Cancelled, Outcome::Deserted, Outcome::Interrupted]
    {
        assert_eq!(after_first(&table, &outcome), NextMove::Finish, "{outcome:?}");
    }
}

#[test]
fn a_refusal_costs_no_try_and_moves_on_until_nobody_is_left() {
    let refused = Outcome::Refused(Code::PluginOverloaded);
    let two = table(vec![healthy("a", 1), healthy("b", 1)]);
    assert_eq!(after(&two, None, &refused, true, 1, 1), NextMove::Retry(target("b", 1)));
    let one = table(vec![healthy("a", 1)]);
    assert_eq!(after(&one, None, &refused, true, 0, 0), fallback(Code::PluginOverloaded));
}

#[test]
fn a_failed_message_is_not_given_to_a_supervisor_to_choose_again() {
    let table = with_supervisor(vec![healthy("b", 1)], healthy("boss", 1));
    assert_eq!(after_first(&table, &crash()), NextMove::Retry(target("b", 1)));
}

#[test]
fn however_tries_fail_they_come_to_an_end() {
    let agents = vec![healthy("a", 1), healthy("b", 1), healthy("c", 1)];
    let table = with_supervisor(agents, healthy("boss", 1));
    let outcomes = [crash(), error(true), Outcome::Refused(Code::PluginDraining)].map(Arc::new);
    for seed in 0..3_usize.pow(6) {
        let (mut tried, mut tries, mut crashes) = (vec![target("boss", 1)], 0, 0);
        for step in 0.. {
            assert!(step < 6, "seed {seed}");
            let outcome = &outcomes[seed / 3_usize.pow(step) % 3];
            let request = RouteRequest { named: None, tried: &tried, thread: &thread() };
            let failed = FailedTry {
                target: tried.last().unwrap(),
                outcome,
                before_first_event: true,
                earlier_tries: tries,
                retries: true,
                earlier_crashes: crashes,
            };
            match after_failure(&table, request, failed) {
                NextMove::Retry(next) => tried.push(next),
                NextMove::Fallback(_) | NextMove::Finish => break,
            }
            tries += u32::from(!matches!(**outcome, Outcome::Refused(_)));
            crashes += u32::from(matches!(**outcome, Outcome::Lost(_)));
        }
    }
}

#[test]
fn the_fallback_s_run_is_never_served_above_its_level() {
    assert_eq!(level_of_run(true, ServiceLevel::Full), ServiceLevel::Fallback);
    assert_eq!(level_of_run(true, ServiceLevel::Basic), ServiceLevel::Basic);
    assert_eq!(level_of_run(false, ServiceLevel::Partial), ServiceLevel::Partial);
}

/// A generation on trial beside one that serves; it has every thread, or none.
fn on_trial(name: &str, all: bool) -> RouteEntry {
    let share = if all { Share::ALL } else { Share::NONE };
    RouteEntry { canary: Some(CanaryRoute { generation: Generation(2), share }), ..healthy(name, 1) }
}

#[test]
fn a_thread_has_the_generation_that_its_share_says() {
    let half = CanaryRoute { generation: Generation(2), share: Share::percent(50) };
    let table = table(vec![RouteEntry { canary: Some(half), ..healthy("a", 1) }]);
    let of = |n: usize| {
        let thread = ThreadId::new(&format!("t{n}")).unwrap();
        let choice = choose(&table, RouteRequest { named: None, tried: &[], thread: &thread });
        let again = choose(&table, RouteRequest { named: Some(&id("a")), tried: &[], thread: &thread });
        assert_eq!(choice, again, "named or not, and each time");
        choice
    };
    let drawn = (0..1000).filter(|n| of(*n) == Choice::Agent(target("a", 2))).count();
    assert!((400..600).contains(&drawn), "{drawn}");
}

#[test]
fn what_a_generation_on_trial_failed_goes_to_the_one_that_serves() {
    let two = table(vec![on_trial("a", true), healthy("b", 1)]);
    assert_eq!(unnamed(&two, &[]), Choice::Agent(target("a", 2)));
    assert_eq!(unnamed(&two, &[target("a", 2)]), Choice::Agent(target("a", 1)), "before another agent");
    assert_eq!(named(&two, "a", &[target("a", 2)]), Choice::Agent(target("a", 1)));
    assert_eq!(unnamed(&two, &[target("a", 2), target("a", 1)]), Choice::Agent(target("b", 1)));
}

#[test]
fn what_the_one_that_serves_failed_does_not_go_to_one_on_trial() {
    for all in [true, false] {
        let one = table(vec![on_trial("a", all)]);
        assert!(matches!(named(&one, "a", &[target("a", 1)]), Choice::Fallback(_)));
        let two = table(vec![on_trial("a", all), healthy("b", 1)]);
        assert_eq!(unnamed(&two, &[target("a", 1)]), Choice::Agent(target("b", 1)));
    }
}

#[test]
fn one_on_trial_gets_its_share_and_no_more_while_the_other_gets_no_runs() {
    let with = |all| RouteEntry { canary: on_trial("a", all).canary, ..down("a", Code::PluginCrashed) };
    let alone = table(vec![with(false), healthy("b", 1)]);
    assert_eq!(unnamed(&alone, &[]), Choice::Agent(target("b", 1)));
    let shared = table(vec![with(true), healthy("b", 1)]);
    assert_eq!(unnamed(&shared, &[]), Choice::Agent(target("a", 2)));
    assert_eq!(unnamed(&shared, &[target("a", 2)]), Choice::Agent(target("b", 1)));
}

#[test]
fn a_supervisor_is_tried_on_a_share_too() {
    let table = with_supervisor(vec![healthy("a", 1)], on_trial("boss", true));
    assert_eq!(unnamed(&table, &[]), Choice::Supervisor(target("boss", 2)));
}
