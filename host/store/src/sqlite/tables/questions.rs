//! Questions that end runs: kept with the run's end, marked by the message that answers them.

use agent_host_core::ports::store::{NewMessage, NewQuestion};
use rusqlite::{Connection, OptionalExtension as _};

/// Keeps what runs of the user's thread ended with.
pub(super) fn keep(db: &Connection, user: i64, thread: i64, asked: &[NewQuestion]) -> rusqlite::Result<()> {
    for question in asked {
        db.prepare_cached("INSERT OR REPLACE INTO questions VALUES (?1, ?2, ?3, ?4, ?5, NULL)")?
            .execute((user, question.run.as_str(), thread, &question.interrupt, question.agent.as_str()))?;
    }
    Ok(())
}

/// Marks the question that a message answers in its thread; `false` if there is none that it may answer. A message
/// that answers none may pass.
pub(super) fn answer(
    db: &Connection,
    user: i64,
    thread: i64,
    message: &NewMessage,
) -> rusqlite::Result<bool> {
    let Some(answer) = &message.answers else { return Ok(true) };
    let marked = db
        .prepare_cached(
            "UPDATE questions SET answered_by = ?5
             WHERE user = ?1 AND run = ?2 AND thread = ?3 AND interrupt = ?4 AND answered_by IS NULL
             RETURNING 1",
        )?
        .query_row((user, answer.run.as_str(), thread, &answer.interrupt, message.id.as_str()), |row| {
            row.get::<_, i64>(0)
        })
        .optional()?;
    Ok(marked.is_some())
}
