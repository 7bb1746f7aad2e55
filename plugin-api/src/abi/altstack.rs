//! Gives each of the plugin's threads a stack for signal handlers, so that a stack overflow can be reported.
//!
//! Rust's own runtime does this for an executable only; in a library the overflow would be a bare SIGSEGV without a
//! handler having run. (The handler itself is the host's.)

// sigaltstack is a system interface.
#![allow(unsafe_code)]

use std::{cell::RefCell, ffi::c_int, ptr};

/// Enough for a handler that writes raw addresses; also above the minimum of AVX-512 machines.
const STACK_BYTES: usize = 64 * 1024;

thread_local! {
    static STACK: RefCell<Option<AltStack>> = const { RefCell::new(None) };
}

/// Equips the current thread. One that has an alternate stack keeps it.
pub(crate) fn equip_thread() {
    // A thread that is ending needs none.
    let _ = STACK.try_with(|stack| {
        if let Ok(mut stack) = stack.try_borrow_mut()
            && stack.is_none()
        {
            *stack = AltStack::install();
        }
    });
}

/// The memory of the stack, in use by the kernel until the drop, which happens on the same thread.
struct AltStack {
    _memory: Box<[u8]>,
}

impl AltStack {
    fn install() -> Option<Self> {
        let mut current = StackT { sp: ptr::null_mut(), flags: 0, size: 0 };
        // SAFETY: a null first argument sets nothing; `current` is valid for writes of a `stack_t`.
        let known = unsafe { sigaltstack(ptr::null(), &raw mut current) } == 0;
        if !known || current.flags & SS_DISABLE == 0 {
            return None;
        }
        let mut memory = vec![0; STACK_BYTES].into_boxed_slice();
        let stack = StackT { sp: memory.as_mut_ptr(), flags: 0, size: memory.len() };
        // SAFETY: `stack` describes memory that lives until `drop` has disabled it, and that nothing else uses.
        let installed = unsafe { sigaltstack(&raw const stack, ptr::null_mut()) } == 0;
        installed.then_some(Self { _memory: memory })
    }
}

impl Drop for AltStack {
    fn drop(&mut self) {
        let none = StackT { sp: ptr::null_mut(), flags: SS_DISABLE, size: STACK_BYTES };
        // SAFETY: `none` is a valid `stack_t`; afterwards the kernel no longer uses the memory.
        let _ = unsafe { sigaltstack(&raw const none, ptr::null_mut()) };
    }
}

/// Linux' `SS_DISABLE`.
const SS_DISABLE: c_int = 2;

/// `stack_t` of Linux, on every machine but MIPS.
#[repr(C)]
struct StackT {
    sp: *mut u8,
    flags: c_int,
    size: usize,
}

unsafe extern "C" {
    fn sigaltstack(new: *const StackT, old: *mut StackT) -> c_int;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_equipped_once_and_left_as_it_was() {
        std::thread::spawn(|| {
            let mut before = StackT { sp: ptr::null_mut(), flags: 0, size: 0 };
            equip_thread();
            equip_thread();
            // SAFETY: sets nothing; `before` is valid for writes.
            assert_eq!(unsafe { sigaltstack(ptr::null(), &raw mut before) }, 0);
            assert_eq!(before.flags & SS_DISABLE, 0);
            assert!(before.size > 0);
        })
        .join()
        .unwrap();
    }
}
