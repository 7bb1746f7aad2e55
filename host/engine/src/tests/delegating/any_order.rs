//! The law: whatever agents do with their work, at once and in any order, the run is well-formed and ends.

use proptest::prelude::*;

use super::*;

/// What an agent may do; the names are those of the agents below.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let tool =
        |tool: &'static str| Step::Post(request::TOOLS_CALL, json!({"name": tool, "arguments": {"a": 1}}));
    let step = prop_oneof![
        4 => Just(Step::Think("x")),
        4 => Just(Step::Delta("x")),
        3 => (0_u64..40).prop_map(|ms| Step::Sleep(Duration::from_millis(ms))),
        2 => Just(tool("add")),
        1 => Just(tool("slow")),
        1 => Just(Step::Raw(99, "{}")),
        1 => Just(Step::DeltaOf("another", "x")),
        1 => Just(Step::Answers(1)),
        3 => (1_u8..=6).prop_map(|n| post(&format!("super{n}"))),
    ];
    let end = prop_oneof![
        4 => Just(Step::Reply("done")),
        1 => Just(Step::Complete(streamed())),
        1 => Just(Step::CompleteRaw("nonsense")),
        1 => Just(Step::Die(Exit::Signal(11))),
        1 => Just(Step::Never),
        1 => Just(Step::UntilCancelled),
    ];
    (prop::collection::vec(step, 0..10), end).prop_map(|(mut steps, end)| {
        steps.push(end);
        steps
    })
}

async fn holds(plugins: Vec<Vec<Step>>, cancelled_after: Option<u64>) {
    let names: Vec<String> = (0..plugins.len()).map(|n| format!("super{n}")).collect();
    let runtime = names
        .iter()
        .zip(plugins)
        .fold(FakeRuntime::default(), |runtime, (name, steps)| runtime.with(name, boss(steps)));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let settings = names.iter().map(|name| plugin(name)).collect();
    let host = Host::new(settings, runtime);
    host.until(|status| !status.starting).await;
    let mut client = host.client("ann");
    client.send(message("m1", "hi")).await;
    let accepted = client.accepted().await;
    if let Some(ms) = cancelled_after {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        client.session.handle(Incoming::Cancel { run: accepted.run.clone() }).await;
    }
    let seen = client.finish(accepted).await;
    host.log("ann", &seen.accepted.thread).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_work_in_any_order_gives_a_well_formed_run(
        plugins in prop::collection::vec(steps(), 7),
        cancelled_after in prop::option::weighted(0.3, 0_u64..200),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(holds(plugins, cancelled_after));
    }
}
