//! An issuer of tokens on this machine: a web server that publishes keys, or misbehaves, and counts who asks.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

use super::{artifacts, tokens};

/// How it answers.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// With these bytes.
    Raw(Arc<[u8]>),
    /// Not at all.
    Hangs,
    /// It closes the connection.
    Closes,
}

impl Answer {
    /// A status with a body.
    pub(crate) fn of(status: &str, headers: &str, body: &[u8]) -> Self {
        let head = format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        Self::Raw([head.as_bytes(), body].concat().into())
    }

    /// A set of these keys.
    pub(crate) fn keys(keys: &[Value]) -> Self {
        Self::of(
            "200 OK",
            "Content-Type: application/jwk-set+json\r\n",
            json!({ "keys": keys }).to_string().as_bytes(),
        )
    }
}

/// A running issuer; it ends with this value.
pub(crate) struct Issuer {
    pub(crate) address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Issuer {
    /// Over plain HTTP.
    pub(crate) async fn plain(answer: Answer) -> Self {
        Self::start(answer, None).await
    }

    /// Over TLS, with a certificate of `harness/tls`.
    pub(crate) async fn secure(answer: Answer, certificate: &str) -> Self {
        let chain = CertificateDer::from_pem_slice(&tls(certificate)).unwrap();
        let key = PrivateKeyDer::from_pem_slice(&tls("server.key.pem")).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = builder.with_single_cert(vec![chain], key).unwrap();
        Self::start(answer, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start(answer: Answer, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (answer, asked) = (Arc::new(Mutex::new(answer)), Arc::new(AtomicUsize::new(0)));
        let (now, count) = (Arc::clone(&answer), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (now, count, tls) = (Arc::clone(&now), Arc::clone(&count), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &now, &count).await,
                        // An error is a client that does not believe the certificate.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &now, &count).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, answer, asked, task }
    }

    /// From now on it answers like this.
    pub(crate) fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// Requests so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &Mutex<Answer>, asked: &AtomicUsize) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_buf(&mut request).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
    }
    asked.fetch_add(1, Ordering::SeqCst);
    let answer = answer.lock().unwrap().clone();
    match answer {
        // A client may have had enough of it.
        Answer::Raw(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Answer::Hangs => std::future::pending().await,
        Answer::Closes => {}
    }
}

/// A file of `harness/tls`.
pub(crate) fn tls(name: &str) -> Vec<u8> {
    std::fs::read(artifacts::root().join("tests/suite/harness/tls").join(name)).unwrap()
}

/// A key of the gateway's own tests.
fn key(name: &str) -> Vec<u8> {
    std::fs::read(artifacts::root().join("host/gateway/src/auth/keys").join(name)).unwrap()
}

/// The public part of a key (`rsa`, `rsa-other`, `ec`), called `kid`, as it is published.
pub(crate) fn published(name: &str, kid: &str) -> Value {
    let mut jwk: Value = serde_json::from_slice(&key(&format!("{name}.jwk.json"))).unwrap();
    jwk["kid"] = kid.into();
    jwk
}

/// A good token of that user, signed with that key and naming it `kid`.
pub(crate) fn token(name: &str, kid: &str, user: &str) -> String {
    let pem = key(&format!("{name}.pem"));
    let (algorithm, key) = match name {
        "ec" => (Algorithm::ES256, EncodingKey::from_ec_pem(&pem)),
        _ => (Algorithm::RS256, EncodingKey::from_rsa_pem(&pem)),
    };
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, &tokens::claims(user), &key.unwrap()).unwrap()
}
