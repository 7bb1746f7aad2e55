//! The memory through which a dying worker tells its host about its crash: what is where in it.
//!
//! ```text
//! 0      record: written by the handler of the signal, field by field, its state last
//! 4 KiB  three lists of the loaded libraries, written in peace: before the library is loaded, after it, after create
//! 64 KiB the top of the crashed thread's stack, copied by the kernel
//! ```
//! It is a sealed memfd that the host makes for each worker and reads after its end. Whatever is in it was written by
//! a process that foreign code shares: it is read with bounds, and believed as far as a plugin is.

pub(crate) mod area;
pub(crate) mod backtrace;
pub(crate) mod desk;
mod known;
mod symbols;

use serde::{Deserialize, Serialize};

/// All of it.
pub(crate) const SIZE: usize = STACK + STACK_SIZE;
/// Where a list of libraries begins, each with its length in front.
pub(crate) const MODULES: [usize; 3] = [4 * 1024, 24 * 1024, 44 * 1024];
/// Bytes of one list, its length included.
pub(crate) const MODULES_SIZE: usize = 20 * 1024;
/// Where the copy of the stack begins.
pub(crate) const STACK: usize = 64 * 1024;
/// Bytes of the stack that are copied: some hundred frames.
pub(crate) const STACK_SIZE: usize = 128 * 1024;

/// States of a record.
pub(crate) const TOLD: u32 = 1;

/// What the handler writes. Every field is a number, so that any bytes are a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub(crate) struct Record {
    /// [`TOLD`] once all else is written.
    pub(crate) state: u32,
    /// The signal.
    pub(crate) signal: i32,
    /// `si_code`.
    pub(crate) code: i32,
    /// A [`Phase`].
    pub(crate) phase: u32,
    /// Whether `address` is one.
    pub(crate) addressed: u32,
    /// Bytes of the stack that could not be read before the first that could.
    pub(crate) skipped: u32,
    /// `si_addr`.
    pub(crate) address: u64,
    /// The call that the thread was executing; 0: none.
    pub(crate) call: u64,
    /// Registers: program counter, stack pointer, frame pointer, link register (0 where there is none).
    pub(crate) registers: [u64; 4],
    /// The address of the first byte of the stack's copy, and how many there are.
    pub(crate) stack: [u64; 2],
    /// The thread's name, ended by a zero.
    pub(crate) thread: [u8; 16],
}

/// How far a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Phase {
    /// The library is being loaded.
    Load = 1,
    /// `create` runs.
    Create = 2,
    /// It serves.
    Serve = 3,
    /// `destroy` runs.
    Destroy = 4,
}

/// A library that was loaded in the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LoadedModule {
    /// The path that it was loaded by; empty for the program itself.
    pub(crate) path: String,
    /// What is added to an address in its file.
    pub(crate) base: u64,
    /// Its first address and the one after its last.
    pub(crate) span: [u64; 2],
}
