//! A test and its twin: the same scenario must be content with a sound host and object to a broken one.
//!
//! A test that never turns red proves nothing. So for each law, one protection of the host is switched off (a
//! failpoint with `off`, or a fault beyond what the law allows), and the law's scenario must then say so.

/// Two tests: `$name` holds the scenario against a sound host, `$name::twin_is_red` against a sabotaged one.
///
/// Both hosts are the build with failpoints; `faults` are in both, `broken` only in the second. An objection
/// of the second must contain `$because`, so that it is red for the reason meant. A scenario that holds more than one
/// protection has a sabotaged host for each: `broken by …, says …; broken by …, says …`.
macro_rules! twin {
    (
        $(#[$meta:meta])*
        $name:ident($scenario:path) on $setup:expr;
        faults $faults:literal; $(broken by $broken:literal, says $because:literal);+
    ) => {
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports, reason = "the scenario may stand anywhere")]
            use super::*;

            #[tokio::test]
            async fn holds() {
                let host = $setup.failpoints($faults).start();
                let found = $scenario(&host).await;
                assert_eq!(found, Ok(()), "the host said:\n{}", host.said());
            }

            #[tokio::test]
            async fn twin_is_red() {
                for (broken, because) in [$((concat!($faults, ";", $broken), $because)),+] {
                    let host = $setup.failpoints(broken).start();
                    let found = $scenario(&host).await;
                    let objection =
                        found.expect_err(&format!("the scenario is content with a host broken by {broken}"));
                    assert!(
                        objection.contains(because),
                        "{broken}: red for another reason: {objection}\n{}",
                        host.said()
                    );
                }
            }
        }
    };
}

use crate::harness::{Host, PATIENCE, http, within};

/// Waits until the host has a verdict on every plugin.
pub(crate) async fn ready(host: &Host) -> Result<(), String> {
    within(3 * PATIENCE, "the host gets ready", async || {
        let answer = http::get(host.address, "/ready", &[], PATIENCE).await?;
        match answer.status {
            200 => Ok(()),
            _ => Err(format!("{answer:?}")),
        }
    })
    .await
}
