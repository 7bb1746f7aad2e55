//! The descriptor's binary layout in the ELF section [`SECTION_NAME`], readable without running the library.
//!
//! ```text
//! 0   8  magic "AGNTPLG\x01"
//! 8   2  ABI major   (little endian, as all numbers here)
//! 10  2  ABI minor
//! 12  1  panic strategy: 0 unwind, 1 abort
//! 13  1  kind: 0 agent, 1 supervisor
//! 14  2  number of text fields that follow
//! 16  …  fields: u16 length, then that many bytes of UTF-8:
//!        id, version, description, sdk version, rustc version, requires (comma separated)
//! …      zeros up to SECTION_BYTES
//! ```
//! Later minor versions append fields; a reader ignores those it does not know.

use crate::{
    descriptor::{PanicStrategy, PluginDescriptor, PluginKind},
    id::PluginId,
};

/// The section that holds the descriptor.
pub const SECTION_NAME: &str = ".agent_plugin";
/// Size of the section's content.
pub const SECTION_BYTES: usize = 1024;
/// First bytes of the section. The last one is the layout's version.
pub const MAGIC: [u8; 8] = *b"AGNTPLG\x01";

/// The ABI that this version of the crate describes.
pub const ABI_MAJOR: u16 = 1;
/// See [`ABI_MAJOR`].
pub const ABI_MINOR: u16 = 0;

const FIELDS: u16 = 6;

/// What an author's build knows at compile time; `encode` makes the section of it.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// See [`PluginDescriptor::id`].
    pub id: &'static str,
    /// See [`PluginDescriptor::kind`].
    pub kind: PluginKind,
    /// See [`PluginDescriptor::version`].
    pub version: &'static str,
    /// See [`PluginDescriptor::description`].
    pub description: &'static str,
    /// See [`PluginDescriptor::sdk_version`].
    pub sdk_version: &'static str,
    /// See [`PluginDescriptor::rustc_version`].
    pub rustc_version: &'static str,
    /// See [`PluginDescriptor::panic`].
    pub panic: PanicStrategy,
    /// See [`PluginDescriptor::requires`]; comma separated.
    pub requires: &'static str,
}

/// Writes the section, at compile time. Evaluated in a `const`, so a field that does not fit stops the build.
pub const fn encode(identity: Identity) -> [u8; SECTION_BYTES] {
    let mut out = [0; SECTION_BYTES];
    let mut at = put(&mut out, 0, &MAGIC);
    at = put(&mut out, at, &ABI_MAJOR.to_le_bytes());
    at = put(&mut out, at, &ABI_MINOR.to_le_bytes());
    let panic = match identity.panic {
        PanicStrategy::Unwind => 0,
        PanicStrategy::Abort => 1,
    };
    let kind = match identity.kind {
        PluginKind::Agent => 0,
        PluginKind::Supervisor => 1,
    };
    at = put(&mut out, at, &[panic, kind]);
    at = put(&mut out, at, &FIELDS.to_le_bytes());
    at = field(&mut out, at, identity.id);
    at = field(&mut out, at, identity.version);
    at = field(&mut out, at, identity.description);
    at = field(&mut out, at, identity.sdk_version);
    at = field(&mut out, at, identity.rustc_version);
    field(&mut out, at, identity.requires);
    out
}

const fn put(out: &mut [u8; SECTION_BYTES], at: usize, bytes: &[u8]) -> usize {
    let mut i = 0;
    while i < bytes.len() {
        out[at + i] = bytes[i];
        i += 1;
    }
    at + i
}

const fn field(out: &mut [u8; SECTION_BYTES], at: usize, text: &str) -> usize {
    let length = text.len() as u16;
    let at = put(out, at, &length.to_le_bytes());
    put(out, at, text.as_bytes())
}

/// Why a section is not a descriptor this host can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SectionError {
    /// The bytes are not a descriptor, or a damaged one.
    #[error("descriptor section: {0}")]
    Malformed(&'static str),
    /// Built for an ABI that this host no longer speaks.
    #[error("the plugin speaks ABI {0}, this host speaks {ABI_MAJOR}")]
    TooOld(u16),
    /// Built for an ABI that this host does not speak yet.
    #[error("the plugin speaks ABI {0}, this host speaks {ABI_MAJOR}")]
    TooNew(u16),
}

/// Reads a section. Total: any bytes give a descriptor or an error.
///
/// # Errors
/// [`SectionError`] for anything but a whole descriptor of an ABI that this host speaks.
pub fn decode(bytes: &[u8]) -> Result<PluginDescriptor, SectionError> {
    use SectionError::{Malformed, TooNew, TooOld};
    let mut rest = bytes.strip_prefix(&MAGIC[..]).ok_or(Malformed("wrong magic"))?;
    let major = number(&mut rest)?;
    let minor = number(&mut rest)?;
    // The major decides before the rest is read: a later layout may differ from here on.
    if major < ABI_MAJOR {
        return Err(TooOld(major));
    }
    if major > ABI_MAJOR {
        return Err(TooNew(major));
    }
    let [panic, kind, tail @ ..] = rest else { return Err(Malformed("cut short")) };
    rest = tail;
    let panic = match panic {
        0 => PanicStrategy::Unwind,
        1 => PanicStrategy::Abort,
        _ => return Err(Malformed("unknown panic strategy")),
    };
    let kind = match kind {
        0 => PluginKind::Agent,
        1 => PluginKind::Supervisor,
        _ => return Err(Malformed("unknown plugin kind")),
    };
    if number(&mut rest)? < FIELDS {
        return Err(Malformed("too few fields"));
    }
    let id = PluginId::new(text(&mut rest)?).map_err(|_| Malformed("invalid plugin id"))?;
    let version = text(&mut rest)?.to_owned();
    let description = text(&mut rest)?.to_owned();
    let sdk_version = text(&mut rest)?.to_owned();
    let rustc_version = text(&mut rest)?.to_owned();
    let requires =
        text(&mut rest)?.split(',').map(str::trim).filter(|r| !r.is_empty()).map(str::to_owned).collect();
    Ok(PluginDescriptor {
        id,
        kind,
        version,
        description,
        abi: (major, minor),
        sdk_version,
        rustc_version,
        panic,
        requires,
    })
}

fn number(rest: &mut &[u8]) -> Result<u16, SectionError> {
    let (head, tail) = rest.split_first_chunk::<2>().ok_or(SectionError::Malformed("cut short"))?;
    *rest = tail;
    Ok(u16::from_le_bytes(*head))
}

fn text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, SectionError> {
    let length = usize::from(number(rest)?);
    let (head, tail) = rest.split_at_checked(length).ok_or(SectionError::Malformed("cut short"))?;
    *rest = tail;
    std::str::from_utf8(head).map_err(|_| SectionError::Malformed("text is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ECHO: [u8; SECTION_BYTES] = encode(Identity {
        id: "echo",
        kind: PluginKind::Agent,
        version: "1.2.3",
        description: "says it back",
        sdk_version: "0.1.0",
        rustc_version: "1.95.0",
        panic: PanicStrategy::Unwind,
        requires: "llm, tools",
    });

    #[test]
    fn what_is_encoded_is_decoded() {
        let read = decode(&ECHO).unwrap();
        assert_eq!(read.id.as_str(), "echo");
        assert_eq!((read.version.as_str(), read.description.as_str()), ("1.2.3", "says it back"));
        assert_eq!((read.abi, read.panic, read.kind), ((1, 0), PanicStrategy::Unwind, PluginKind::Agent));
        assert_eq!(read.requires, ["llm", "tools"]);
    }

    #[test]
    fn another_abi_is_named_before_anything_else_is_read() {
        let mut section = ECHO;
        section[8] = 0;
        assert_eq!(decode(&section[..12]), Err(SectionError::TooOld(0)));
        section[8] = 9;
        assert_eq!(decode(&section[..12]), Err(SectionError::TooNew(9)));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let whole = ECHO.iter().rposition(|b| *b != 0).unwrap() + 1;
        for end in 0..whole {
            assert!(decode(&ECHO[..end]).is_err(), "cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200), flip in 0usize..120) {
            let _ = decode(&bytes);
            let mut section = ECHO;
            section[flip] ^= 0xff;
            let _ = decode(&section);
        }
    }
}
