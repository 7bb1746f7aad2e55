//! Every way in which a plugin can be bad, in one table: what is done, and what must be seen of it in each tier.
//!
//! The suite plays the whole table; `check` is held against the same table; `tests/run scoreboard` plays it several times
//! among hundreds of other sessions and writes `docs/scoreboard.md`.

mod case;
mod check;
mod deeds;
mod files;
mod native;
mod play;
mod scoreboard;
mod table;
mod whole;
