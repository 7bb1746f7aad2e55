//! What the admin API offers: one table of operations, from which requests are routed and the description is made.

use agent_host_engine::PluginOrder;
use agent_plugin_protocol::PluginId;
use http::Method;

/// One operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// The description of the others.
    Describe,
    /// The same for people.
    Page,
    Status,
    ListPlugins,
    ShowPlugin,
    Order(PluginOrder),
    ListRevoked,
    Revoke,
    ShowConfig,
    ConfigSchema,
    DiffConfig,
    ValidateConfig,
    ReloadConfig,
    SetConfig,
    LogLevel,
    SetLogLevel,
    ListConnections,
    CloseConnection,
    Events,
    Drain,
    Undrain,
    SupportBundle,
    ShowChaos,
    BeginFault,
    EndFault,
    EndFaults,
    DeleteThreads,
    ListUndertaken,
    ShowUndertaken,
}

/// What an operator's token must permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Seeing how the host and its plugins fare.
    Read,
    /// Switching plugins on and off, whatever else begins or ends one, and revoking tokens.
    Toggle,
    /// Setting keys of the configuration and having it read again, and deleting what people stored.
    Config,
    /// Looking closer than a host is looked at every day.
    Debug,
    /// Injecting faults, where a host allows it at all.
    Chaos,
}

impl Scope {
    /// The word in a token.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "admin:read",
            Self::Toggle => "admin:toggle",
            Self::Config => "admin:config",
            Self::Debug => "admin:debug",
            Self::Chaos => "admin:chaos",
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
        allowed: String,
    },
}

impl Operation {
    /// Every operation, in the order of the description.
    pub(crate) const ALL: &[Self] = &[
        Self::Describe,
        Self::Page,
        Self::Status,
        Self::ListPlugins,
        Self::ShowPlugin,
        Self::Order(PluginOrder::Enable),
        Self::Order(PluginOrder::Disable),
        Self::Order(PluginOrder::Drain),
        Self::Order(PluginOrder::Reload),
        Self::Order(PluginOrder::Reset),
        Self::Order(PluginOrder::Probe),
        Self::Order(PluginOrder::Promote),
        Self::Order(PluginOrder::Rollback),
        Self::ListRevoked,
        Self::Revoke,
        Self::ShowConfig,
        Self::ConfigSchema,
        Self::DiffConfig,
        Self::ValidateConfig,
        Self::ReloadConfig,
        Self::SetConfig,
        Self::LogLevel,
        Self::SetLogLevel,
        Self::ListConnections,
        Self::CloseConnection,
        Self::Events,
        Self::Drain,
        Self::Undrain,
        Self::SupportBundle,
        Self::ShowChaos,
        Self::BeginFault,
        Self::EndFault,
        Self::EndFaults,
        Self::DeleteThreads,
        Self::ListUndertaken,
        Self::ShowUndertaken,
    ];

    /// Its path; `{id}` stands for a plugin's, a connection's or an operation's.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Describe => "/admin/v1/openapi.json",
            Self::Page => "/admin/v1/",
            Self::Status => "/admin/v1/status",
            Self::ListPlugins => "/admin/v1/plugins",
            Self::ShowPlugin => "/admin/v1/plugins/{id}",
            Self::Order(PluginOrder::Enable) => "/admin/v1/plugins/{id}/enable",
            Self::Order(PluginOrder::Disable) => "/admin/v1/plugins/{id}/disable",
            Self::Order(PluginOrder::Drain) => "/admin/v1/plugins/{id}/drain",
            Self::Order(PluginOrder::Reload) => "/admin/v1/plugins/{id}/reload",
            Self::Order(PluginOrder::Reset) => "/admin/v1/plugins/{id}/reset",
            Self::Order(PluginOrder::Probe) => "/admin/v1/plugins/{id}/probe",
            Self::Order(PluginOrder::Promote) => "/admin/v1/plugins/{id}/promote",
            Self::Order(PluginOrder::Rollback) => "/admin/v1/plugins/{id}/rollback",
            Self::ListRevoked | Self::Revoke => "/admin/v1/revocations",
            Self::ShowConfig | Self::SetConfig => "/admin/v1/config",
            Self::ConfigSchema => "/admin/v1/config/schema",
            Self::DiffConfig => "/admin/v1/config/diff",
            Self::ValidateConfig => "/admin/v1/config/validate",
            Self::ReloadConfig => "/admin/v1/config/reload",
            Self::LogLevel | Self::SetLogLevel => "/admin/v1/log-level",
            Self::ListConnections => "/admin/v1/connections",
            Self::CloseConnection => "/admin/v1/connections/{id}",
            Self::Events => "/admin/v1/events",
            Self::Drain => "/admin/v1/drain",
            Self::Undrain => "/admin/v1/undrain",
            Self::SupportBundle => "/admin/v1/support-bundle",
            Self::ListUndertaken => "/admin/v1/operations",
            Self::ShowUndertaken => "/admin/v1/operations/{id}",
            Self::ShowChaos | Self::BeginFault | Self::EndFaults => "/admin/v1/chaos",
            Self::EndFault => "/admin/v1/chaos/{id}",
            Self::DeleteThreads => "/admin/v1/threads",
        }
    }

    /// Its method. What changes anything is never a GET: links and pages make those.
    pub(crate) const fn method(self) -> &'static Method {
        match self {
            Self::Describe
            | Self::Page
            | Self::Status
            | Self::ListPlugins
            | Self::ShowPlugin
            | Self::ListRevoked
            | Self::ShowConfig
            | Self::ConfigSchema
            | Self::DiffConfig
            | Self::LogLevel
            | Self::ListConnections
            | Self::Events
            | Self::SupportBundle
            | Self::ListUndertaken
            | Self::ShowUndertaken
            | Self::ShowChaos => &Method::GET,
            Self::Order(_)
            | Self::Revoke
            | Self::ValidateConfig
            | Self::ReloadConfig
            | Self::Drain
            | Self::Undrain
            | Self::BeginFault => &Method::POST,
            Self::SetConfig => &Method::PATCH,
            Self::CloseConnection | Self::DeleteThreads | Self::EndFault | Self::EndFaults => &Method::DELETE,
            Self::SetLogLevel => &Method::PUT,
        }
    }

    /// What it takes; `None`: nothing secret, no token.
    pub(crate) const fn scope(self) -> Option<Scope> {
        match self {
            Self::Describe | Self::Page => None,
            Self::Status
            | Self::ListPlugins
            | Self::ShowPlugin
            | Self::ShowConfig
            | Self::ConfigSchema
            | Self::DiffConfig
            | Self::ValidateConfig
            | Self::LogLevel
            | Self::ListUndertaken
            | Self::ShowUndertaken
            | Self::ShowChaos => Some(Scope::Read),
            Self::ReloadConfig | Self::SetConfig | Self::DeleteThreads => Some(Scope::Config),
            Self::Order(_)
            | Self::ListRevoked
            | Self::Revoke
            | Self::CloseConnection
            | Self::Drain
            | Self::Undrain => Some(Scope::Toggle),
            // Who talks from where, and who ordered what, is more than a dashboard needs.
            Self::SetLogLevel | Self::ListConnections | Self::Events | Self::SupportBundle => {
                Some(Scope::Debug)
            }
            Self::BeginFault | Self::EndFault | Self::EndFaults => Some(Scope::Chaos),
        }
    }

    /// The word for it in the description and in audit lines.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Describe => "describe",
            Self::Page => "page",
            Self::Status => "status",
            Self::ListPlugins => "list",
            Self::ShowPlugin => "show",
            // The whole host has an operation of that name.
            Self::Order(PluginOrder::Drain) => "drain_plugin",
            Self::Order(order) => order.as_str(),
            Self::ListRevoked => "list_revoked",
            Self::Revoke => "revoke",
            Self::ShowConfig => "show_config",
            Self::ConfigSchema => "config_schema",
            Self::DiffConfig => "diff_config",
            Self::ValidateConfig => "validate_config",
            Self::ReloadConfig => "reload_config",
            Self::SetConfig => "set_config",
            Self::LogLevel => "log_level",
            Self::SetLogLevel => "set_log_level",
            Self::ListConnections => "list_connections",
            Self::CloseConnection => "close_connection",
            Self::Events => "events",
            Self::Drain => "drain",
            Self::Undrain => "undrain",
            Self::SupportBundle => "support_bundle",
            Self::ListUndertaken => "list_operations",
            Self::ShowUndertaken => "show_operation",
            Self::ShowChaos => "show_chaos",
            Self::BeginFault => "begin_fault",
            Self::EndFault => "end_fault",
            Self::EndFaults => "end_faults",
            Self::DeleteThreads => "delete_threads",
        }
    }

    /// Whether it changes anything.
    pub(crate) fn changes(self) -> bool {
        // That one is a POST, as it has the host read files.
        !self.method().is_safe() && self != Self::ValidateConfig
    }

    /// The operations at a path, with what its `{id}` is.
    pub(crate) fn of_path(path: &str) -> impl Iterator<Item = (Self, Option<&str>)> {
        Self::ALL.iter().filter_map(move |one| Some((*one, matched(one.path(), path)?)))
    }

    /// What a request means to change: by its path and method, or by a path at which there is nothing to see.
    pub(crate) fn meant<'a>(method: &Method, path: &'a str) -> Option<(Self, Option<&'a str>)> {
        let by_method = Self::of_path(path).find(|(one, _)| one.changes() && one.method() == method);
        let only_orders = || Self::of_path(path).all(|(one, _)| one.changes());
        by_method.or_else(|| Self::of_path(path).next().filter(|_| only_orders()))
    }

    /// The operation of a request, with what the `{id}` of its path is.
    pub(crate) fn find<'a>(method: &Method, path: &'a str) -> Result<(Self, Option<&'a str>), Unknown> {
        let mut allowed = Vec::new();
        for (operation, id) in Self::of_path(path) {
            let takes = operation.method();
            // HTTP's own: whoever answers GET answers HEAD.
            if method == takes || (method == Method::HEAD && takes == Method::GET) {
                return Ok((operation, id));
            }
            allowed.push(takes.as_str());
            if takes == Method::GET {
                allowed.push("HEAD");
            }
        }
        if allowed.is_empty() {
            Err(Unknown::Path)
        } else {
            Err(Unknown::Method { allowed: allowed.join(", ") })
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
        for operation in Operation::ALL.iter().copied() {
            let path = operation.path().replace("{id}", "echo");
            let plugin = operation.path().contains("{id}").then_some("echo");
            assert_eq!(Operation::find(operation.method(), &path), Ok((operation, plugin)));
            for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
                let found = Operation::find(&method, &path);
                let is_it = found.is_ok_and(|(found, _)| found == operation);
                assert_eq!(is_it, method == *operation.method(), "{method} {path}");
            }
        }
        for path in ["/admin/v1", "/admin/v1//", "/admin/v1/plugins/", "/admin/v1/plugins/echo/explode", "/"]
        {
            let found = Operation::find(&Method::GET, path);
            // An empty name is a path of the right form, and no plugin's.
            assert!(found == Err(Unknown::Path) || path.ends_with("plugins/"), "{path}: {found:?}");
        }
    }

    #[test]
    fn what_changes_anything_is_not_got_and_takes_more_than_reading() {
        for operation in Operation::ALL.iter().copied() {
            let takes_more = !matches!(operation.scope(), None | Some(Scope::Read));
            assert!(!operation.changes() || takes_more, "{operation:?}");
            let sees = operation.method() == Method::GET || operation == Operation::ValidateConfig;
            assert_eq!(sees, !operation.changes(), "{operation:?}");
        }
    }

    #[test]
    fn what_was_meant_is_known_though_the_method_is_wrong() {
        for (method, path, meant) in [
            (
                Method::GET,
                "/admin/v1/plugins/echo/reset",
                Some((Operation::Order(PluginOrder::Reset), Some("echo"))),
            ),
            (Method::PUT, "/admin/v1/log-level", Some((Operation::SetLogLevel, None))),
            (Method::GET, "/admin/v1/log-level", None),
            (Method::POST, "/admin/v1/status", None),
            (Method::POST, "/admin/v1/nothing", None),
        ] {
            assert_eq!(Operation::meant(&method, path), meant, "{method} {path}");
        }
    }
}
