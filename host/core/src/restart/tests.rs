use proptest::prelude::*;

use super::*;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn the_first_restart_is_at_once_then_the_pauses_double_up_to_the_cap() {
    let policy = RestartPolicy { max: 7, cap: ms(4000), ..RestartPolicy::default() };
    let mut budget = RestartBudget::new(policy);
    let now = Instant::now();
    for expected in [0, 500, 1000, 2000, 4000, 4000, 4000] {
        assert_eq!(budget.failed(now, 0.0), RestartDecision::After(ms(expected)));
    }
    assert_eq!(budget.failed(now, 0.0), RestartDecision::Quarantine);
    assert_eq!(budget.failed(now, 0.0), RestartDecision::Quarantine, "quarantine stays");
}

#[test]
fn jitter_shortens_a_pause_by_up_to_half() {
    let pause = |jitter| {
        let mut budget = RestartBudget::new(RestartPolicy::default());
        let now = Instant::now();
        budget.failed(now, jitter);
        budget.failed(now, jitter)
    };
    assert_eq!(pause(0.0), RestartDecision::After(ms(500)));
    assert_eq!(pause(0.5), RestartDecision::After(ms(375)));
    for extreme in [1.0, 7.0, f64::INFINITY, f64::NAN, -1.0] {
        assert!(
            matches!(pause(extreme), RestartDecision::After(d) if d >= ms(250) && d <= ms(500)),
            "{extreme}"
        );
    }
}

#[test]
fn failures_outside_the_window_are_forgotten() {
    let mut budget = RestartBudget::new(RestartPolicy { max: 1, ..RestartPolicy::default() });
    let start = Instant::now();
    assert_eq!(budget.failed(start, 0.0), RestartDecision::After(Duration::ZERO));
    assert_eq!(budget.failed(start + ms(60_000), 0.0), RestartDecision::Quarantine);
    assert_eq!(budget.failed(start + ms(60_001), 0.0), RestartDecision::After(Duration::ZERO));
}

#[test]
fn a_reset_gives_the_whole_budget_back() {
    let mut budget = RestartBudget::new(RestartPolicy { max: 1, ..RestartPolicy::default() });
    let now = Instant::now();
    budget.failed(now, 0.0);
    assert_eq!(budget.failed(now, 0.0), RestartDecision::Quarantine);
    budget.reset();
    assert_eq!(budget.spent(now), 0);
    assert_eq!(budget.failed(now, 0.0), RestartDecision::After(Duration::ZERO));
}

#[test]
fn a_crash_loop_ends_in_quarantine_under_the_default_policy() {
    let mut budget = RestartBudget::new(RestartPolicy::default());
    let mut now = Instant::now();
    let mut restarts = 0;
    while let RestartDecision::After(pause) = budget.failed(now, 0.0) {
        restarts += 1;
        now += pause + ms(20);
        assert!(restarts <= 5);
    }
    assert_eq!(restarts, 5);
}

proptest! {
    #[test]
    fn never_more_than_max_in_any_window(
        max in 0u32..6,
        lives in prop::collection::vec(0u64..30_000, 1..60),
        jitter in 0.0f64..=1.0,
    ) {
        let policy = RestartPolicy { max, ..RestartPolicy::default() };
        let mut budget = RestartBudget::new(policy);
        let mut now = Instant::now();
        let mut starts = Vec::new();
        for life in lives {
            now += ms(life);
            if let RestartDecision::After(pause) = budget.failed(now, jitter) {
                prop_assert!(pause <= policy.cap);
                now += pause;
                starts.push(now);
            }
        }
        for (i, start) in starts.iter().enumerate() {
            let within = starts[i..].iter().filter(|s| s.duration_since(*start) < policy.within).count();
            prop_assert!(within <= max as usize);
        }
    }
}

#[test]
fn what_ended_the_plugin_s_own_code_is_tried_again_and_a_bad_file_is_not() {
    for code in [
        Code::PluginInitCrashed,
        Code::PluginInitPanicked,
        Code::PluginLoadCrashed,
        Code::PluginInitError,
        Code::PluginInitTimeout,
        Code::PluginProbeFailed,
    ] {
        assert!(start_again(Stage::Init, code), "{code:?}");
    }
    for code in [Code::PluginNotElf, Code::PluginDigestMismatch, Code::PluginLoadTimeout] {
        assert!(!start_again(Stage::Load, code), "{code:?}");
    }
    assert!(!start_again(Stage::Dependencies, Code::PluginDependencyMissing));
}
