//! Decides which pages may connect: a browser sends the user's connection from whatever page asks it to.

use agent_host_core::{failpoint, failpoint::Action};
use agent_plugin_protocol::Code;
use http::{HeaderMap, Uri, header};

use crate::refusal::UpgradeRefusal;

/// Admits requests without an origin (no browser), from this host's own pages, and from the allowed ones.
pub(crate) fn check(headers: &HeaderMap, allowed: &[String]) -> Result<(), UpgradeRefusal> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    // Off for a broken twin: a host that talks to a user's browser, whatever page sends it.
    if failpoint!("gateway.origins") == Some(Action::Off) {
        return Ok(());
    }
    let denied = || UpgradeRefusal::forbidden(Code::OriginDenied);
    let origin = origin.to_str().map_err(|_| denied())?;
    let listed =
        allowed.iter().any(|one| one == "*" || one.trim_end_matches('/').eq_ignore_ascii_case(origin));
    if listed || is_own(headers, origin) { Ok(()) } else { Err(denied()) }
}

/// Whether the page came from the name by which the client reached us.
fn is_own(headers: &HeaderMap, origin: &str) -> bool {
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
    let page = origin.parse::<Uri>().ok();
    match (host, page.as_ref().and_then(Uri::authority)) {
        (Some(host), Some(page)) => page.as_str().eq_ignore_ascii_case(host),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_allowed_pages_may_connect() {
        let list = ["https://app.example".to_owned()];
        for (origin, allowed, ok) in [
            (None, &list[..], true),
            (Some("https://app.example"), &list[..], true),
            (Some("https://APP.example"), &list[..], true),
            (Some("http://app.example"), &list[..], false),
            (Some("https://app.example.evil"), &list[..], false),
            (Some("https://evil.example"), &list[..], false),
            (Some("http://host.example:8080"), &[][..], true),
            (Some("http://host.example"), &[][..], false),
            (Some("null"), &[][..], false),
            (Some("null"), &["*".to_owned()][..], true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("host", HeaderValue::from_static("host.example:8080"));
            if let Some(origin) = origin {
                headers.insert("origin", HeaderValue::from_static(origin));
            }
            assert_eq!(check(&headers, allowed).is_ok(), ok, "{origin:?}");
        }
    }
}
