//! Each happening of the host, declared once: its log event, its metrics and its admin event come from one place.
//!
//! [`happening`] lists them; emit one with `RunCompleted { … }.emit()`. [`metric`] lists the metrics, [`series`] counts
//! what is no happening, because it happens too often; [`page`] is what is scraped, [`log`] sets up the log, whose lines nobody waits for, [`admin`]
//! carries the happenings to whoever watches. No other crate names a metric: `docs/` is made from these lists.
#![forbid(unsafe_code)]

pub mod admin;
pub mod declare;
pub mod happening;
mod lines;
pub mod log;
pub mod metric;
pub mod page;
mod process;
pub mod series;

pub use declare::{Declared, Mark};

#[cfg(test)]
mod docs;
