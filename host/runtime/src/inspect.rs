//! Tells what a library is and what it wants, for people, without loading it.
//!
//! No verdict is given here: that is the loader's. Total on any file.

use std::path::Path;

use agent_host_core::{ports::instance::Fault, sanitise};
use agent_plugin_protocol::PluginDescriptor;
use object::{
    LittleEndian as LE,
    elf::{SHT_DYNSYM, SHT_SYMTAB},
    read::elf::Sym as _,
};

use crate::{
    candidate::Candidate,
    verify::{
        descriptor,
        elf::Elf,
        hex_digest,
        needs::{linked_libraries, needed_glibc},
        signature::{self, Signed},
    },
};

/// What can be read of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Its size, in bytes.
    pub size: u64,
    /// SHA-256 of its bytes, lower-case hex: what a pin is held against.
    pub sha256: String,
    /// What the signature beside it says, held against the given keys; `None` where there is none, or it does not verify.
    pub signed: Option<Signed>,
    /// What it is as a library; `None` where it is none for this machine.
    pub library: Option<Library>,
}

/// What can be read of a shared library. Names are sanitised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// What it says of itself, where it does and this host can read it. Not sanitised.
    pub descriptor: Option<PluginDescriptor>,
    /// Whether its symbols were taken away.
    pub stripped: bool,
    /// Libraries that it links to.
    pub needed: Vec<String>,
    /// The newest glibc that its symbols ask for.
    pub glibc: Option<(u32, u32)>,
    /// Functions and variables that it takes from elsewhere, sorted.
    pub imports: Vec<String>,
    /// Whose memory it uses.
    pub allocator: Allocator,
}

/// Whose memory a library uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allocator {
    /// The system's.
    System,
    /// One of its own, known by this symbol.
    Own(String),
    /// It cannot be told: the symbols were taken away.
    Unknown,
}

/// Reads a file of at most `limit` bytes, and the signature beside it. Blocks on the disk, never on a fifo.
///
/// # Errors
/// The loader's own fault, where the file cannot be read or may not be.
pub fn inspect(path: &Path, limit: u64, keys: &[String]) -> Result<Inspection, Fault> {
    let bytes = Candidate::at(path, limit)?.read()?;
    Ok(Inspection {
        size: bytes.len() as u64,
        sha256: hex_digest(&bytes),
        signed: signature::read(path)
            .ok()
            .flatten()
            .and_then(|text| signature::judge(&bytes, &text, keys).ok()),
        library: Elf::parse(&bytes).ok().map(|elf| library(&elf)),
    })
}

pub(crate) fn library(elf: &Elf<'_>) -> Library {
    let dynamic = symbols(elf, SHT_DYNSYM);
    let all = symbols(elf, SHT_SYMTAB);
    let mut imports: Vec<String> = dynamic.iter().filter(|one| !one.defined).map(|one| one.shown()).collect();
    imports.sort();
    imports.dedup();
    Library {
        descriptor: descriptor(elf).ok(),
        stripped: all.is_empty(),
        needed: linked_libraries(elf).into_iter().map(shown).collect(),
        glibc: needed_glibc(elf),
        imports,
        allocator: allocator(&dynamic, &all),
    }
}

/// A symbol of a table.
struct Symbol<'a> {
    name: &'a [u8],
    defined: bool,
}

impl Symbol<'_> {
    fn shown(&self) -> String {
        shown(self.name)
    }

    fn contains(&self, part: &str) -> bool {
        self.name.windows(part.len()).any(|window| window == part.as_bytes())
    }
}

/// Symbols that are looked at: more than any real library has. Bounds the time that a hostile table can cost.
const MOST_SYMBOLS: usize = 1_000_000;
/// Imports and the like that are kept.
const MOST_DYNAMIC: usize = 20_000;

fn symbols<'a>(elf: &Elf<'a>, kind: object::elf::SectionType) -> Vec<Symbol<'a>> {
    let (sections, bytes) = elf.tables();
    let Ok(table) = sections.symbols(LE, bytes, kind) else { return Vec::new() };
    let strings = table.strings();
    let most = if kind == SHT_DYNSYM { MOST_DYNAMIC } else { MOST_SYMBOLS };
    let read = |symbol: &'a object::elf::Sym64<LE>| {
        let name = symbol.name(LE, strings).ok().filter(|name| !name.is_empty())?;
        Some(Symbol { name, defined: !symbol.is_undefined(LE) })
    };
    table.iter().take(most).filter_map(read).collect()
}

/// An allocator of its own shows by the system's functions that it defines for others too, by the well-known ones'
/// names, or by the lack of Rust's default one beside a use of Rust's allocation.
fn allocator(dynamic: &[Symbol<'_>], all: &[Symbol<'_>]) -> Allocator {
    const SYSTEM: &[&[u8]] = &[b"malloc", b"free", b"calloc", b"realloc", b"posix_memalign"];
    const KNOWN: &[&str] = &["_rjem_malloc", "je_malloc", "mi_malloc", "tc_malloc", "sn_malloc"];
    let replaced = dynamic.iter().find(|one| one.defined && SYSTEM.contains(&one.name));
    let known = || all.iter().find(|one| one.defined && KNOWN.iter().any(|name| one.name == name.as_bytes()));
    if let Some(symbol) = replaced.or_else(known) {
        return Allocator::Own(symbol.shown());
    }
    let has = |part: &str| all.iter().any(|one| one.defined && one.contains(part));
    if all.is_empty() {
        Allocator::Unknown
    } else if has("___rust_alloc") && !has("___rdl_alloc") {
        Allocator::Own("#[global_allocator]".to_owned())
    } else {
        Allocator::System
    }
}

fn shown(name: &[u8]) -> String {
    sanitise::line(&String::from_utf8_lossy(name), 128)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(dynamic: &[(&str, bool)], all: &[&str]) -> Allocator {
        fn symbol(name: &str, defined: bool) -> Symbol<'_> {
            Symbol { name: name.as_bytes(), defined }
        }
        let dynamic: Vec<_> = dynamic.iter().map(|(name, defined)| symbol(name, *defined)).collect();
        let all: Vec<_> = all.iter().map(|name| symbol(name, true)).collect();
        allocator(&dynamic, &all)
    }

    #[test]
    fn an_allocator_of_its_own_is_seen_where_symbols_are_left() {
        let own = |name: &str| Allocator::Own(name.to_owned());
        let (alloc, default) = ("_RNvCs1_7___rustc12___rust_alloc", "_RNvCs1_7___rustc11___rdl_alloc");
        assert_eq!(of(&[("malloc", false)], &[alloc, default]), Allocator::System);
        assert_eq!(of(&[("malloc", false)], &[alloc]), own("#[global_allocator]"));
        assert_eq!(of(&[("malloc", false)], &[alloc, "mi_malloc"]), own("mi_malloc"));
        assert_eq!(of(&[("malloc", true)], &[alloc, default]), own("malloc"));
        assert_eq!(of(&[("malloc", false)], &[]), Allocator::Unknown);
        assert_eq!(of(&[], &["written_in_c"]), Allocator::System);
    }

    #[test]
    fn a_running_program_can_be_inspected_and_is_no_library() {
        let program = std::env::current_exe().unwrap();
        let inspection = inspect(&program, u64::MAX, &[]).unwrap();
        assert_eq!((inspection.sha256.len(), inspection.size > 0), (64, true));
        let descriptor = inspection.library.and_then(|library| library.descriptor);
        assert_eq!(descriptor, None);
        assert!(inspect(&program, 1, &[]).is_err());
    }
}
