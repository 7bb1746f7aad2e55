//! Reads an ELF file's headers and holds them against its size.
//!
//! A file that is cut short makes the dynamic loader die of SIGBUS, so every place that a header points to must lie
//! within the bytes: both tables, each loaded segment, each section. Total on any bytes.

use agent_plugin_protocol::Code;
use object::{
    LittleEndian as LE,
    elf::{FileHeader64, PF_X, PT_LOAD, ProgramHeader64, SHT_NOBITS, SectionHeader64},
    read::elf::{FileHeader as _, SectionHeader as _, SectionTable},
};

use super::Refusal;

/// The library's headers, all of which point into the file.
#[derive(Debug)]
pub(crate) struct Elf<'a> {
    bytes: &'a [u8],
    sections: SectionTable<'a, FileHeader64<LE>>,
}

impl<'a> Elf<'a> {
    /// Reads the headers of a whole shared library for this machine.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        magic(bytes)?;
        let truncated = |what: &str| Refusal::new(Code::PluginTruncated, format!("{what} is cut short"));
        let damaged = |what: &str| Refusal::new(Code::PluginNotElf, format!("its {what} is damaged"));
        let ident = bytes.get(..16).ok_or_else(|| truncated("its header"))?;
        machine_of_ident(ident)?;
        if bytes.len() < size_of::<FileHeader64<LE>>() {
            return Err(truncated("its header"));
        }
        let header = FileHeader64::<LE>::parse(bytes).map_err(|_| damaged("header"))?;
        machine(header)?;
        let segments = Table { offset: header.e_phoff.get(LE), count: header.e_phnum.get(LE).into() };
        let sections = Table { offset: header.e_shoff.get(LE), count: header.e_shnum.get(LE).into() };
        if !segments.within::<ProgramHeader64<LE>>(bytes) || header.e_phoff.get(LE) == 0 {
            return Err(truncated("its program header table"));
        }
        if !sections.within::<SectionHeader64<LE>>(bytes) {
            return Err(truncated("its section header table"));
        }
        let loads = header.program_headers(LE, bytes).map_err(|_| damaged("program header table"))?;
        for load in loads.iter().filter(|segment| segment.p_type.get(LE) == PT_LOAD) {
            if !span_within(load.p_offset.get(LE), load.p_filesz.get(LE), bytes) {
                let code = load.p_flags.get(LE).0 & PF_X.0 != 0;
                return Err(truncated(if code { "its code" } else { "its data" }));
            }
        }
        let sections = header.sections(LE, bytes).map_err(|_| damaged("section header table"))?;
        for section in sections.iter().filter(|section| section.sh_type(LE) != SHT_NOBITS) {
            if !span_within(section.sh_offset(LE), section.sh_size(LE), bytes) {
                return Err(truncated("one of its sections"));
            }
        }
        Ok(Self { bytes, sections })
    }

    /// The content of a section.
    pub(crate) fn section(&self, name: &str) -> Option<&'a [u8]> {
        let (_, section) = self.sections.section_by_name(LE, name.as_bytes())?;
        section.data(LE, self.bytes).ok()
    }

    /// The section table, with the bytes that it points into.
    pub(crate) fn tables(&self) -> (&SectionTable<'a, FileHeader64<LE>>, &'a [u8]) {
        (&self.sections, self.bytes)
    }
}

/// A table of headers: where it begins, and how many entries it has.
struct Table {
    offset: u64,
    count: u64,
}

impl Table {
    fn within<Entry>(&self, bytes: &[u8]) -> bool {
        span_within(self.offset, self.count.saturating_mul(size_of::<Entry>() as u64), bytes)
    }
}

fn span_within(offset: u64, size: u64, bytes: &[u8]) -> bool {
    offset.checked_add(size).is_some_and(|end| end <= bytes.len() as u64)
}

fn magic(bytes: &[u8]) -> Result<(), Refusal> {
    const MAGIC: &[u8] = b"\x7fELF";
    if bytes.is_empty() {
        return Err(Refusal::new(Code::PluginNotElf, "the file is empty"));
    }
    if bytes.starts_with(MAGIC) {
        return Ok(());
    }
    if MAGIC.starts_with(bytes) {
        return Err(Refusal::new(Code::PluginTruncated, "its header is cut short"));
    }
    let text = bytes.iter().take(64).all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace());
    let what = if text { "the file is a text" } else { "the file does not begin as an ELF file does" };
    Err(Refusal::new(Code::PluginNotElf, what))
}

fn machine_of_ident(ident: &[u8]) -> Result<(), Refusal> {
    let wrong = |what: &str| {
        let reason = format!("it is {what}, this host is 64-bit little-endian");
        Err(Refusal::new(Code::PluginWrongMachine, reason))
    };
    match (ident.get(4), ident.get(5)) {
        (Some(2), Some(1)) => Ok(()),
        (Some(1), _) => wrong("a 32-bit library"),
        (Some(2), Some(2)) => wrong("a big-endian library"),
        _ => Err(Refusal::new(Code::PluginNotElf, "its header is damaged")),
    }
}

fn machine(header: &FileHeader64<LE>) -> Result<(), Refusal> {
    // The numbers are the ELF specification's: 62 is x86-64, 183 is AArch64; 3 is a shared library.
    const HERE: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
    let machine = header.e_machine.get(LE).0;
    if machine != HERE {
        let reason = format!("it was built for {}, this host runs on {}", name_of(machine), name_of(HERE));
        return Err(Refusal::new(Code::PluginWrongMachine, reason));
    }
    let what = match header.e_type.get(LE).0 {
        3 => return Ok(()),
        1 => "an object file",
        2 => "a program",
        4 => "a core dump",
        _ => "no kind of ELF file that is known",
    };
    Err(Refusal::new(Code::PluginWrongMachine, format!("it is {what}, not a shared library")))
}

fn name_of(machine: u16) -> String {
    match machine {
        3 => "x86 (32-bit)".to_owned(),
        40 => "ARM (32-bit)".to_owned(),
        62 => "x86-64".to_owned(),
        183 => "AArch64".to_owned(),
        243 => "RISC-V".to_owned(),
        other => format!("machine {other}"),
    }
}
