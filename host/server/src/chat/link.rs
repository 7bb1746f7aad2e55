//! Opens a connection to a host, and says why not.

use std::time::Duration;

use agent_plugin_protocol::Code;
use serde::Deserialize;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{
        Error,
        client::IntoClientRequest as _,
        http::{HeaderValue, Response, header},
    },
};

/// An open connection.
pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum Closed {
    /// Nobody there, or not now: the same may work later.
    Unreachable { reason: String, not_before: Duration },
    /// The same will fail again.
    Refused(String),
}

/// What a host says over HTTP, as far as it came.
#[derive(Debug, Default, Deserialize)]
struct Problem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    hint: String,
}

/// Connects. Cancel safe: a connection that is not done yet is dropped.
pub(crate) async fn connect(url: &str, token: &str) -> Result<Socket, Closed> {
    let refused = |error: &dyn std::fmt::Display| Closed::Refused(format!("{url}: {error}"));
    let mut request = url.into_client_request().map_err(|error| refused(&error))?;
    let bearer = HeaderValue::from_str(&format!("Bearer {token}"));
    let bearer = bearer.map_err(|_| refused(&"the token is no text for a header"))?;
    request.headers_mut().insert(header::AUTHORIZATION, bearer);
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("agent-host.v1"));
    let unreachable = |reason: String| Closed::Unreachable { reason, not_before: Duration::ZERO };
    match timeout(PATIENCE, tokio_tungstenite::connect_async(request)).await {
        Err(_) => Err(unreachable(format!("{url} did not answer in {} s", PATIENCE.as_secs()))),
        Ok(Err(Error::Http(response))) => Err(judge(url, &response)),
        Ok(Err(error)) => Err(unreachable(format!("{url}: {error}"))),
        Ok(Ok((socket, _))) => Ok(socket),
    }
}

/// 429 and 503 pass; whatever else a host refuses with, it will refuse with again.
fn judge(url: &str, response: &Response<Option<Vec<u8>>>) -> Closed {
    let body = response.body().as_deref().unwrap_or_default();
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let status = response.status().as_u16();
    let hint = match Code::parse(&problem.code) {
        Some(code) if problem.hint.is_empty() => code.remedy().to_owned(),
        Some(_) | None => problem.hint,
    };
    let parts = [problem.code, problem.detail, hint];
    let said: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    let reason = format!("{url}: HTTP {status}: {}", said.join(": "));
    let retry_after =
        response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    match status {
        429 | 500..=599 => {
            Closed::Unreachable { reason, not_before: Duration::from_secs(retry_after.unwrap_or(0)) }
        }
        _ => Closed::Refused(reason),
    }
}

/// For the connection and the upgrade. A host answers both within a second.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Response<Option<Vec<u8>>> {
        let response = Response::builder().status(status).header(header::RETRY_AFTER, "3");
        response.body(Some(body.as_bytes().to_vec())).unwrap()
    }

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        let refused = judge("u", &answer(401, r#"{"code":"auth.expired","detail":"it expired"}"#));
        let Closed::Refused(reason) = refused else { panic!("{refused:?}") };
        assert!(reason.contains("auth.expired: it expired: ") && reason.contains(Code::AuthExpired.remedy()));
        let later = judge("u", &answer(503, ""));
        let Closed::Unreachable { not_before, .. } = later else { panic!("{later:?}") };
        assert_eq!(not_before, Duration::from_secs(3));
    }
}
