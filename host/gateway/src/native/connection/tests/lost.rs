//! Whose end is a loss of the client, and whose is the host's own act.

use std::sync::atomic::Ordering;

use super::*;

/// How often the conversation is told that its client is lost.
async fn lost(end: impl AsyncFnOnce(&mut Wire)) -> usize {
    let mut wire = wire(64 * 1024, |_| {}).await;
    wire.client.next().await.unwrap().unwrap();
    end(&mut wire).await;
    wire.task.await.unwrap();
    wire.script.lost.load(Ordering::SeqCst)
}

#[tokio::test(start_paused = true)]
async fn a_client_is_lost_that_closes_or_breaks_off_or_falls_silent() {
    assert_eq!(lost(async |wire| wire.client.close(None).await.unwrap()).await, 1);
    let breaks_off = async |wire: &mut Wire| {
        let (other, _) = duplex(1);
        *wire.client.get_mut() = other;
    };
    assert_eq!(lost(breaks_off).await, 1);
    // Nothing is read, so no ping is answered.
    assert_eq!(lost(async |_| {}).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_the_host_closes_is_not_lost() {
    assert_eq!(lost(async |wire| wire.stop.cancel()).await, 0, "the host goes");
    assert_eq!(lost(async |wire| wire.script.tell(None)).await, 0, "a slow consumer");
    let breaks_a_rule = async |wire: &mut Wire| wire.client.send(Message::binary(vec![1])).await.unwrap();
    assert_eq!(lost(breaks_a_rule).await, 0);
    let is_broken = async |wire: &mut Wire| {
        let message = r#"{"type":"user_message","id":"m1","content":"panic"}"#;
        wire.client.send(Message::text(message)).await.unwrap();
    };
    assert_eq!(lost(is_broken).await, 0, "a bug of the host");
    for cut in [false, true] {
        let dismissed = async |wire: &mut Wire| {
            let card = wire.open.find("c1").unwrap();
            card.cut.store(cut, Ordering::Relaxed);
            card.dismissed.notify_one();
        };
        assert_eq!(lost(dismissed).await, 0, "an operator, cut: {cut}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_older_wire_s_client_is_lost_alike() {
    let mut wire = older::older().await;
    wire.client.close(None).await.unwrap();
    wire.task.await.unwrap();
    assert_eq!(wire.script.lost.load(Ordering::SeqCst), 1);
}
