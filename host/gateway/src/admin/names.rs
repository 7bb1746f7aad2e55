//! Decides whether a request was meant for this listener, and not made by a page that a browser was lured to.
//!
//! A page can make a browser send requests here: under its own origin, or (by a name of its own that resolves to this
//! address, DNS rebinding) even as what the browser takes for the same origin. The first shows in `Origin`, the second
//! in `Host`. Addresses are safe as names, as nobody can make them resolve elsewhere.

use std::net::IpAddr;

use agent_plugin_protocol::Code;
use http::{HeaderMap, HeaderValue, Uri, header, uri::Authority};

/// The names of the operators' listener.
#[derive(Debug)]
pub(crate) struct Names<'a> {
    /// Its address.
    pub(crate) listens_on: IpAddr,
    /// What it is called beside that; lower case.
    pub(crate) configured: &'a [String],
}

impl Names<'_> {
    /// Judges where a request was sent to and which page it comes from, if from any.
    ///
    /// # Errors
    /// The code of what is wrong.
    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Code> {
        let host = host_of(uri, headers).ok_or(Code::OriginUnknownHost)?;
        if !self.knows(host.host()) {
            return Err(Code::OriginUnknownHost);
        }
        let mut origins = headers.get_all(header::ORIGIN).iter();
        // A page of this listener itself (the console) has the origin that the browser sends it to.
        match (origins.next(), origins.next()) {
            (None, _) => Ok(()),
            (Some(origin), None) if is_same(origin, &host) => Ok(()),
            (Some(_), _) => Err(Code::OriginDenied),
        }
    }

    /// Whether operators reach this listener by that name, whatever the port: a tunnel changes it.
    fn knows(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<IpAddr>() {
            Ok(address) => {
                let (mine, address) = (self.listens_on.to_canonical(), address.to_canonical());
                mine.is_unspecified() || address == mine || (mine.is_loopback() && address.is_loopback())
            }
            Err(_) => {
                let name = host.trim_end_matches('.').to_ascii_lowercase();
                name == "localhost" || self.configured.contains(&name)
            }
        }
    }
}

/// Where the request was sent to. One that says it twice, or not at all, was not made by a client of ours.
fn host_of(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    let mut lines = headers.get_all(header::HOST).iter();
    let host: Authority = match (lines.next(), lines.next()) {
        (Some(line), None) => line.to_str().ok()?.parse().ok()?,
        _ => return None,
    };
    // `http` allows `user@host`; nobody sends it in `Host`.
    let plain = !host.as_str().contains('@');
    let agrees = uri.authority().is_none_or(|named| named.as_str().eq_ignore_ascii_case(host.as_str()));
    (plain && agrees).then_some(host)
}

fn is_same(origin: &HeaderValue, host: &Authority) -> bool {
    let page = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let page = page.as_ref().and_then(Uri::authority);
    page.is_some_and(|page| page.as_str().eq_ignore_ascii_case(host.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(listens_on: &str, host: Option<&str>, origin: Option<&str>) -> Result<(), Code> {
        let names =
            Names { listens_on: listens_on.parse().unwrap(), configured: &["admin.example".to_owned()] };
        let mut headers = HeaderMap::new();
        for (name, value) in [(header::HOST, host), (header::ORIGIN, origin)] {
            headers.extend(value.map(|value| (name, HeaderValue::from_str(value).unwrap())));
        }
        names.check(&Uri::from_static("/admin/v1/status"), &headers)
    }

    #[test]
    fn only_this_listener_s_own_names_are_known() {
        for (listens_on, host, known) in [
            ("127.0.0.1", "127.0.0.1:9901", true),
            ("127.0.0.1", "localhost:9901", true),
            ("127.0.0.1", "LocalHost", true),
            ("127.0.0.1", "localhost.:9901", true),
            ("127.0.0.1", "[::1]:9901", true),
            ("127.0.0.1", "127.0.0.1:19901", true),
            ("127.0.0.1", "admin.example:9901", true),
            ("127.0.0.1", "10.0.0.1:9901", false),
            ("127.0.0.1", "evil.example:9901", false),
            ("127.0.0.1", "localhost.evil.example", false),
            ("127.0.0.1", "127.0.0.1.evil.example", false),
            ("127.0.0.1", "0x7f000001", false),
            ("127.0.0.1", "user@localhost", false),
            ("0.0.0.0", "10.0.0.1:9901", true),
            ("0.0.0.0", "evil.example", false),
            ("10.0.0.1", "10.0.0.1:9901", true),
            ("10.0.0.1", "10.0.0.2:9901", false),
            ("10.0.0.1", "127.0.0.1:9901", false),
            ("::", "[2001:db8::1]:9901", true),
        ] {
            let expected = if known { Ok(()) } else { Err(Code::OriginUnknownHost) };
            assert_eq!(judge(listens_on, Some(host), None), expected, "{host} at {listens_on}");
        }
        assert_eq!(judge("127.0.0.1", None, None), Err(Code::OriginUnknownHost));
    }

    #[test]
    fn only_this_listener_s_own_pages_may_ask() {
        for (origin, allowed) in [
            ("http://localhost:9901", true),
            ("https://localhost:9901", true),
            ("http://localhost", false),
            ("http://localhost:9902", false),
            ("http://evil.example", false),
            ("null", false),
            ("", false),
        ] {
            let expected = if allowed { Ok(()) } else { Err(Code::OriginDenied) };
            assert_eq!(judge("127.0.0.1", Some("localhost:9901"), Some(origin)), expected, "{origin}");
        }
    }

    #[test]
    fn who_says_it_twice_is_not_believed() {
        let names = Names { listens_on: "127.0.0.1".parse().unwrap(), configured: &[] };
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        let of = |headers: &HeaderMap, uri: &'static str| names.check(&Uri::from_static(uri), headers);
        assert_eq!(of(&headers, "http://evil.example/admin/v1/status"), Err(Code::OriginUnknownHost));
        assert_eq!(of(&headers, "http://localhost/admin/v1/status"), Ok(()));
        headers.append(header::HOST, HeaderValue::from_static("evil.example"));
        assert_eq!(of(&headers, "/admin/v1/status"), Err(Code::OriginUnknownHost));
    }
}
