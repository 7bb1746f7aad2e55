//! Loads foreign code: the only crate of the host in which plugins are met, and the only one with `unsafe`.
//!
//! A plugin passes a pipeline of different things, so it is a chain of types; a wrong order does not compile. Each
//! stage fails with a [`Fault`](agent_host_core::ports::instance::Fault) of its own stable code.
//!
//! ```text
//! PluginSpec ─▶ Candidate ─▶ VerifiedArtifact ─▶ StagedLibrary ─▶ worker: load ─▶ init ─▶ dependencies ─▶ probe
//!              discover      verify              stage              │ in-process: that as preflight, ended, and then
//!                                                                  └▶ private file: load ─▶ init ─▶ probe
//! ```
//!
//! | file | its idea |
//! |---|---|
//! | `candidate` | finds the file and reads it once, without running it |
//! | `custody`, `custody/group` | who could exchange a file: judges its whole way from `/` |
//! | `verify`, `verify/elf`, `verify/needs`, `verify/signature` | judges the bytes: headers against size, machine, pin, signature, descriptor, needs |
//! | `inspect` | tells what a library is, for people, without loading it |
//! | `stage` | the private, sealed copy of the bytes that were judged |
//! | `shelf` | the bytes that a plugin was last healthy with, for its restarts; notices when its file becomes another |
//! | `prepare` | all of that in one go, off the async threads, with a deadline; for every tier |
//! | `create` | what goes into `create`, and how its failure reads; for every tier |
//! | `module` | drives the ABI: `dlopen`, header, layout check, typed calls; for every tier |
//! | `host_api` | the table of functions that a plugin calls; for every tier |
//! | `calls` | the open calls of an instance and what each may have outstanding; for every tier |
//! | `probe` | the self-test of an instance; for every tier |
//! | `process` | [`ProcessRuntime`]: the pipeline in a worker process, with its deadlines |
//! | `in_process` | [`InProcessRuntime`]: preflight, then the pipeline in this process |
//! | `in_process/loader` | private files; `dlopen`, one at a time, with a deadline; counts generations |
//! | `in_process/apart` | foreign code on a thread that is left behind at its deadline |
//! | `in_process/living`, `in_process/voice` | the instance and its right to be heard; what it says, passed straight on |
//! | `in_process/instance` | the task that carries the orders to it and sees to its end |
//! | `spawn` | starts worker processes; kills and reaps them, whatever happens |
//! | `sandbox` | what a worker may do: one value, applied by the worker before it loads anything |
//! | `sandbox/namespace` | its own user and process namespace, under a tiny init |
//! | `sandbox/landlock`, `sandbox/seccomp` | which files it may open; which system calls it may make |
//! | `sandbox/privileges`, `sandbox/users` | who it is: one user for each plugin, without privileges |
//! | `sandbox/bounds` | the limits on its use of the machine |
//! | `frames`, `hello` | the wire between host and worker, and its first words |
//! | `link` | the host's end of one worker: process, socket, printed words |
//! | `instance` | the task that owns a worker while it serves, and sees to its end |
//! | `crash`, `crash/area` | the memory through which a dying worker tells of its crash, and what is read from it |
//! | `crash/desk`, `crash/known` | looks into one crash after the other, lets few wait, and remembers the last |
//! | `crash/backtrace`, `crash/symbols` | unwinds the copy of the stack, and gives the addresses their names |
//! | `words` | what a plugin prints and logs, made harmless and bounded |
//! | [`memory`] | gives freed memory back to the system |
//! | `worker`, `worker/outbox`, `worker/voice`, `worker/crash` | the worker's own side |
//!
//! The life of a worker: spawned by one thread that lives as long as the host (the parent-death signal fires when
//! the spawning *thread* ends), with an empty environment, in its own process group, its socket as descriptor 0. It
//! closes what it inherited, reads the first frame with the sealed library, applies its sandbox, answers, loads,
//! creates, and then carries orders. The host notices its end by EOF and by a pidfd, kills what is left of the
//! group, reaps it, tells every open call once, and then says so to whoever watches.

mod calls;
mod candidate;
mod crash;
mod create;
mod custody;
mod frames;
mod hello;
mod host_api;
mod in_process;
mod inspect;
mod instance;
mod link;
pub mod memory;
mod module;
mod prepare;
mod probe;
mod process;
mod sandbox;
mod shelf;
mod spawn;
mod speaker;
mod stage;
mod strike;
mod verify;
mod words;
pub mod worker;

pub use in_process::InProcessRuntime;
pub use inspect::{Allocator, Inspection, Library, inspect};
pub use link::describe;
pub use process::{Confinement, ProcessRuntime, Tuning};
pub use spawn::WorkerCommand;
pub use verify::signature::{Signed, is_signed};
