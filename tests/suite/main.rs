//! The black-box suite: the built host as a process, real plugins as files, real clients on real sockets.
//!
//! Each module is one topic. A scenario is a function of a running host that answers with what it found wrong, so
//! that the same scenario can also be held against a broken host, on which it must find something: see [`twin`].
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "in a test, an unexpected absence is the failure to report")]

mod client;
#[macro_use]
mod scenario;
mod full_agent;
mod harness;

mod admin;
mod admin_cli;
mod admin_host;
mod admin_orders;
mod admin_page;
mod admin_refusals;
mod admin_support;
mod alerts;
mod bad_plugins;
mod chaos;
mod chat;
mod check;
mod config;
mod corpus;
mod crashes;
mod deploy;
mod descriptors;
mod disk_faults;
mod docs;
mod drain;
mod drain_deployed;
mod drain_many;
mod drill;
mod durable;
mod durable_disk;
mod durable_kill;
mod durable_questions;
mod durable_tools;
mod edges;
mod erasing;
mod failpoints;
mod fallback;
mod first_message;
mod followed;
mod frames;
mod herd;
mod hostile;
mod in_process;
mod incident;
mod isolation_users;
mod jwks;
mod laws;
mod lies;
mod live;
mod live_swaps;
mod live_wrong;
mod log_blocked;
mod netra;
mod network;
mod new_files;
mod notified;
mod observed;
mod person;
mod protocol_closes;
mod protocol_limits;
mod protocol_runs;
mod protocol_threads;
mod protocol_tokens;
mod proxy_storm;
mod public_keys;
mod refusals;
mod rest;
mod revocations;
mod rfc6455;
mod routing;
mod runbook;
mod sandbox;
mod sandbox_layers;
mod sandbox_orphans;
mod sandbox_required;
mod secrets;
mod self_check;
mod slow_heads;
mod staging;
mod stalled;
mod start_faults;
mod supervision;
mod supervisors;
mod switches;
mod telemetry;
mod tokens;
mod trust;
mod typescript;
mod verify;
