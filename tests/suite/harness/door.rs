//! A door that stays where it is while the hosts behind it come and go: nobody else can take its port meanwhile.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// It carries, or cuts all and takes none. Its connections end with it.
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    open: watch::Sender<bool>,
    to: Arc<Mutex<SocketAddr>>,
    accepting: JoinHandle<()>,
}

impl Door {
    /// An open one before that address.
    pub(crate) async fn before(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (open, seen) = watch::channel(true);
        let to = Arc::new(Mutex::new(to));
        let target = Arc::clone(&to);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, *target.lock().unwrap(), seen.clone()));
            }
        });
        Self { address, open, to, accepting }
    }

    /// Whoever comes from now on is led there.
    pub(crate) fn leads_to(&self, to: SocketAddr) {
        *self.to.lock().unwrap() = to;
    }

    pub(crate) fn close(&self) {
        self.open.send_replace(false);
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(mut client: TcpStream, to: SocketAddr, mut open: watch::Receiver<bool>) {
    let carried = async {
        let mut host = TcpStream::connect(to).await?;
        copy_bidirectional(&mut client, &mut host).await
    };
    tokio::select! {
        // However it ends, the client sees an end.
        _ = carried => {}
        // An error: the door is gone.
        _ = open.wait_for(|open| !open) => {}
    }
}
