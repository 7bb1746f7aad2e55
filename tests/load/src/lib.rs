//! Measures what the host costs beside the floor, which is built and run in the same command.
#![forbid(unsafe_code)]

pub mod bench;
pub mod connection;
pub mod drive;
pub mod error;
pub mod goal;
pub mod machine;
pub mod message;
pub mod process;
pub mod reactor;
pub mod report;
pub mod scenario;
pub mod server;
pub mod tally;
pub mod wire;
