//! The older wire's clients give up what is silent: a run after 15 s, a frame after 3 s. The native protocol's do not.

use super::*;
use crate::netra::Codec;

pub(super) async fn older() -> Wire {
    wire_of(4096, |_| {}, |principal, _| Speech::Netra(Box::new(Codec::v1(principal)))).await
}

/// The frames from here to the end of a run that is begun and then silent for a minute, each with when it came.
async fn silent_run(wire: &mut Wire) -> Vec<(Duration, Value)> {
    let start = Instant::now();
    wire.script.tell(Some(event(1, EventKind::AgentStarted, "echo", "{}")));
    let (mut frames, mut ended) = (Vec::new(), false);
    loop {
        let end = start + Duration::from_secs(60);
        tokio::select! {
            message = wire.client.next() => match message.unwrap().unwrap() {
                Message::Text(text) => {
                    frames.push((start.elapsed(), serde_json::from_str::<Value>(&text).unwrap()));
                    if frames.last().unwrap().1["type"] == "agent_completed" {
                        return frames;
                    }
                }
                // Reading answers it.
                _ => wire.client.flush().await.unwrap(),
            },
            () = tokio::time::sleep_until(end), if !ended => {
                ended = true;
                wire.script.tell(Some(event(2, EventKind::AgentCompleted, "echo", r#"{"status":"ok","text":"done"}"#)));
            }
        }
    }
}

/// The longest time between two events of the run.
fn longest_gap(frames: &[(Duration, Value)]) -> Duration {
    let events: Vec<Duration> = frames
        .iter()
        .filter(|(_, frame)| frame["type"].as_str().is_some_and(|kind| kind.starts_with("agent_")))
        .map(|(at, _)| *at)
        .collect();
    events.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_silent_is_spoken_of_before_its_client_gives_it_up() {
    let frames = silent_run(&mut older().await).await;
    assert!(longest_gap(&frames) <= Duration::from_secs(15), "{frames:?}");
    let said: Vec<&Value> = frames.iter().map(|(_, f)| f).filter(|f| f["from_host"] == true).collect();
    assert!((4..=6).contains(&said.len()), "{said:?}");
    for frame in said {
        assert_eq!((&frame["type"], &frame["agent_name"]), (&"agent_thinking".into(), &"echo".into()));
        assert!(frame["run_id"] == "r1" && frame["seq"].is_null(), "the log has no such event: {frame}");
        assert!(frame["payload"]["reasoning"].as_str().unwrap().contains("nothing new"), "{frame}");
    }
    // The native protocol tells what the log has, and nothing else: there the gap is as long as the silence.
    assert!(longest_gap(&silent_run(&mut wire(4096, |_| {}).await).await) >= Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_said_of_a_run_that_is_over() {
    let mut wire = older().await;
    silent_run(&mut wire).await;
    let end = Instant::now() + Duration::from_secs(120);
    while let Ok(message) = tokio::time::timeout_at(end, wire.client.next()).await {
        let message = message.unwrap().unwrap();
        assert!(!message.to_string().contains("agent_thinking"), "{message}");
        wire.client.flush().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_accepted_is_spoken_of_once_and_within_3_s() {
    for (content, within) in [("forgotten", "message_pending"), ("hang", "INTERNAL_ERROR")] {
        let mut wire = older().await;
        wire.client.next().await.unwrap().unwrap();
        let start = Instant::now();
        let said = format!(r#"{{"type":"chat","content":"{content}"}}"#);
        wire.client.send(Message::text(said)).await.unwrap();
        let frame = json(wire.client.next().await.unwrap().unwrap()).to_string();
        assert!(frame.contains(within), "{frame}");
        assert!(start.elapsed() <= Duration::from_secs(3), "{:?}", start.elapsed());
        let next = wire.client.next().await.unwrap().unwrap();
        assert!(next.to_string().contains(r#""ping""#), "it is said once: {next}");
    }
}
