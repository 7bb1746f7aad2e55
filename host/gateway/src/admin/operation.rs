//! What the admin API offers: one table of operations, from which requests are routed and the description is made.

use agent_host_engine::PluginOrder;
use agent_plugin_protocol::PluginId;
use http::Method;

/// One operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// The description of the others.
    Describe,
    Status,
    ListPlugins,
    ShowPlugin,
    Order(PluginOrder),
    ListRevoked,
    Revoke,
}

/// What an operator's token must permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Seeing how the host and its plugins fare.
    Read,
    /// Switching plugins on and off, whatever else begins or ends one, and revoking tokens.
    Toggle,
}

impl Scope {
    /// The word in a token.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "admin:read",
            Self::Toggle => "admin:toggle",
        }
    }
}

/// Why a request is none of the operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// Nothing is there.
    Path,
    /// Something is, but not by that method.
    Method {
        /// By these, as in an `Allow` header.
        allowed: &'static str,
    },
}

impl Operation {
    /// Every operation, in the order of the description.
    pub(crate) const ALL: [Self; 11] = [
        Self::Describe,
        Self::Status,
        Self::ListPlugins,
        Self::ShowPlugin,
        Self::Order(PluginOrder::Enable),
        Self::Order(PluginOrder::Disable),
        Self::Order(PluginOrder::Reload),
        Self::Order(PluginOrder::Reset),
        Self::Order(PluginOrder::Probe),
        Self::ListRevoked,
        Self::Revoke,
    ];

    /// Its path; `{id}` stands for a plugin's.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Describe => "/admin/v1/openapi.json",
            Self::Status => "/admin/v1/status",
            Self::ListPlugins => "/admin/v1/plugins",
            Self::ShowPlugin => "/admin/v1/plugins/{id}",
            Self::Order(PluginOrder::Enable) => "/admin/v1/plugins/{id}/enable",
            Self::Order(PluginOrder::Disable) => "/admin/v1/plugins/{id}/disable",
            Self::Order(PluginOrder::Reload) => "/admin/v1/plugins/{id}/reload",
            Self::Order(PluginOrder::Reset) => "/admin/v1/plugins/{id}/reset",
            Self::Order(PluginOrder::Probe) => "/admin/v1/plugins/{id}/probe",
            Self::ListRevoked | Self::Revoke => "/admin/v1/revocations",
        }
    }

    /// Its method. What changes anything is never a GET: links and pages make those.
    pub(crate) const fn method(self) -> &'static Method {
        match self {
            Self::Describe | Self::Status | Self::ListPlugins | Self::ShowPlugin | Self::ListRevoked => {
                &Method::GET
            }
            Self::Order(_) | Self::Revoke => &Method::POST,
        }
    }

    /// What it takes; `None`: nothing secret, no token.
    pub(crate) const fn scope(self) -> Option<Scope> {
        match self {
            Self::Describe => None,
            Self::Status | Self::ListPlugins | Self::ShowPlugin => Some(Scope::Read),
            Self::Order(_) | Self::ListRevoked | Self::Revoke => Some(Scope::Toggle),
        }
    }

    /// The word for it in the description and in audit lines.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Describe => "describe",
            Self::Status => "status",
            Self::ListPlugins => "list",
            Self::ShowPlugin => "show",
            Self::Order(order) => order.as_str(),
            Self::ListRevoked => "list_revoked",
            Self::Revoke => "revoke",
        }
    }

    /// The operation at a path, with the plugin that the path names.
    pub(crate) fn of_path(path: &str) -> Option<(Self, Option<&str>)> {
        Self::ALL.into_iter().find_map(|one| Some((one, matched(one.path(), path)?)))
    }

    /// The operation of a request, with the plugin that its path names.
    pub(crate) fn find<'a>(method: &Method, path: &'a str) -> Result<(Self, Option<&'a str>), Unknown> {
        let (mut gets, mut posts) = (false, false);
        for operation in Self::ALL {
            let Some(plugin) = matched(operation.path(), path) else { continue };
            let allowed = operation.method();
            // HTTP's own: whoever answers GET answers HEAD.
            if method == allowed || (method == Method::HEAD && allowed == Method::GET) {
                return Ok((operation, plugin));
            }
            gets |= allowed == Method::GET;
            posts |= allowed == Method::POST;
        }
        match (gets, posts) {
            (false, false) => Err(Unknown::Path),
            (true, false) => Err(Unknown::Method { allowed: "GET, HEAD" }),
            (false, true) => Err(Unknown::Method { allowed: "POST" }),
            (true, true) => Err(Unknown::Method { allowed: "GET, HEAD, POST" }),
        }
    }
}

/// What stands at `{id}` if the path is of that form; `None` if it is not.
#[allow(clippy::option_option, reason = "whether it fits, and whether it names a plugin")]
fn matched<'a>(template: &str, path: &'a str) -> Option<Option<&'a str>> {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    let mut plugin = None;
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(plugin),
            (Some("{id}"), Some(id)) => plugin = Some(id),
            (Some(a), Some(b)) if a == b => {}
            _ => return None,
        }
    }
}

/// The plugin of a path. No name that is not one can be configured.
pub(crate) fn plugin_id(text: &str) -> Option<PluginId> {
    PluginId::new(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_is_found_by_its_path_and_method_only() {
        for operation in Operation::ALL {
            let path = operation.path().replace("{id}", "echo");
            let plugin = operation.path().contains("{id}").then_some("echo");
            assert_eq!(Operation::find(operation.method(), &path), Ok((operation, plugin)));
            for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
                let found = Operation::find(&method, &path);
                let is_it = found.is_ok_and(|(found, _)| found == operation);
                assert_eq!(is_it, method == *operation.method(), "{method} {path}");
            }
        }
        for path in ["/admin/v1", "/admin/v1/", "/admin/v1/plugins/", "/admin/v1/plugins/echo/explode", "/"] {
            let found = Operation::find(&Method::GET, path);
            // An empty name is a path of the right form, and no plugin's.
            assert!(found == Err(Unknown::Path) || path.ends_with("plugins/"), "{path}: {found:?}");
        }
    }

    #[test]
    fn what_changes_anything_is_not_got_and_takes_more_than_reading() {
        for operation in
            Operation::ALL.into_iter().filter(|one| matches!(one, Operation::Order(_) | Operation::Revoke))
        {
            assert_eq!((operation.method(), operation.scope()), (&Method::POST, Some(Scope::Toggle)));
        }
    }
}
