//! Asks a host, and turns its refusals into this command's failure.

use agent_host_core::sanitise;
use agent_host_gateway::admin::view::OperationPage;
use agent_plugin_protocol::Code;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{http, target::Target};
use crate::exit::{Exit, Failure};

/// How.
#[derive(Debug, Clone)]
pub(crate) enum Method {
    Get,
    Post,
    Delete,
    /// With this JSON.
    Send(String),
    /// In place of what was there, this JSON.
    Put(String),
    /// Into what is there, this JSON.
    Patch(String),
}

/// What a host answered with 200.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) json: Value,
}

impl Answer {
    /// As a page of the admin API.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        T::deserialize(&self.json).map_err(|error| other_version(&error))
    }
}

/// What a host says over HTTP, as far as it came.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: String,
    detail: String,
    hint: String,
}

/// Asks.
pub(crate) fn ask(target: &Target, method: Method, path: &str) -> Result<Answer, Failure> {
    judge(target, &exchange(target, &method, path, None)?)
}

/// What becomes of an order.
pub(super) enum Begun {
    /// It ended, with this.
    Ended(Answer),
    /// It goes on.
    GoesOn(Box<OperationPage>),
}

/// Asks for what goes on by itself.
pub(super) fn begin(target: &Target, method: &Method, path: &str) -> Result<Begun, Failure> {
    let response = exchange(target, method, path, Some("respond-async"))?;
    match response.status {
        202 => {
            let page = serde_json::from_slice(&response.body).map_err(|error| other_version(&error))?;
            Ok(Begun::GoesOn(Box::new(page)))
        }
        // A host of an older version waits all the same.
        _ => judge(target, &response).map(Begun::Ended),
    }
}

/// Asks for what may take a while, and waits for its end.
pub(super) fn wait(target: &Target, method: &Method, path: &str) -> Result<Answer, Failure> {
    judge(target, &exchange(target, method, path, Some("wait"))?)
}

/// What came of an operation that has ended.
pub(super) fn outcome(target: &Target, page: OperationPage) -> Result<Answer, Failure> {
    match (page.result, page.problem) {
        (Some(json), _) => Ok(Answer { json }),
        (None, problem) => {
            let status = problem.as_ref().and_then(|problem| problem["status"].as_u64());
            let problem =
                problem.and_then(|problem| serde_json::from_value(problem).ok()).unwrap_or_default();
            Err(refusal(target, status.and_then(|status| u16::try_from(status).ok()).unwrap_or(500), problem))
        }
    }
}

fn exchange(
    target: &Target,
    method: &Method,
    path: &str,
    preference: Option<&str>,
) -> Result<http::Response, Failure> {
    let (verb, body) = match method {
        Method::Get => ("GET", ""),
        Method::Post => ("POST", ""),
        Method::Delete => ("DELETE", ""),
        Method::Send(body) => ("POST", body.as_str()),
        Method::Put(body) => ("PUT", body.as_str()),
        Method::Patch(body) => ("PATCH", body.as_str()),
    };
    http::exchange(&target.authority, (verb, preference), path, &target.token, body)
        .map_err(|error| unreachable(target, &error))
}

fn other_version(error: &serde_json::Error) -> Failure {
    Failure::new(Exit::Failed, format!("the host's answer is not of this version of the API: {error}"))
}

/// Asks for a page that is no JSON.
pub(crate) fn text(target: &Target, path: &str) -> Result<String, Failure> {
    let response = http::exchange(&target.authority, ("GET", None), path, &target.token, "")
        .map_err(|error| unreachable(target, &error))?;
    match response.status {
        200 => Ok(String::from_utf8_lossy(&response.body).into_owned()),
        _ => judge(target, &response).map(|_| String::new()),
    }
}

/// How a stream ended.
pub(super) enum Watched {
    /// It ended in order, or whoever watched has seen enough.
    Ended,
    /// The host is not to be reached, or it broke off, or it has no place just now: another try may go on.
    Lost(Failure),
    /// It was refused: another try is as well.
    Refused(Failure),
}

/// Asks for a stream, and hands each of its lines to `each` until that answers `false` or the stream ends.
pub(super) fn watch(target: &Target, path: &str, each: impl FnMut(&str) -> bool) -> Watched {
    match http::lines(&target.authority, path, &target.token, each) {
        Err(error) => Watched::Lost(unreachable(target, &error)),
        Ok(None) => Watched::Ended,
        Ok(Some(response)) => match (judge(target, &response), response.status) {
            (Ok(_), _) => Watched::Ended,
            (Err(failure), 503) => Watched::Lost(failure),
            (Err(failure), _) => Watched::Refused(failure),
        },
    }
}

fn unreachable(target: &Target, error: &std::io::Error) -> Failure {
    let what = format!("no host answers at http://{}: {error}", target.authority);
    Failure::new(Exit::Unreachable, format!("{what}; is it running, and is that its admin listener?"))
}

fn judge(target: &Target, response: &http::Response) -> Result<Answer, Failure> {
    let json: Option<Value> = serde_json::from_slice(&response.body).ok();
    match (response.status, json) {
        (200, Some(json)) => Ok(Answer { json }),
        (status, json) => {
            let problem: Problem =
                json.and_then(|json| serde_json::from_value(json).ok()).unwrap_or_default();
            Err(refusal(target, status, problem))
        }
    }
}

fn refusal(target: &Target, status: u16, problem: Problem) -> Failure {
    let exit = if status == 503 { Exit::Unreachable } else { Exit::Failed };
    if problem.code.is_empty() {
        let what = format!("http://{} answered HTTP {status} and no page of the admin API", target.authority);
        return Failure::new(Exit::Failed, format!("{what}; is that the admin listener of an agent-host?"));
    }
    let code = Code::parse(&problem.code);
    let hint = match code {
        Some(code) if problem.hint.is_empty() => code.remedy().to_owned(),
        Some(_) | None => problem.hint,
    };
    let shown = |text: &str| sanitise::line(text, 1000);
    let mut message = format!("{}: {}", shown(&problem.code), shown(&problem.detail));
    if !hint.is_empty() {
        message += &format!("\n  what to do: {}", shown(&hint));
    }
    Failure::new(exit, message).of(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &str) -> Result<Answer, Failure> {
        let authority = http::Authority { host: "h".to_owned(), port: 1 };
        let target = Target { authority, token: String::new() };
        judge(&target, &http::Response { status, body: body.as_bytes().to_vec() })
    }

    #[test]
    fn a_refusal_is_told_with_its_remedy_and_cannot_act_on_a_terminal() {
        let body = r#"{"code":"permission.denied","detail":"no\u001b[2J","hint":""}"#;
        let said = judged(403, body).unwrap_err().to_string();
        assert!(said.contains("permission.denied: no\n") && said.contains(Code::PermissionDenied.remedy()));
        assert!(!said.contains('\u{1b}'), "{said:?}");
        assert!(judged(503, "").unwrap_err().to_string().contains("HTTP 503"));
        assert!(judged(200, "<html>").unwrap_err().to_string().contains("admin listener"));
        assert!(judged(200, "{}").is_ok());
    }
}
