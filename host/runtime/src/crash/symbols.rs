//! Gives addresses in a library their names: function, file and line, as far as the library has them.
//!
//! The library is a plugin's: its tables are untrusted. They are read with bounds by parsers that check them, and what
//! comes out is sanitised.

use std::{collections::HashMap, fs::File};

use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use agent_host_core::sanitise;
use object::{Object, ObjectSection, ObjectSymbol, ObjectSymbolTable, ReadCache, SymbolKind};

use super::backtrace::Place;

/// Debug information beyond this is left alone: names then come from the symbol table.
const LARGEST_DEBUG: u64 = 128 << 20;
/// Functions that may be put into each other at one address.
const INLINED: usize = 16;
/// Longest name and longest path, in characters.
const LONGEST: usize = 256;

/// One function at an address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Name {
    pub(super) function: Option<String>,
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
}

/// The functions at each place, innermost first; a place without any has no entry.
pub(super) fn find<'a>(file: &File, places: impl Iterator<Item = &'a Place>) -> HashMap<u64, Vec<Name>> {
    let Ok(file) = file.try_clone() else { return HashMap::new() };
    let cache = ReadCache::new(file);
    let Ok(object) = object::File::parse(&cache) else { return HashMap::new() };
    let context = debug_information(&object);
    let addresses: Vec<u64> = places.map(|place| place.lookup).collect();
    let symbols = symbols(&object, &addresses);
    let mut found = HashMap::new();
    for address in addresses {
        let mut names = context.as_ref().map(|context| inlined(context, address)).unwrap_or_default();
        let symbol = symbols.get(&address).cloned();
        match names.last_mut() {
            // The outermost is the function that the symbol table names, and with its path, which line tables leave out.
            Some(outermost) => outermost.function = symbol.or(outermost.function.take()),
            None => names.extend(symbol.map(|name| Name { function: Some(name), ..Name::default() })),
        }
        if !names.is_empty() {
            found.insert(address, names);
        }
    }
    found
}

type Context<'a> = addr2line::Context<EndianSlice<'a, LittleEndian>>;

fn debug_information<'a>(object: &object::File<'a, &'a ReadCache<File>>) -> Option<Context<'a>> {
    let debug = object.sections().filter(|section| section.name().is_ok_and(|n| n.starts_with(".debug_")));
    if debug.map(|section| section.size()).fold(0, u64::saturating_add) > LARGEST_DEBUG {
        return None;
    }
    let section = |id: SectionId| {
        let section = object.section_by_name(id.name());
        // One that cannot be read is as one that is not there.
        let bytes = section.and_then(|section| section.data().ok()).unwrap_or_default();
        Ok::<_, addr2line::gimli::Error>(EndianSlice::new(bytes, LittleEndian))
    };
    let dwarf = Dwarf::load(section).ok()?;
    addr2line::Context::from_dwarf(dwarf).ok()
}

fn inlined(context: &Context<'_>, address: u64) -> Vec<Name> {
    let mut names = Vec::new();
    let Ok(mut frames) = context.find_frames(address).skip_all_loads() else { return names };
    while names.len() < INLINED
        && let Ok(Some(frame)) = frames.next()
    {
        let function = frame.function.as_ref().and_then(|function| function.raw_name().ok());
        let location = frame.location.as_ref();
        names.push(Name {
            function: function.map(|name| readable(&name)),
            file: location.and_then(|at| at.file).map(|file| sanitise::line(file, LONGEST)),
            line: location.and_then(|at| at.line),
        });
    }
    names
}

/// The symbols that the addresses lie in.
fn symbols<'a>(object: &object::File<'a, &'a ReadCache<File>>, addresses: &[u64]) -> HashMap<u64, String> {
    let mut found = HashMap::<u64, (u64, &str)>::new();
    for table in [object.symbol_table(), object.dynamic_symbol_table()].into_iter().flatten() {
        for symbol in table.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
            let (start, size) = (symbol.address(), symbol.size());
            for address in addresses {
                let holds = address.checked_sub(start).is_some_and(|within| within < size);
                if holds && let Ok(name) = symbol.name() {
                    found.entry(*address).or_insert((start, name));
                }
            }
        }
    }
    found.into_iter().map(|(address, (_, name))| (address, readable(name))).collect()
}

fn readable(name: &str) -> String {
    // Without the hash at its end.
    sanitise::line(&format!("{:#}", rustc_demangle::demangle(name)), LONGEST)
}
