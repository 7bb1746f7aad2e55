//! The runtime against real libraries: good ones, bad files, and every way to die in a worker.

#![allow(clippy::unwrap_used, reason = "tests")]

mod crash;
mod files;
mod in_process;
mod leaks;
mod speed;
mod support;
mod worker;
