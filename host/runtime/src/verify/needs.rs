//! Holds what a library needs of the system against what is there: other libraries, and the version of glibc.
//!
//! The dynamic loader's own words for these mislead. Only what is certain is reported here; the rest it finds itself.

use std::path::Path;

use agent_plugin_protocol::Code;
use object::{
    LittleEndian as LE,
    elf::{DT_NEEDED, DT_RPATH, DT_RUNPATH},
};

use super::{Refusal, elf::Elf};

/// Entries that are looked at; a real library has a handful. Bounds the time that a hostile table can cost.
const MOST_ENTRIES: usize = 4096;

/// What the system offers to libraries.
#[derive(Debug)]
pub(super) struct Platform {
    glibc: Option<Glibc>,
    /// `/etc/ld.so.cache`; without it nothing can be said to be missing.
    cache: Option<Vec<u8>>,
}

/// A version of glibc.
pub(crate) type Glibc = (u32, u32);

impl Platform {
    /// The system this host runs on.
    pub(super) fn current() -> Self {
        Self { glibc: running_glibc(), cache: std::fs::read("/etc/ld.so.cache").ok() }
    }

    /// A system with that glibc, of which else nothing is known.
    #[cfg(test)]
    pub(super) fn with_glibc(glibc: Glibc) -> Self {
        Self { glibc: Some(glibc), cache: None }
    }

    fn surely_lacks(&self, library: &[u8]) -> bool {
        let Some(cache) = &self.cache else { return false };
        let Ok(name) = std::str::from_utf8(library) else { return false };
        if name.is_empty() || name.contains('/') || FOLDERS.iter().any(|f| Path::new(f).join(name).exists()) {
            return false;
        }
        // The cache holds each library's name and its path, both ended by a zero.
        let mut ended = library.to_vec();
        ended.push(0);
        !cache.windows(ended.len()).any(|window| window == ended)
    }
}

/// The loader's default folders, on the distributions that are in use.
const FOLDERS: &[&str] = &[
    "/lib",
    "/usr/lib",
    "/lib64",
    "/usr/lib64",
    #[cfg(target_arch = "x86_64")]
    "/lib/x86_64-linux-gnu",
    #[cfg(target_arch = "x86_64")]
    "/usr/lib/x86_64-linux-gnu",
    #[cfg(target_arch = "aarch64")]
    "/lib/aarch64-linux-gnu",
    #[cfg(target_arch = "aarch64")]
    "/usr/lib/aarch64-linux-gnu",
];

/// Refuses a library whose needs are certainly not met.
pub(super) fn check(elf: &Elf<'_>, platform: &Platform) -> Result<(), Refusal> {
    if let Some(running) = platform.glibc
        && let Some(needed) = needed_glibc(elf)
        && needed > running
    {
        let reason =
            format!("it needs glibc {}.{}, this host has {}.{}", needed.0, needed.1, running.0, running.1);
        return Err(Refusal::new(Code::PluginGlibcTooNew, reason));
    }
    match needed_libraries(elf).into_iter().find(|library| platform.surely_lacks(library)) {
        None => Ok(()),
        Some(library) => {
            let reason = format!(
                "it needs {}",
                agent_host_core::sanitise::line(&String::from_utf8_lossy(library), 128)
            );
            Err(Refusal::new(Code::PluginMissingLibrary, reason))
        }
    }
}

/// The names of the libraries it links to; none where it brings its own search path, as then nothing is certain.
fn needed_libraries<'a>(elf: &Elf<'a>) -> Vec<&'a [u8]> {
    let (sections, bytes) = elf.tables();
    let Ok(dynamic) = sections.dynamic_table(LE, bytes) else { return Vec::new() };
    let own_path = dynamic.iter().take(MOST_ENTRIES).any(|d| d.tag == DT_RPATH || d.tag == DT_RUNPATH);
    if own_path { Vec::new() } else { linked_libraries(elf) }
}

/// The names of the libraries it links to, wherever they are looked for.
pub(crate) fn linked_libraries<'a>(elf: &Elf<'a>) -> Vec<&'a [u8]> {
    let (sections, bytes) = elf.tables();
    let Ok(dynamic) = sections.dynamic_table(LE, bytes) else { return Vec::new() };
    let needed = dynamic.iter().take(MOST_ENTRIES).filter(|d| d.tag == DT_NEEDED);
    needed.filter_map(|d| dynamic.string(d).ok()).take(64).collect()
}

/// The newest `GLIBC_x.y` among the versions of the symbols it uses.
pub(crate) fn needed_glibc(elf: &Elf<'_>) -> Option<Glibc> {
    let (sections, bytes) = elf.tables();
    let (needs, link) = sections.gnu_verneed(LE, bytes).ok()??;
    let strings = sections.strings(LE, bytes, link).ok()?;
    let mut newest = None;
    let mut left = MOST_ENTRIES;
    for need in needs {
        for version in need.ok()?.1 {
            left = left.checked_sub(1)?;
            newest = newest.max(version.ok()?.name(LE, strings).ok().and_then(glibc_version));
        }
    }
    newest
}

fn glibc_version(name: &[u8]) -> Option<Glibc> {
    let numbers = std::str::from_utf8(name).ok()?.strip_prefix("GLIBC_")?;
    let mut parts = numbers.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

#[allow(unsafe_code, reason = "one call into libc that has no safe wrapper")]
fn running_glibc() -> Option<Glibc> {
    // SAFETY: the function takes nothing and returns a pointer to a static, zero-ended text.
    let version = unsafe { libc::gnu_get_libc_version() };
    // SAFETY: as above: never null, zero-ended, and it lives as long as the program.
    let version = unsafe { std::ffi::CStr::from_ptr(version) };
    let text = version.to_str().ok()?;
    glibc_version(format!("GLIBC_{text}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert_eq!(glibc_version(b"GLIBC_2.2.5"), Some((2, 2)));
        assert!(glibc_version(b"GLIBC_2.34") > glibc_version(b"GLIBC_2.4"));
        assert_eq!(glibc_version(b"GLIBC_PRIVATE"), None);
        assert!(running_glibc() >= Some((2, 17)));
    }

    #[test]
    fn without_the_loader_s_cache_nothing_is_said_to_be_missing() {
        let platform = Platform { glibc: None, cache: None };
        assert!(!platform.surely_lacks(b"libnowhere.so.1"));
        let platform = Platform { glibc: None, cache: Some(b"x\0libhere.so.1\0".to_vec()) };
        assert!(!platform.surely_lacks(b"libhere.so.1"));
        assert!(platform.surely_lacks(b"libnowhere.so.1"));
        assert!(!platform.surely_lacks(b"/opt/own/libnowhere.so.1"));
    }
}
