//! The operators' API: how the host and its plugins fare, and orders to them.
//!
//! A request is judged in [`door`] (where it was sent, from which page, whose token, which permission), routed by the
//! one table in [`operation`], answered in [`pages`] or carried out in [`orders`], [`revocations`] and the others beside them (what goes on though nobody waits is in
//! [`undertaking`], how long who ordered it waits in [`prefer`], what an order would do in [`foresight`]); what it is told is [`view`]. Whoever
//! may give orders here may run code on the host, so operators have keys and an audience of their own, and every order,
//! carried out, failed or refused, leaves one line ([`audit`]).

mod aim;
mod audit;
mod body;
mod bundle;
mod chaos;
pub mod configuration;
mod connections;
mod door;
mod events;
mod foresight;
mod keys;
mod lasting;
mod log_level;
mod names;
mod openapi;
mod operation;
mod orders;
mod page;
mod pages;
mod prefer;
mod revocations;
mod rotation;
mod threads;
mod undertaking;
pub mod view;

use std::sync::Arc;

use agent_host_core::ports::chaos::Chaos;

use self::configuration::Configuration;
pub(crate) use door::{Admin, answer};

/// What operators may order beside what the doors do themselves; each is there where the host has it.
#[derive(Default)]
pub struct Operated {
    /// Who owns the configuration.
    pub configuration: Option<Arc<dyn Configuration>>,
    /// What injects faults.
    pub chaos: Option<Arc<dyn Chaos>>,
}
