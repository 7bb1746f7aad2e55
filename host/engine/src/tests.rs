//! The engine with scripted plugins, a store in memory and a paused clock: the laws, fault by fault.

mod accepting;
mod breaking;
mod changing;
mod crowding;
mod delegating;
mod deserting;
mod double_texting;
mod failing;
mod fake;
mod host;
mod keeping;
mod leaving;
mod ordering;
mod plugins;
mod queueing;
mod resuming;
mod running;
mod services;
mod sparing;
mod trying;
