//! What the host offers plugins: its own tools, and the board that says which services are there.
#![forbid(unsafe_code)]

mod arguments;
mod board;
mod calculator;
mod clock;
mod tools;

pub use board::ServiceBoard;
pub use tools::BuiltinTools;
