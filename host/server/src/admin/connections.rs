//! `connections list` and `connections close`.

use agent_host_gateway::admin::view::{ConnectionList, ConnectionPart};
use time::OffsetDateTime;

use super::{
    DEBUG, TOGGLE,
    link::{Method, ask},
    show,
    target::Target,
    words::{ago, brief, encoded, shown},
};
use crate::{cli::ConnectionsCommand, exit::Failure};

/// `connections …`
pub(crate) fn connections(command: &ConnectionsCommand) -> Result<(), Failure> {
    match command {
        ConnectionsCommand::List { user, tenant, limit, admin } => {
            let target = Target::new(admin, DEBUG)?;
            let mut path = format!("/admin/v1/connections?limit={limit}");
            for (name, value) in [("user", user), ("tenant", tenant)] {
                if let Some(value) = value {
                    path += &format!("&{name}={}", encoded(value));
                }
            }
            let answer = ask(&target, Method::Get, &path)?;
            show(admin, &answer.json, || Ok(table(&answer.read()?, OffsetDateTime::now_utc())))
        }
        ConnectionsCommand::Close { connection, admin } => {
            let target = Target::new(admin, TOGGLE)?;
            let answer = ask(&target, Method::Delete, &format!("/admin/v1/connections/{connection}"))?;
            show(admin, &answer.json, || {
                let closed: ConnectionPart = answer.read()?;
                let (user, tenant) = (shown(&closed.user), shown(&closed.tenant));
                Ok(format!("the connection of {user} ({tenant}) is being closed; its client may come back"))
            })
        }
    }
}

fn table(list: &ConnectionList, now: OffsetDateTime) -> String {
    if list.connections.is_empty() {
        return format!("none of {} open connections", list.open);
    }
    let head = ["CONNECTION", "USER", "TENANT", "SURFACE", "FROM", "SINCE", "UNREAD", "THREADS", "RUNS"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(list.connections.iter().map(|one| row(one, now)));
    let widths: [usize; 9] =
        std::array::from_fn(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or_default());
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    let more = if list.next.is_some() { "; there are more, see --limit" } else { "" };
    text + &format!("{} of {} open{more}", list.connections.len(), list.open)
}

fn row(one: &ConnectionPart, now: OffsetDateTime) -> [String; 9] {
    [
        brief(&one.id, 32),
        brief(&one.user, 32),
        brief(&one.tenant, 20),
        brief(&one.surface, 16),
        brief(one.address.as_deref().unwrap_or("-"), 40),
        ago(&one.since, now),
        format!("{} B", one.unread_bytes),
        one.subscriptions.to_string(),
        one.runs.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_and_names_cannot_act_on_the_terminal() {
        let one = ConnectionPart {
            id: "ab".to_owned(),
            user: "ann\u{1b}[2J".to_owned(),
            tenant: "default".to_owned(),
            surface: "agent-host.v1".to_owned(),
            address: Some("10.0.0.1".to_owned()),
            unread_bytes: 12,
            subscriptions: 2,
            ..ConnectionPart::default()
        };
        let list = ConnectionList { connections: vec![one], open: 3, next: Some(1) };
        let text = table(&list, OffsetDateTime::UNIX_EPOCH);
        assert!(
            text.starts_with(
                "CONNECTION  USER  TENANT   SURFACE        FROM      SINCE  UNREAD  THREADS  RUNS\n"
            ),
            "{text}"
        );
        assert!(
            text.ends_with("1 of 3 open; there are more, see --limit") && !text.contains('\u{1b}'),
            "{text}"
        );
    }
}
