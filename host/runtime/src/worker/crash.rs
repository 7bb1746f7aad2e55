//! Tells the host how this worker dies: the handler of the signals of a crash.
//!
//! The handler keeps to what is safe in one: it stores numbers into memory that was mapped before, lets the kernel
//! copy the stack (which reads what may not be readable without a fault), and dies by the signal's default action, so
//! that the exit status stays the true one. It takes no lock, allocates nothing and unwinds nothing: the host does that
//! after the death. A handler that the plugin installs of its own replaces this one, and is left in place: a virtual
//! machine needs its own. Then the signal alone is known.

#![allow(unsafe_code, reason = "a signal handler and the memory it writes to")]

use std::{
    cell::Cell,
    ffi::{CStr, c_int, c_void},
    mem,
    os::fd::{IntoRawFd, OwnedFd},
    ptr,
    sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering},
};

use crate::crash::{LoadedModule, MODULES, MODULES_SIZE, Phase, Record, SIZE, STACK, STACK_SIZE, TOLD};

/// The signals that a crash raises in the thread that crashed.
const SIGNALS: [c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGABRT];
/// Seconds after which a handler that does not end is ended.
const PATIENCE: u32 = 2;
/// How far above the stack pointer the first readable byte is looked for: a guard page, and what a large frame skipped.
const GUARD: usize = 64 * 1024;
const PAGE: usize = 4096;

thread_local! {
    /// The call whose code this thread executes. In the program itself, so that a handler can read it.
    static EXECUTING: Cell<u64> = const { Cell::new(0) };
}

static PHASE: AtomicU32 = AtomicU32::new(0);
static AREA: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static FILE: AtomicI32 = AtomicI32::new(-1);
/// The inode of the file: its descriptor may have been closed by the plugin, and its number given to another.
static INODE: AtomicU64 = AtomicU64::new(0);
/// The process that reports: what it forks does not.
static REPORTER: AtomicI32 = AtomicI32::new(0);
static TAKEN: AtomicU32 = AtomicU32::new(0);

/// The current thread executes this call's code from now on; 0: that of none.
pub(crate) fn executing(call: u64) {
    // A thread that is ending has no call.
    let _ = EXECUTING.try_with(|executing| executing.set(call));
}

/// How far the worker is.
pub(super) fn enter(phase: Phase) {
    PHASE.store(phase as u32, Ordering::Relaxed);
}

/// Crashes are told through `area` from now on. Without it nothing is: the host then knows the signal.
pub(super) fn report_through(area: OwnedFd) {
    let Ok(stat) = rustix::fs::fstat(&area) else { return };
    if stat.st_size < SIZE as i64 {
        return;
    }
    let file = area.into_raw_fd();
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    // SAFETY: a new mapping at a place of the kernel's choice touches no memory that is in use.
    let mapped = unsafe { libc::mmap(ptr::null_mut(), SIZE, protection, flags, file, 0) };
    if mapped == libc::MAP_FAILED {
        return;
    }
    FILE.store(file, Ordering::Relaxed);
    INODE.store(stat.st_ino, Ordering::Relaxed);
    REPORTER.store(std::process::id().cast_signed(), Ordering::Relaxed);
    AREA.store(mapped.cast(), Ordering::Release);
    for signal in SIGNALS {
        install(signal);
    }
}

fn install(signal: c_int) {
    // SAFETY: a struct of integers and pointers, for which zero is a value.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_crash;
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    for other in SIGNALS {
        // Blocked meanwhile: a crash of the handler itself ends the process at once.
        // SAFETY: the set is a valid one.
        unsafe { libc::sigaddset(&raw mut action.sa_mask, other) };
    }
    // SAFETY: the action is valid, and its handler does only what is safe in one.
    unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
}

/// Writes down which libraries are loaded, for the host to find addresses in.
pub(super) fn list_modules(slot: usize) {
    let area = AREA.load(Ordering::Acquire);
    let Some(at) = MODULES.get(slot).filter(|_| !area.is_null()) else { return };
    let mut modules = Vec::<LoadedModule>::new();
    // SAFETY: the callback has the type that is asked for, and `modules` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(note), (&raw mut modules).cast()) };
    let Ok(mut list) = serde_json::to_vec(&modules) else { return };
    while list.len() > MODULES_SIZE - 4 {
        // More than fits: the last ones are left out.
        modules.truncate(modules.len() / 2);
        list = serde_json::to_vec(&modules).unwrap_or_default();
    }
    let length = u32::try_from(list.len()).unwrap_or_default().to_le_bytes();
    // SAFETY: the list's place lies inside the mapping, which is never unmapped.
    let to = unsafe { area.add(*at) };
    // SAFETY: four bytes fit there, and nothing else writes to this list's place.
    unsafe { ptr::copy_nonoverlapping(length.as_ptr(), to, 4) };
    // SAFETY: as above.
    let to = unsafe { to.add(4) };
    // SAFETY: the list was cut to what fits behind its length.
    unsafe { ptr::copy_nonoverlapping(list.as_ptr(), to, list.len()) };
}

/// Adds one library to a list.
unsafe extern "C" fn note(info: *mut libc::dl_phdr_info, _size: usize, modules: *mut c_void) -> c_int {
    // SAFETY: the loader hands out a valid description for the length of this call.
    let info = unsafe { &*info };
    // SAFETY: it is the vector that `list_modules` gave, which nobody else uses meanwhile.
    let modules = unsafe { &mut *modules.cast::<Vec<LoadedModule>>() };
    let path = if info.dlpi_name.is_null() {
        String::new()
    } else {
        // SAFETY: a name that is not null is a text that ends with a zero.
        unsafe { CStr::from_ptr(info.dlpi_name) }.to_string_lossy().into_owned()
    };
    // SAFETY: the loader says how many headers there are.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let loaded = headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
    let ends = loaded.map(|header| (header.p_vaddr, header.p_vaddr.saturating_add(header.p_memsz)));
    if let Some((first, last)) = ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) {
        let base = info.dlpi_addr;
        let span = [base.wrapping_add(first), base.wrapping_add(last)];
        modules.push(LoadedModule { path, base, span });
    }
    0
}

/// The handler. See the module for what it keeps to.
extern "C" fn on_crash(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: takes any number; safe in a handler.
    unsafe { libc::alarm(PATIENCE) };
    // SAFETY: takes nothing; safe in a handler.
    let process = unsafe { libc::getpid() };
    if process == REPORTER.load(Ordering::Relaxed) {
        if TAKEN.swap(1, Ordering::AcqRel) == 0 {
            // SAFETY: the kernel hands both to a handler that asked for them.
            unsafe { tell(signal, info, context) };
        } else {
            // Another thread crashed before and is telling; it ends this process, or the alarm does.
            for _ in 0..PATIENCE * 1000 {
                // SAFETY: takes any number; a system call.
                unsafe { libc::usleep(1000) };
            }
        }
    }
    // SAFETY: the default action of a valid signal; safe in a handler.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // SAFETY: no memory is involved.
    let thread = unsafe { libc::syscall(libc::SYS_gettid) };
    // Blocked until this returns, and then at once: a fault that would be repeated, and a signal that would not.
    // SAFETY: no memory is involved.
    unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) };
}

/// Writes the record.
///
/// # Safety
/// `info` and `context` are what the kernel handed to the handler of a signal.
unsafe fn tell(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let area = AREA.load(Ordering::Acquire);
    if area.is_null() {
        return;
    }
    // SAFETY: valid, as the caller says, for as long as the handler runs.
    let info = unsafe { &*info };
    let code = info.si_code;
    let mut record = Record { signal, code, phase: PHASE.load(Ordering::Relaxed), ..Record::default() };
    // One that a process sent has no address, and a general protection fault does not know it.
    if code > 0 && code != libc::SI_KERNEL {
        // SAFETY: raised by a fault: it has an address.
        record.address = unsafe { info.si_addr() } as u64;
        record.addressed = 1;
    }
    record.call = EXECUTING.try_with(Cell::get).unwrap_or_default();
    // SAFETY: valid, as the caller says.
    record.registers = unsafe { registers(context.cast()) };
    // SAFETY: sixteen bytes are what this asks for.
    unsafe { libc::prctl(libc::PR_GET_NAME, record.thread.as_mut_ptr()) };
    copy_stack(&mut record);
    // SAFETY: the area begins with room for a record, is aligned to a page, and only this thread writes there: it took
    // the turn.
    unsafe { area.cast::<Record>().write_volatile(record) };
    std::sync::atomic::fence(Ordering::Release);
    // SAFETY: as above; the state is the record's first field.
    unsafe { area.cast::<u32>().write_volatile(TOLD) };
}

/// Has the kernel copy the stack: it finds out what can be read, and stops there.
fn copy_stack(record: &mut Record) {
    let file = FILE.load(Ordering::Relaxed);
    // SAFETY: a struct of integers, for which zero is a value.
    let mut stat: libc::stat = unsafe { mem::zeroed() };
    // SAFETY: the struct lives longer than the call, which is safe in a handler.
    let known = unsafe { libc::fstat(file, &raw mut stat) } == 0;
    if !known || stat.st_ino != INODE.load(Ordering::Relaxed) {
        return;
    }
    let pointer = record.registers[1] as usize;
    let mut from = pointer;
    while from.wrapping_sub(pointer) <= GUARD {
        // Page by page, as a write of memory that ends in the midst may fail as a whole.
        let mut copied = 0;
        while copied < STACK_SIZE {
            let next = from.wrapping_add(copied);
            let piece = (PAGE - next % PAGE).min(STACK_SIZE - copied);
            let source = ptr::without_provenance::<c_void>(next);
            let at = (STACK + copied) as libc::off_t;
            // SAFETY: the kernel reads the memory on this thread's behalf and answers `EFAULT` where there is none.
            let written = unsafe { libc::pwrite(file, source, piece, at) };
            if written <= 0 {
                break;
            }
            copied += written.cast_unsigned();
        }
        if copied > 0 {
            record.stack = [from as u64, copied as u64];
            record.skipped = from.wrapping_sub(pointer) as u32;
            return;
        }
        from = from.wrapping_add(PAGE - from % PAGE);
    }
}

/// Program counter, stack pointer, frame pointer, link register.
///
/// # Safety
/// `context` is what the kernel handed to the handler of a signal.
#[cfg(target_arch = "x86_64")]
unsafe fn registers(context: *const libc::ucontext_t) -> [u64; 4] {
    // SAFETY: valid, as the caller says.
    let all = unsafe { (*context).uc_mcontext.gregs };
    let at = |register: c_int| all.get(register as usize).copied().unwrap_or_default().cast_unsigned();
    [at(libc::REG_RIP), at(libc::REG_RSP), at(libc::REG_RBP), 0]
}

/// Program counter, stack pointer, frame pointer, link register.
///
/// # Safety
/// `context` is what the kernel handed to the handler of a signal.
#[cfg(target_arch = "aarch64")]
unsafe fn registers(context: *const libc::ucontext_t) -> [u64; 4] {
    // SAFETY: valid, as the caller says.
    let machine = unsafe { &(*context).uc_mcontext };
    [machine.pc, machine.sp, machine.regs[29], machine.regs[30]]
}

/// No machine whose stacks the host can unwind.
///
/// # Safety
/// None is needed.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn registers(_context: *const libc::ucontext_t) -> [u64; 4] {
    [0; 4]
}
