//! The host's side of a worker's crash area: made before the worker, read after it.

use std::{
    fs::File,
    io,
    mem::{offset_of, size_of},
    os::{fd::OwnedFd, unix::fs::FileExt},
};

use agent_host_core::{
    crash::{Backtrace, CrashReport, CrashedCall, During},
    failpoint,
    failpoint::Action,
    sanitise,
};
use agent_plugin_protocol::CallId;
use rustix::fs::{MemfdFlags, SealFlags};

use super::{LoadedModule, MODULES, MODULES_SIZE, Phase, Record, SIZE, STACK, STACK_SIZE, TOLD};

/// How far below the stack pointer a used-up stack may be touched: a large frame is begun at its far end.
const LARGEST_FRAME: u64 = 1 << 20;
/// How far above it: the stack pointer itself may already lie in the guard page.
const INTO_THE_GUARD: u64 = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub(crate) struct CrashArea(File);

/// What a worker told of its crash.
#[derive(Debug)]
pub(crate) struct Told {
    /// For people; its backtrace is still to be found out.
    pub(crate) report: CrashReport,
    /// To find it out from.
    pub(crate) remains: Remains,
}

/// What a backtrace is made from.
#[derive(Debug)]
pub(crate) struct Remains {
    /// Program counter, stack pointer, frame pointer, link register.
    pub(crate) registers: [u64; 4],
    /// The address of the stack's first byte, and the bytes.
    pub(crate) stack: (u64, Vec<u8>),
    /// The libraries.
    pub(crate) modules: Vec<LoadedModule>,
}

impl CrashArea {
    /// An empty one, of a size that nobody can change.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(rustix::fs::memfd_create("crash", flags)?);
        file.set_len(SIZE as u64)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok(Self(file))
    }

    /// Another descriptor of it, for the worker.
    pub(crate) fn for_worker(&self) -> io::Result<OwnedFd> {
        self.0.try_clone().map(Into::into)
    }

    /// What was told, if anything was; of this signal, which ended the worker.
    pub(crate) fn told(&self, signal: i32) -> Option<Told> {
        // For a broken twin: a host that does not look.
        if failpoint!("runtime.crash_report") == Some(Action::Off) {
            return None;
        }
        let record = self.record().filter(|record| record.state == TOLD && record.signal == signal)?;
        let length = usize::try_from(record.stack[1]).ok()?.min(STACK_SIZE);
        let mut stack = vec![0; length];
        self.0.read_exact_at(&mut stack, STACK as u64).ok()?;
        let modules = MODULES.into_iter().rev().find_map(|at| self.modules(at)).unwrap_or_default();
        let remains = Remains { registers: record.registers, stack: (record.stack[0], stack), modules };
        Some(Told { report: report(&record), remains })
    }

    fn record(&self) -> Option<Record> {
        let mut bytes = [0; size_of::<Record>()];
        self.0.read_exact_at(&mut bytes, 0).ok()?;
        let u32_at = |at: usize| bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes);
        let u64_at = |at: usize| bytes.get(at..)?.first_chunk().copied().map(u64::from_ne_bytes);
        let (registers, stack) = (offset_of!(Record, registers), offset_of!(Record, stack));
        Some(Record {
            state: u32_at(offset_of!(Record, state))?,
            signal: u32_at(offset_of!(Record, signal))?.cast_signed(),
            code: u32_at(offset_of!(Record, code))?.cast_signed(),
            phase: u32_at(offset_of!(Record, phase))?,
            addressed: u32_at(offset_of!(Record, addressed))?,
            skipped: u32_at(offset_of!(Record, skipped))?,
            address: u64_at(offset_of!(Record, address))?,
            call: u64_at(offset_of!(Record, call))?,
            registers: [
                u64_at(registers)?,
                u64_at(registers + 8)?,
                u64_at(registers + 16)?,
                u64_at(registers + 24)?,
            ],
            stack: [u64_at(stack)?, u64_at(stack + 8)?],
            thread: *bytes.get(offset_of!(Record, thread)..)?.first_chunk()?,
        })
    }

    fn modules(&self, at: usize) -> Option<Vec<LoadedModule>> {
        let mut length = [0; 4];
        self.0.read_exact_at(&mut length, at as u64).ok()?;
        let length = u32::from_le_bytes(length) as usize;
        if length == 0 || length > MODULES_SIZE - 4 {
            return None;
        }
        let mut list = vec![0; length];
        self.0.read_exact_at(&mut list, at as u64 + 4).ok()?;
        serde_json::from_slice(&list).ok()
    }
}

fn report(record: &Record) -> CrashReport {
    let name = record.thread.split(|byte| *byte == 0).next().unwrap_or_default();
    let address = (record.addressed != 0).then_some(record.address);
    CrashReport {
        signal: record.signal,
        code: record.code,
        address,
        stack_overflow: is_overflow(record, address),
        thread: sanitise::line(&String::from_utf8_lossy(name), 16),
        during: during(record),
        open: Vec::new(),
        backtrace: Backtrace::default(),
    }
}

fn during(record: &Record) -> During {
    match record.phase {
        phase if phase == Phase::Load as u32 => During::Load,
        phase if phase == Phase::Create as u32 => During::Create,
        phase if phase == Phase::Destroy as u32 => During::Destroy,
        _ if record.call != 0 => {
            During::Call(CrashedCall { call: CallId(record.call), method: None, run: None })
        }
        _ => During::Elsewhere,
    }
}

/// A stack that is used up is touched below what of it is mapped. All between the stack pointer and the stack's
/// beginning is mapped, so an address near the pointer that faults lies outside: in the guard page, or below it.
fn is_overflow(record: &Record, address: Option<u64>) -> bool {
    let Some(address) = address.filter(|_| [SIGSEGV, SIGBUS].contains(&record.signal)) else { return false };
    let pointer = record.registers[1];
    if pointer == 0 {
        return false;
    }
    let above = if record.skipped > 0 { INTO_THE_GUARD } else { 0 };
    (pointer.saturating_sub(LARGEST_FRAME)..=pointer.saturating_add(above)).contains(&address)
}

/// The same on every Linux that has them.
const SIGSEGV: i32 = libc::SIGSEGV;
const SIGBUS: i32 = libc::SIGBUS;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(address: u64, pointer: u64, skipped: u32) -> Record {
        let registers = [1, pointer, 0, 0];
        Record {
            state: TOLD,
            signal: SIGSEGV,
            addressed: 1,
            address,
            skipped,
            registers,
            ..Record::default()
        }
    }

    #[test]
    fn a_stack_overflow_is_told_from_another_wild_address() {
        let overflows = |record: Record| report(&record).stack_overflow;
        // Touched below the pointer, and with the pointer in the guard page.
        assert!(overflows(record(0x7000_0000, 0x7000_1000, 0)));
        assert!(overflows(record(0x7000_1008, 0x7000_1000, 4096)));
        // Above it, where all is mapped; nowhere near; and null.
        assert!(!overflows(record(0x7000_1008, 0x7000_1000, 0)));
        assert!(!overflows(record(0x1000, 0x7000_1000, 0)));
        assert!(!overflows(record(0, 0x7000_1000, 0)));
        assert!(!overflows(Record { signal: libc::SIGILL, ..record(0x7000_0000, 0x7000_1000, 0) }));
    }

    #[test]
    fn an_area_that_nobody_wrote_to_or_anybody_did_is_read_within_bounds() {
        let area = CrashArea::new().unwrap();
        assert!(area.told(SIGSEGV).is_none());
        area.0.write_all_at(&[0xff; SIZE], 0).unwrap();
        assert!(area.told(SIGSEGV).is_none());
        // A forged record whose lengths are absurd.
        for (at, word) in [(0, TOLD), (4, SIGSEGV.cast_unsigned())] {
            area.0.write_all_at(&word.to_ne_bytes(), at).unwrap();
        }
        let told = area.told(SIGSEGV).unwrap();
        assert_eq!(told.remains.stack.1.len(), STACK_SIZE);
        assert!(told.remains.modules.is_empty());
        assert!(area.told(libc::SIGABRT).is_none(), "of another signal than the one that ended it");
        assert!(area.0.set_len(1).is_err(), "the size can be changed");
    }
}
