use proptest::prelude::*;

use super::*;

const POLICY: KeySetPolicy =
    KeySetPolicy { refresh: Duration::from_secs(300), stale: Duration::from_secs(3600), pace: PACE };
const PACE: Duration = Duration::from_secs(30);

/// A plan with its clock.
struct Bench {
    plan: KeySetPlan,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        Self { plan: KeySetPlan::new(POLICY, now), now }
    }

    fn after(&mut self, seconds: u64) -> &mut Self {
        self.now += Duration::from_secs(seconds);
        self
    }

    fn fetch(&mut self, fetched: Fetched) -> Duration {
        assert!(self.plan.begin(self.now), "nothing is due");
        self.plan.settle(fetched, self.now, 0.0)
    }

    fn standing(&self) -> Standing {
        self.plan.standing(self.now)
    }

    fn due_in(&self) -> Option<Duration> {
        self.plan.wake_at(self.now).map(|at| at.saturating_duration_since(self.now))
    }
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn the_first_fetch_is_due_at_once_and_the_next_after_the_interval() {
    let mut bench = Bench::new();
    assert_eq!((bench.standing(), bench.due_in()), (Standing::Absent, Some(Duration::ZERO)));
    assert_eq!(bench.fetch(Fetched::Keys), POLICY.refresh);
    assert_eq!((bench.standing(), bench.due_in()), (Standing::Current, Some(POLICY.refresh)));
    assert!(!bench.plan.begin(bench.now));
}

#[test]
fn one_fetch_goes_on_at_a_time() {
    let mut bench = Bench::new();
    assert!(bench.plan.begin(bench.now));
    bench.after(5);
    assert_eq!((bench.plan.begin(bench.now), bench.due_in()), (false, None));
    assert_eq!(bench.plan.demand(bench.now), Demand::Coming);
}

#[test]
fn without_keys_the_pauses_begin_short_and_double() {
    let mut bench = Bench::new();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let pause = bench.fetch(Fetched::Failed);
        pauses.push(pause.as_secs());
        bench.after(pause.as_secs());
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(bench.standing(), Standing::Absent);
    assert_eq!(bench.fetch(Fetched::Keys), POLICY.refresh);
    assert_eq!(bench.standing(), Standing::Current);
}

#[test]
fn keys_outlive_their_issuer_for_so_long_and_no_longer() {
    let mut bench = Bench::new();
    bench.fetch(Fetched::Keys);
    bench.after(300);
    assert_eq!(bench.fetch(Fetched::Failed), LONGEST_PAUSE);
    assert_eq!(bench.standing(), Standing::Stale);
    for _ in 0..54 {
        bench.after(60).fetch(Fetched::Failed);
    }
    assert_eq!(bench.plan.age(bench.now), Some(secs(3540)));
    assert_eq!((bench.standing(), bench.due_in()), (Standing::Stale, Some(secs(60))));
    bench.after(60);
    assert_eq!(bench.standing(), Standing::Expired);
    bench.fetch(Fetched::Keys);
    assert_eq!(bench.standing(), Standing::Current);
}

#[test]
fn stale_keys_wake_the_plan_when_they_expire() {
    let policy = KeySetPolicy { stale: secs(310), ..POLICY };
    let mut bench = Bench { plan: KeySetPlan::new(policy, Instant::now()), now: Instant::now() };
    bench.fetch(Fetched::Keys);
    bench.after(300).fetch(Fetched::Failed);
    assert_eq!(bench.due_in(), Some(secs(10)), "before the next fetch is due");
}

#[test]
fn a_set_without_a_key_withdraws_the_old_ones_and_is_asked_for_again_soon() {
    let mut bench = Bench::new();
    bench.fetch(Fetched::Keys);
    assert_eq!(bench.after(300).fetch(Fetched::NoKey), FIRST_PAUSE);
    assert_eq!(bench.standing(), Standing::Empty);
    bench.after(1).fetch(Fetched::Failed);
    assert_eq!(bench.standing(), Standing::Empty, "a failure does not bring them back");
}

#[test]
fn a_demand_fetches_now_and_then_once_in_the_pace() {
    let mut bench = Bench::new();
    bench.fetch(Fetched::Keys);
    bench.after(1);
    assert_eq!(bench.plan.demand(bench.now), Demand::Coming);
    bench.fetch(Fetched::Keys);
    for _ in 0..1000 {
        assert_eq!(bench.plan.demand(bench.now), Demand::Later(PACE));
    }
    bench.after(29);
    assert!(!bench.plan.begin(bench.now));
    bench.after(1).fetch(Fetched::Keys);
    assert_eq!(bench.due_in(), Some(POLICY.refresh), "they were all answered by that one");
}

/// What can happen to a plan.
#[derive(Debug, Clone, Copy)]
enum Step {
    Demand,
    /// So many milliseconds pass, in which every fetch ends like this.
    Wait(u64, Fetched),
}

fn step() -> impl Strategy<Value = Step> {
    let fetched =
        prop_oneof![4 => Just(Fetched::Keys), 2 => Just(Fetched::Failed), 1 => Just(Fetched::NoKey)];
    prop_oneof![1 => Just(Step::Demand), 1 => (0u64..40_000, fetched).prop_map(|(ms, f)| Step::Wait(ms, f))]
}

/// A task that looks when it was told to, and issuers that answer at once.
struct Task {
    bench: Bench,
    spread: f64,
    /// When the plan would fetch by itself.
    scheduled: Instant,
    /// The first demand that is not answered yet.
    open: Option<Instant>,
    /// Fetches that are there for a demand only.
    demanded: Vec<Instant>,
}

impl Task {
    fn new(spread: f64) -> Self {
        let bench = Bench::new();
        let scheduled = bench.now;
        Self { bench, spread, scheduled, open: None, demanded: Vec::new() }
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Demand => {
                let answer = self.bench.plan.demand(self.bench.now);
                prop_assert!(!matches!(answer, Demand::Later(left) if left > PACE));
                self.open = self.open.or(Some(self.bench.now));
            }
            Step::Wait(ms, fetched) => {
                let until = self.bench.now + Duration::from_millis(ms);
                while let Some(at) = self.bench.plan.wake_at(self.bench.now).filter(|at| *at <= until) {
                    self.bench.now = at.max(self.bench.now);
                    self.look(fetched)?;
                }
                self.bench.now = until;
            }
        }
        Ok(())
    }

    fn look(&mut self, fetched: Fetched) -> Result<(), TestCaseError> {
        let now = self.bench.now;
        if !self.bench.plan.begin(now) {
            prop_assert_eq!(self.bench.standing(), Standing::Expired, "woken for nothing");
            return Ok(());
        }
        let asked = self.open.take();
        if let Some(asked) = asked {
            prop_assert!(now - asked <= PACE, "a demand was left for {:?}", now - asked);
        }
        if now < self.scheduled {
            prop_assert!(asked.is_some(), "a fetch that nobody asked for");
            self.demanded.push(now);
        }
        self.scheduled = now + self.bench.plan.settle(fetched, now, self.spread);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever names are made up: they cost one fetch in a pace, and each is looked for within it.
    #[test]
    fn demands_cost_one_fetch_in_a_pace_and_are_all_answered(
        steps in prop::collection::vec(step(), 0..120),
        spread in 0.0..1.0f64,
    ) {
        let mut task = Task::new(spread);
        for step in steps {
            task.step(step)?;
        }
        for pair in task.demanded.windows(2) {
            prop_assert!(pair[1] - pair[0] >= PACE, "{:?} apart", pair[1] - pair[0]);
        }
    }

    /// Whatever failed: one longest pause after the issuer heals, the keys are current again.
    #[test]
    fn it_always_heals(steps in prop::collection::vec(step(), 0..120)) {
        let mut task = Task::new(1.0);
        for step in steps {
            task.step(step)?;
        }
        task.step(Step::Wait(LONGEST_PAUSE.mul_f64(1.2).as_millis() as u64, Fetched::Keys))?;
        prop_assert_eq!(task.bench.standing(), Standing::Current);
    }
}
