//! How long a client waits for the end of what it orders: the preferences `respond-async` and `wait` of RFC 7240.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

/// How long is waited before an answer says that the order goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Not at all.
    Never,
    /// So long.
    AtMost(Duration),
    /// Until it has ended, which each order does by a deadline of its own.
    ToItsEnd,
}

/// What a client prefers, as far as it is heeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Preference {
    pub(crate) wait: Wait,
    said: Said,
}

/// Which preferences a request has, the first of each name. One whose value cannot be understood is none: RFC 7240 has
/// them passed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Said {
    respond_async: bool,
    wait: Option<Wait>,
}

impl Preference {
    /// Of a request; `unsaid` is what holds where it says nothing.
    pub(crate) fn of(headers: &HeaderMap, unsaid: Wait) -> Self {
        let said = Said::of(headers);
        let wait = match (said.wait, said.respond_async) {
            // A wait without an end is none that `respond-async` could be held to.
            (None | Some(Wait::ToItsEnd), true) => Wait::Never,
            (Some(wait), _) => wait,
            (None, false) => unsaid,
        };
        Self { wait, said }
    }

    /// The `Preference-Applied` of the answer; `None`: nothing was preferred.
    pub(crate) fn applied(&self) -> Option<HeaderValue> {
        let respond_async = self.said.respond_async.then(|| "respond-async".to_owned());
        let wait = self.said.wait.filter(|wait| *wait == self.wait).map(|wait| match wait {
            Wait::Never => "wait=0".to_owned(),
            Wait::AtMost(long) => format!("wait={}", long.as_secs()),
            Wait::ToItsEnd => "wait".to_owned(),
        });
        let words = respond_async.into_iter().chain(wait).collect::<Vec<_>>().join(", ");
        // Words and digits are always a header's.
        HeaderValue::try_from(words).ok().filter(|words| !words.is_empty())
    }
}

impl Said {
    fn of(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(PREFER).iter().filter_map(|line| line.to_str().ok());
        let mut said = Self::default();
        for one in lines.flat_map(|line| line.split(',')) {
            // What follows a semicolon are parameters, of which these two have none.
            let one = one.split(';').next().unwrap_or_default();
            let (name, value) = one.split_once('=').unwrap_or((one, ""));
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("respond-async") {
                said.respond_async = true;
            } else if name.eq_ignore_ascii_case("wait") && said.wait.is_none() {
                said.wait = wait(value);
            }
        }
        said
    }
}

/// The value of `wait`: none, or digits. As many as are too many for the type mean longer than anything lasts.
fn wait(value: &str) -> Option<Wait> {
    match value {
        "" => Some(Wait::ToItsEnd),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            match digits.parse().unwrap_or(u32::MAX) {
                0 => Some(Wait::Never),
                seconds => Some(Wait::AtMost(Duration::from_secs(seconds.into()))),
            }
        }
        _ => None,
    }
}

/// What a client says.
pub(crate) const PREFER: HeaderName = HeaderName::from_static("prefer");
/// What was heeded of it.
pub(crate) const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&'static str], wait: Wait, applied: Option<&str>) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(PREFER, HeaderValue::from_static(line));
        }
        for unsaid in [Wait::Never, Wait::ToItsEnd] {
            let preference = Preference::of(&headers, unsaid);
            // One that says nothing gets what holds without a word.
            let wait = if applied.is_none() { unsaid } else { wait };
            assert_eq!(preference.wait, wait, "{lines:?}");
            assert_eq!(preference.applied().as_ref().map(|it| it.to_str().unwrap()), applied, "{lines:?}");
        }
    }

    #[test]
    fn a_client_waits_as_long_as_it_says() {
        let seconds = |n| Wait::AtMost(Duration::from_secs(n));
        check(&[], Wait::Never, None);
        check(&["respond-async"], Wait::Never, Some("respond-async"));
        check(&["return=minimal", "Respond-Async; x=1"], Wait::Never, Some("respond-async"));
        check(&["wait"], Wait::ToItsEnd, Some("wait"));
        check(&["Wait = 5"], seconds(5), Some("wait=5"));
        check(&["wait=\"5\""], seconds(5), Some("wait=5"));
        check(&["wait=0"], Wait::Never, Some("wait=0"));
        check(&["wait=5, wait=6"], seconds(5), Some("wait=5"));
        check(&["wait=99999999999999999999"], seconds(u32::MAX.into()), Some("wait=4294967295"));
        check(&["wait=5, respond-async"], seconds(5), Some("respond-async, wait=5"));
        check(&["respond-async, wait"], Wait::Never, Some("respond-async"));
    }

    #[test]
    fn what_is_not_understood_is_passed_over() {
        for line in ["respond-asynchronously", "wait=soon", "wait=-1", "wait=1.5", "waiting=3", "", ",;="] {
            check(&[line], Wait::Never, None);
        }
        check(&["wait=soon, wait=3"], Wait::AtMost(Duration::from_secs(3)), Some("wait=3"));
    }
}
