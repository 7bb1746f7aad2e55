use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Push(u8),
    Pop,
    /// Drops the items of which the number is divisible.
    Drop(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..4_u8).prop_map(Step::Push),
        3 => Just(Step::Pop),
        1 => (2..5_u32).prop_map(Step::Drop),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn nobody_is_served_twice_before_another_who_waits(steps in steps(), most in 1..20_usize) {
        let mut queue = FairQueue::default();
        // What is in it, by a slow and plain account: (owner, number), and how often each was served since it waits.
        let mut waiting: Vec<(u8, u32)> = Vec::new();
        let mut passed: HashMap<(u8, u8), u32> = HashMap::new();
        for (number, step) in (0_u32..).zip(steps) {
            match step {
                Step::Push(owner) => {
                    let pushed = queue.push(most, owner, (owner, number));
                    prop_assert_eq!(pushed.is_ok(), waiting.len() < most);
                    if pushed.is_ok() {
                        if waiting.iter().all(|(other, _)| *other != owner) {
                            passed.retain(|(waits, _), _| *waits != owner);
                        }
                        waiting.push((owner, number));
                    }
                }
                Step::Pop => {
                    let served = queue.pop();
                    prop_assert_eq!(served.is_some(), !waiting.is_empty());
                    let Some((owner, number)) = served else { continue };
                    let first = waiting.iter().position(|(other, _)| *other == owner);
                    prop_assert_eq!(first.map(|at| waiting.remove(at)), Some((owner, number)), "not its first");
                    passed.retain(|(waits, _), _| *waits != owner);
                    let others: std::collections::HashSet<u8> = waiting.iter().map(|(other, _)| *other).collect();
                    for other in others.into_iter().filter(|other| *other != owner) {
                        let times = passed.entry((other, owner)).or_default();
                        *times += 1;
                        prop_assert!(*times <= 1, "{owner} was served {times} times while {other} waited");
                    }
                }
                Step::Drop(divisor) => {
                    queue.retain(|(_, number)| number % divisor != 0);
                    waiting.retain(|(_, number)| number % divisor != 0);
                }
            }
            prop_assert_eq!((queue.len(), queue.is_empty()), (waiting.len(), waiting.is_empty()));
        }
    }
}
