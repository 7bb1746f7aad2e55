//! Each happening of the host, declared once: its log event, its metrics and its admin event come from one place.
//!
//! [`happening`] lists them; emit one with `RunCompleted { … }.emit()`. [`metric`] lists the metrics' names, [`log`]
//! sets up the log, [`admin`] carries the happenings to whoever watches.
#![forbid(unsafe_code)]

pub mod admin;
pub mod declare;
pub mod happening;
pub mod log;
pub mod metric;

pub use declare::{Declared, Mark};
