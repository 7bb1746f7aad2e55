//! How a happening is declared: one macro that makes its struct, its log event and its row in the documentation.

use serde::Serialize;

/// How a happening is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// As it should be.
    Success,
    /// Unexpected, handled.
    Warning,
    /// Someone must act.
    Critical,
}

/// A row of `docs/log-events.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Declared {
    /// `NounVerb`: the log field `event`.
    pub name: &'static str,
    /// The log level.
    pub level: &'static str,
    /// The log message.
    pub message: &'static str,
    /// The fields, in order.
    pub fields: &'static [&'static str],
    /// What it means.
    pub meaning: &'static str,
    /// What to do.
    pub action: &'static str,
    /// How it is to be taken.
    pub mark: Mark,
}

/// Where most is logged.
const USUAL: &str = "agent_host";
/// Where it is logged what operators did: written at every level.
pub(crate) const AUDIT: &str = "agent_host::audit";

/// The target of a happening, by whether it is marked.
pub(crate) const fn target(marks: &[&str]) -> &'static str {
    if marks.is_empty() { USUAL } else { AUDIT }
}

/// Declares happenings. Each gets a struct with `emit`, and a row in `ALL`. One that happens for every message has a
/// lifetime and borrows its fields: naming them costs nothing then. `audit` before the level: whatever the level of the log,
/// it is written.
macro_rules! happenings {
    ($(
        $(#[doc = $meaning:literal])+
        $name:ident $(<$life:lifetime>)? $([$audit:ident])? $level:ident $mark:ident $message:literal action $action:literal
        { $($(#[$fdoc:meta])* $field:ident : $type:ty),* $(,)? }
        $(=> |$this:ident| $metrics:block)?
    )*) => {
        $(
            $(#[doc = $meaning])+
            #[derive(Debug, Clone)]
            #[allow(missing_docs, reason = "fields are named by their word; the table documents the whole")]
            pub struct $name $(<$life>)? { $($(#[$fdoc])* pub $field: $type,)* }

            impl $(<$life>)? $name $(<$life>)? {
                /// Writes the log event, counts the metrics and tells whoever watches.
                ///
                /// No field is formatted unless its level is logged or somebody watches.
                pub fn emit(self) {
                    ::tracing::event!(
                        target: $crate::declare::target(&[$(stringify!($audit)),*]),
                        ::tracing::Level::$level,
                        event = stringify!($name),
                        $($field = %self.$field,)*
                        $message
                    );
                    $({ let $this = &self; $metrics })?
                    $crate::admin::publish(&Self::DECLARED, || {
                        #[allow(unused_mut)]
                        let mut fields = ::serde_json::Map::new();
                        $(fields.insert(stringify!($field).to_owned(), self.$field.to_string().into());)*
                        fields
                    });
                }

                /// Its row in the documentation.
                pub const DECLARED: $crate::Declared = $crate::Declared {
                    name: stringify!($name),
                    level: stringify!($level),
                    message: $message,
                    fields: &[$(stringify!($field)),*],
                    meaning: concat!($($meaning),+),
                    action: $action,
                    mark: $crate::Mark::$mark,
                };
            }
        )*

        /// Every happening there is.
        pub const ALL: &[$crate::Declared] = &[$($name::DECLARED),*];
    };
}

pub(crate) use happenings;
