//! What the host offers plugins: its own tools, the way out to allowed peers, and the board that says which services are there.
//! Beside that, what the host fetches for itself.
#![forbid(unsafe_code)]

mod arguments;
mod board;
mod calculator;
mod clock;
mod network;
mod tools;
mod web;
mod web_keys;

pub use board::ServiceBoard;
pub use network::TcpNetwork;
pub use tools::BuiltinTools;
pub use web::Authorities;
pub use web_keys::WebKeys;
