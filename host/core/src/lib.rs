//! Pure decisions of the host, and the ports that its engine needs.
//!
//! State + event + *a given time* in, new state + effects out. No clock, no I/O, no `async` in the decisions;
//! [`ports`] holds the traits and channel types behind which all of that lies.
#![forbid(unsafe_code)]

pub mod address_range;
pub mod breaker;
pub mod canary;
pub mod chaos;
pub mod crash;
pub mod duration;
pub mod failpoint;
pub mod fair_queue;
pub mod hash;
pub mod identity;
pub mod isolation;
pub mod key_set;
pub mod level;
pub mod lifecycle;
pub mod outcome;
pub mod peer;
pub mod ports;
pub mod restart;
pub mod revocation;
pub mod routing;
pub mod run_machine;
pub mod sanitise;
pub mod service;
pub mod settling;
pub mod share;
pub mod timestamp;
pub mod web_address;
