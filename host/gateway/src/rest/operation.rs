//! What the REST surface offers, as one table: paths, methods and the document for machines come from it.

use http::Method;

/// One operation, without its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    IssueTicket,
    ListAgents,
    ListThreads,
    ShowThread,
    DeleteThread,
    ReadEvents,
    CancelRun,
}

/// Where a request leads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// To an operation; with the name in its path, where it has one.
    Operation(Operation, &'a str),
    /// To a path that takes these methods only.
    Methods(&'static str),
    /// Nowhere.
    Nothing,
}

impl Operation {
    pub(crate) const ALL: [Self; 7] = [
        Self::IssueTicket,
        Self::ListAgents,
        Self::ListThreads,
        Self::ShowThread,
        Self::DeleteThread,
        Self::ReadEvents,
        Self::CancelRun,
    ];

    /// As it stands in the document; `{thread}` or `{run}` is the name in it.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::IssueTicket => "/v1/ws-tickets",
            Self::ListAgents => "/v1/agents",
            Self::ListThreads => "/v1/threads",
            Self::ShowThread | Self::DeleteThread => "/v1/threads/{thread}",
            Self::ReadEvents => "/v1/threads/{thread}/events",
            Self::CancelRun => "/v1/runs/{run}/cancel",
        }
    }

    pub(crate) const fn method(self) -> Method {
        match self {
            Self::IssueTicket | Self::CancelRun => Method::POST,
            Self::DeleteThread => Method::DELETE,
            Self::ListAgents | Self::ListThreads | Self::ShowThread | Self::ReadEvents => Method::GET,
        }
    }

    /// What the path takes, for `Allow`.
    pub(crate) const fn allowed(self) -> &'static str {
        match self {
            Self::IssueTicket | Self::CancelRun => "POST, OPTIONS",
            Self::ShowThread | Self::DeleteThread => "GET, DELETE, OPTIONS",
            Self::ListAgents | Self::ListThreads | Self::ReadEvents => "GET, OPTIONS",
        }
    }

    /// Finds the operation of a request.
    pub(crate) fn find<'a>(method: &Method, path: &'a str) -> Found<'a> {
        let mut found = Found::Nothing;
        for operation in Self::ALL {
            let Some(name) = matched(operation.path(), path) else { continue };
            // A HEAD is a GET without its body, which the server leaves out.
            if operation.method() == *method || (*method == Method::HEAD && operation.method() == Method::GET)
            {
                return Found::Operation(operation, name);
            }
            found = Found::Methods(operation.allowed());
        }
        found
    }
}

/// The name in the path, if it is of that form; empty where the form has none.
fn matched<'a>(form: &str, path: &'a str) -> Option<&'a str> {
    let Some((before, rest)) = form.split_once('{') else { return (form == path).then_some("") };
    let after = rest.split_once('}').map_or("", |(_, after)| after);
    let name = path.strip_prefix(before)?.strip_suffix(after)?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_is_found_by_its_own_method_and_path_only() {
        for operation in Operation::ALL {
            let path = operation.path().replace("{thread}", "abc").replace("{run}", "abc");
            let name = if path == operation.path() { "" } else { "abc" };
            assert_eq!(Operation::find(&operation.method(), &path), Found::Operation(operation, name));
            assert_eq!(Operation::find(&Method::PATCH, &path), Found::Methods(operation.allowed()));
            assert_eq!(Operation::find(&operation.method(), &format!("{path}/")), Found::Nothing);
        }
        for nowhere in
            ["/v1", "/v1/", "/v1/threads//events", "/v1/threads/a/b", "/v1/runs/a", "/v1/runs//cancel"]
        {
            assert_eq!(Operation::find(&Method::GET, nowhere), Found::Nothing, "{nowhere}");
        }
        assert_eq!(
            Operation::find(&Method::HEAD, "/v1/threads"),
            Found::Operation(Operation::ListThreads, "")
        );
    }
}
