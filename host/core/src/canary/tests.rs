use proptest::prelude::*;

use super::*;

fn policy(min_runs: u32, tolerance: u16) -> CanaryPolicy {
    CanaryPolicy {
        share: Share::percent(10),
        lasts: Duration::from_secs(300),
        min_runs,
        tolerance: Share::percent(tolerance),
    }
}

/// Counts so many; the first objection.
fn count(canary: &mut Canary, side: Side, ended: u32, failed: u32) -> Result<(), Worse> {
    let mut first = Ok(());
    for n in 0..ended {
        first = first.and(canary.ended(side, n < failed));
    }
    first
}

#[test]
fn one_that_fails_is_taken_back_as_soon_as_enough_was_seen() {
    let mut canary = Canary::new(policy(10, 20));
    count(&mut canary, Side::Serving, 90, 0).unwrap();
    for run in 1..10 {
        assert_eq!(canary.ended(Side::Canary, true), Ok(()), "run {run} is too early");
    }
    let worse = canary.ended(Side::Canary, true).unwrap_err();
    assert_eq!(
        worse.to_string(),
        "10 of 10 of its runs failed, against 0 of 90 of the generation beside it: more than 20% more"
    );
}

#[test]
fn what_befalls_both_is_not_put_down_to_the_new_one() {
    let mut canary = Canary::new(policy(10, 20));
    count(&mut canary, Side::Serving, 90, 45).unwrap();
    count(&mut canary, Side::Canary, 10, 6).unwrap();
    canary.verdict().unwrap();
    // Exactly what is borne is borne.
    let mut canary = Canary::new(policy(10, 20));
    count(&mut canary, Side::Serving, 10, 1).unwrap();
    count(&mut canary, Side::Canary, 10, 3).unwrap();
    assert!(canary.ended(Side::Canary, true).is_err());
}

#[test]
fn at_the_end_little_is_judged_too_and_nothing_is_no_objection() {
    let mut canary = Canary::new(policy(100, 20));
    canary.verdict().unwrap();
    count(&mut canary, Side::Canary, 1, 1).unwrap();
    assert_eq!(canary.verdict().unwrap_err().canary, Runs { ended: 1, failed: 1 });
    count(&mut canary, Side::Canary, 9, 0).unwrap();
    canary.verdict().unwrap();
}

#[test]
fn other_terms_hold_from_now_on() {
    let mut canary = Canary::new(policy(100, 20));
    count(&mut canary, Side::Canary, 20, 20).unwrap();
    canary.follow(policy(10, 20));
    assert!(canary.ended(Side::Serving, false).is_err(), "what was counted stays");
}

proptest! {
    #[test]
    fn one_that_never_fails_is_never_taken_back(
        serving in proptest::collection::vec(any::<bool>(), 0..200), min_runs in 1..50_u32, runs in 0..200_u32,
    ) {
        let mut canary = Canary::new(policy(min_runs, 0));
        for failed in serving {
            canary.ended(Side::Serving, failed).unwrap();
        }
        count(&mut canary, Side::Canary, runs, 0).unwrap();
        canary.verdict().unwrap();
    }

    #[test]
    fn one_that_always_fails_beside_one_that_never_does_is_gone_when_it_is_judged(
        min_runs in 1..100_u32, serving in 0..200_u32, tolerance in 0..100_u16,
    ) {
        let mut canary = Canary::new(policy(min_runs, tolerance));
        count(&mut canary, Side::Serving, serving, 0).unwrap();
        count(&mut canary, Side::Canary, min_runs - 1, min_runs).unwrap();
        prop_assert!(canary.ended(Side::Canary, true).is_err());
    }

    #[test]
    fn the_verdict_is_that_of_the_two_rates(
        ended in 1..1000_u32, failed in 0..1000_u32, beside in 1..1000_u32, failed_beside in 0..1000_u32,
        tolerance in 0..100_u16,
    ) {
        let mut canary = Canary::new(policy(u32::MAX, tolerance));
        let (failed, failed_beside) = (failed.min(ended), failed_beside.min(beside));
        count(&mut canary, Side::Canary, ended, failed).unwrap();
        count(&mut canary, Side::Serving, beside, failed_beside).unwrap();
        let rate = |failed: u32, of: u32| f64::from(failed) / f64::from(of);
        let over = rate(failed, ended) - rate(failed_beside, beside) - f64::from(tolerance) / 100.0;
        // Floats do not tell apart what is as good as equal.
        prop_assume!(over.abs() > 1e-9);
        prop_assert_eq!(canary.verdict().is_err(), over > 0.0);
    }

    #[test]
    fn a_run_that_went_well_is_never_held_against_it(
        ended in 1..300_u32, failed in 0..300_u32, beside in 0..300_u32, tolerance in 0..100_u16,
    ) {
        let mut canary = Canary::new(policy(u32::MAX, tolerance));
        count(&mut canary, Side::Canary, ended, failed.min(ended)).unwrap();
        count(&mut canary, Side::Serving, beside, 0).unwrap();
        let before = canary.verdict().is_err();
        canary.ended(Side::Canary, false).unwrap();
        prop_assert!(before || canary.verdict().is_ok());
    }
}
