//! Fetches one small document from the web for the host itself: no redirect, no proxy, no more bytes than it may have.

use std::{io, net::SocketAddr, sync::Arc};

use agent_host_core::{
    failpoint,
    failpoint::Action,
    web_address::{WebAddress, WebHost},
};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs::default_provider,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    },
};

/// Whose certificates are believed.
#[derive(Debug, Clone)]
pub enum Authorities {
    /// Those that this machine believes, looked up at each fetch; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
    OfThisMachine,
    /// These and no others.
    Only(Vec<CertificateDer<'static>>),
}

impl Authorities {
    /// The certificates of a PEM file.
    ///
    /// # Errors
    /// Why they are none, in half a sentence.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let certificates = read.map_err(|error| format!("it is no PEM: {error}"))?;
        let roots = store(&certificates).map_err(|error| format!("a certificate in it is none: {error}"))?;
        match roots.is_empty() {
            true => Err("there is no certificate in it".to_owned()),
            false => Ok(Self::Only(certificates)),
        }
    }
}

/// The document at `address`, of at most `most` bytes. Whoever calls sets the deadline. Cancel safe: a dropped call closes
/// its connection.
///
/// # Errors
/// What happened, for operators.
pub(crate) async fn get(
    address: &WebAddress,
    authorities: &Authorities,
    most: usize,
) -> Result<Vec<u8>, String> {
    let tcp = connect(address).await?;
    if !address.is_secure() {
        return exchange(tcp, address, most).await;
    }
    let name = match address.host() {
        WebHost::Name(name) => {
            ServerName::try_from(name.clone()).map_err(|_| "its name is none".to_owned())?
        }
        WebHost::Address(ip) => ServerName::IpAddress((*ip).into()),
    };
    let connector = TlsConnector::from(Arc::new(client(authorities).await?));
    let tls = connector.connect(name, tcp).await;
    exchange(tls.map_err(|error| format!("TLS with {} failed: {error}", address.authority()))?, address, most)
        .await
}

/// The first of its addresses that answers. A name that should be this machine is looked at: it may lead elsewhere.
async fn connect(address: &WebAddress) -> Result<TcpStream, String> {
    let found: Vec<SocketAddr> = match address.host() {
        WebHost::Address(ip) => vec![SocketAddr::new(*ip, address.port())],
        WebHost::Name(name) => {
            let found = tokio::net::lookup_host((name.as_str(), address.port())).await;
            found.map_err(|error| format!("the name {name} was not resolved: {error}"))?.collect()
        }
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address that may be used");
    for socket in found.into_iter().filter(|at| address.is_secure() || at.ip().is_loopback()) {
        match TcpStream::connect(socket).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(format!("no connection to {}: {last}", address.authority()))
}

async fn client(authorities: &Authorities) -> Result<ClientConfig, String> {
    let roots = match authorities {
        Authorities::Only(certificates) => store(certificates).map_err(|error| error.to_string())?,
        Authorities::OfThisMachine => of_this_machine().await?,
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| format!("TLS: {error}"))?;
    let mut client = builder.with_root_certificates(roots).with_no_client_auth();
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(client)
}

fn store(certificates: &[CertificateDer<'static>]) -> Result<RootCertStore, tokio_rustls::rustls::Error> {
    let mut roots = RootCertStore::empty();
    certificates.iter().try_for_each(|certificate| roots.add(certificate.clone()))?;
    Ok(roots)
}

async fn of_this_machine() -> Result<RootCertStore, String> {
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let loaded = loaded.map_err(|error| format!("the machine's authorities were not read: {error}"))?;
    let mut roots = RootCertStore::empty();
    // One that is not understood is as one that is not there.
    let (read, _not) = roots.add_parsable_certificates(loaded.certs);
    match (read, loaded.errors.first()) {
        (0, Some(error)) => Err(format!("the machine's authorities were not read: {error}")),
        (0, None) => Err("this machine believes no authority (install ca-certificates)".to_owned()),
        _ => Ok(roots),
    }
}

/// One request on one connection.
async fn exchange<S>(stream: S, address: &WebAddress, most: usize) -> Result<Vec<u8>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| format!("the connection to {} broke: {error}", address.authority());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let request = Request::get(address.path())
        .header(header::HOST, address.authority())
        .header(header::ACCEPT, "application/jwk-set+json, application/json")
        .header(header::USER_AGENT, concat!("agent-host/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("no request can be made of the address: {error}"))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        refuse(response.status())?;
        let body = Limited::new(response.into_body(), most).collect().await;
        body.map(|body| body.to_bytes().to_vec()).map_err(|error| match error.is::<LengthLimitError>() {
            true => format!("the answer is longer than {} KiB", most >> 10),
            false => format!("the answer broke off: {error}"),
        })
    };
    tokio::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // Over, and what it read is with the answer; so is the error, if it was one.
        _ = connection => answer.await,
    }
}

fn refuse(status: StatusCode) -> Result<(), String> {
    // For a broken twin: a host that takes whatever comes with an answer.
    if failpoint!("services.key_set.status") == Some(Action::Off) {
        return Ok(());
    }
    if status.is_redirection() {
        return Err(format!(
            "it answered {status}; redirects are not followed: give the address that they lead to"
        ));
    }
    if status == StatusCode::OK { Ok(()) } else { Err(format!("it answered {status}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_certificate_in_pem() {
        for pem in [
            &b""[..],
            b"no certificate",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
        ] {
            assert!(Authorities::from_pem(pem).is_err(), "{}", String::from_utf8_lossy(pem));
        }
    }

    #[test]
    fn only_200_is_an_answer() {
        for status in [200, 201, 204, 206, 301, 302, 304, 307, 308, 400, 404, 500, 503] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(refuse(status).is_ok(), status == StatusCode::OK, "{status}");
        }
    }
}
