use std::time::Duration;

use agent_host_engine::Outgoing;
use serde_json::json;

use super::support::*;

#[tokio::test]
async fn every_socket_is_told_to_go_and_closed_1012_with_its_handshake() {
    let doors = open(|_| {}).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(Client::welcomed(&doors).await);
    }
    doors.script.tell(Some(Outgoing::GoingAway {
        reconnect_after: Duration::from_millis(1730),
        deadline: Duration::from_secs(10),
    }));
    let goodbyes = async {
        let mut codes = Vec::new();
        for client in &mut clients {
            let going = client.frame().await;
            assert_eq!(
                going,
                json!({"type":"going_away","reason":"draining","reconnect_after_ms":1730,"deadline_ms":10000})
            );
        }
        doors.script.drain();
        let (done, ()) = tokio::join!(doors.gateway.shutdown(Duration::from_secs(10)), async {
            for client in &mut clients {
                codes.push(client.close_code().await);
                while client.closed().await.is_some() {}
            }
        });
        (codes, done)
    };
    let (codes, done) = goodbyes.await;
    assert_eq!(codes, vec![Some(1012); 5]);
    assert!(done);
    assert!(
        tokio::net::TcpStream::connect(doors.gateway.public_addr()).await.is_err(),
        "the listener is gone"
    );
}
