//! A bad network: a proxy that cuts, resets, stalls and half-closes what it carries, at random moments.
//!
//! Bytes arrive in order as long as they arrive, as on any network; only their end, and the time they take, is bad.

use std::{
    collections::BTreeMap,
    io,
    net::{Shutdown, SocketAddr},
    ops::Range,
    sync::{Arc, Mutex},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::{Duration, sleep},
};

use super::dice::Dice;

/// See the module. Its connections end with it.
pub(crate) struct Proxy {
    /// Where clients connect in the host's place.
    pub(crate) address: SocketAddr,
    calm: watch::Sender<bool>,
    done: Arc<Mutex<BTreeMap<Fault, usize>>>,
    accepting: JoinHandle<()>,
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Both sides see an orderly end of the stream, in the midst of whatever was said.
    Cut,
    /// Both sides see a reset.
    Reset,
    /// Nothing passes for a while, then it all does; after that it is cut.
    Stall,
    /// As a path that is gone without a word: nothing passes any more, until one side gives up.
    Silence,
    /// The host sees the end of the stream, and may still speak.
    HostHalfClosed,
    /// The client sees the end of the stream, and may still speak.
    ClientHalfClosed,
}

const FAULTS: [Fault; 6] =
    [Fault::Cut, Fault::Reset, Fault::Stall, Fault::Silence, Fault::HostHalfClosed, Fault::ClientHalfClosed];

/// How long a connection is sound, in milliseconds.
const SOUND: Range<u64> = 200..5_000;
/// One connection of so many ends while it is still being opened.
const STILLBORN: u64 = 10;
/// How long a stalled or half-closed connection stays so, in milliseconds.
const STALLED: Range<u64> = 100..3_000;

impl Proxy {
    /// Stands before `host`, and is bad from the start.
    pub(crate) async fn before(host: SocketAddr, mut dice: Dice) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (calm, calmed) = watch::channel(false);
        let done: Arc<Mutex<BTreeMap<Fault, usize>>> = Arc::default();
        let tally = Arc::clone(&done);
        let accepting = tokio::spawn(async move {
            // Without a descriptor the client sees a connection that nobody takes, which is a bad network too.
            while let Ok((client, _)) = listener.accept().await {
                let (dice, calmed, tally) = (dice.another(), calmed.clone(), Arc::clone(&tally));
                tokio::spawn(async move {
                    if let Ok(fault) = carry(client, host, dice, calmed).await {
                        *tally.lock().unwrap().entry(fault).or_default() += 1;
                    }
                });
            }
        });
        Ok(Self { address, calm, done, accepting })
    }

    /// From now on it is a good network.
    pub(crate) fn calm(&self) {
        self.calm.send_replace(true);
    }

    /// How often it did what so far.
    pub(crate) fn done(&self) -> BTreeMap<Fault, usize> {
        self.done.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Carries one connection to its end; which fault ended it, if one of ours did.
async fn carry(
    mut client: TcpStream,
    to: SocketAddr,
    mut dice: Dice,
    mut calmed: watch::Receiver<bool>,
) -> io::Result<Fault> {
    let mut host = TcpStream::connect(to).await?;
    // Nothing waits here that the two would not let wait.
    client.set_nodelay(true)?;
    host.set_nodelay(true)?;
    let fault = FAULTS[usize::try_from(dice.roll(FAULTS.len() as u64)).expect("below six")];
    let sound = if dice.roll(STILLBORN) == 0 { 0..20 } else { SOUND };
    let (sound, stalled) = (dice.millis(&sound), dice.millis(&STALLED));
    let (toward_client, toward_host) = (another_handle(&client)?, another_handle(&host)?);
    {
        let forward = copy_bidirectional(&mut client, &mut host);
        tokio::pin!(forward);
        tokio::select! {
            ended = &mut forward => return Err(ended.err().unwrap_or_else(ended_by_itself)),
            () = until_calm(&mut calmed) => {
                forward.await?;
                return Err(ended_by_itself());
            }
            () = sleep(sound) => {}
        }
        match fault {
            Fault::Cut | Fault::Reset => {}
            // Not polled, nothing passes; what was taken from one side still reaches the other later.
            Fault::Stall => {
                sleep(stalled).await;
                let _ = tokio::time::timeout(stalled, &mut forward).await;
            }
            Fault::Silence => sleep(10 * stalled).await,
            Fault::HostHalfClosed | Fault::ClientHalfClosed => {
                let half = if fault == Fault::HostHalfClosed { &toward_host } else { &toward_client };
                half.shutdown(Shutdown::Write)?;
                let _ = tokio::time::timeout(stalled, &mut forward).await;
            }
        }
    }
    if fault == Fault::Reset {
        client.set_zero_linger()?;
        host.set_zero_linger()?;
    }
    Ok(fault)
}

/// Another handle of the socket, to shut one half of it while it is being copied.
fn another_handle(stream: &TcpStream) -> io::Result<std::net::TcpStream> {
    Ok(rustix::io::dup(stream)?.into())
}

fn ended_by_itself() -> io::Error {
    io::Error::other("one of the two ended it")
}

/// Cancel safe.
async fn until_calm(calmed: &mut watch::Receiver<bool>) {
    if calmed.wait_for(|calm| *calm).await.is_err() {
        // Its proxy is gone: the scenario is over.
        sleep(Duration::from_secs(3600)).await;
    }
}
