//! A connection whose token is revoked is closed at once, however quiet it is.

use std::time::SystemTime;

use agent_host_core::revocation::{Revocation, Revoked};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_quiet_connection_on_a_revoked_token_is_closed_within_a_second() {
    let mut wire = wire(4096, |_| {}).await;
    wire.client.next().await.unwrap().unwrap();
    // Between two looks at its timers, which come with the pings.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let start = Instant::now();
    let now = SystemTime::now() + Duration::from_secs(1);
    let revoked = Revoked::User { scope: wire.scope.clone(), before: now };
    wire.revoked.revoke(Revocation { revoked, until: None }, now).unwrap();
    let code = loop {
        if let Message::Close(Some(close)) = wire.client.next().await.unwrap().unwrap() {
            break u16::from(close.code);
        }
    };
    println!("closed with {code} after {:?} of the paused clock", start.elapsed());
    assert_eq!(code, 4503);
    assert!(start.elapsed() <= Duration::from_secs(1), "{:?}", start.elapsed());
}
