//! What the host offers plugins: its own tools, the way out to allowed peers, and the board that says which services are there.
#![forbid(unsafe_code)]

mod arguments;
mod board;
mod calculator;
mod clock;
mod network;
mod tools;

pub use board::ServiceBoard;
pub use network::TcpNetwork;
pub use tools::BuiltinTools;
