//! The engine with scripted plugins, a store in memory and a paused clock: the laws, fault by fault.

mod accepting;
mod delegating;
mod double_texting;
mod failing;
mod fake;
mod host;
mod leaving;
mod plugins;
mod resuming;
mod running;
mod services;
