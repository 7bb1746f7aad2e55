//! Judges a library by its bytes alone: what passes may be handed to the dynamic loader.

pub(crate) mod elf;
pub(crate) mod needs;
pub(crate) mod signature;

use std::{fmt::Write as _, sync::Arc};

use agent_host_core::ports::instance::{Fault, Isolation, PluginSpec, Stage};
use agent_plugin_protocol::{Code, PanicStrategy, PluginDescriptor, section, section::SectionError};
use sha2::{Digest, Sha256};

use self::{elf::Elf, needs::Platform};
use crate::candidate::Candidate;

/// A library that was read once, hashed, and found fit to be loaded.
#[derive(Debug)]
pub(crate) struct VerifiedArtifact {
    /// The bytes that were judged.
    pub(crate) bytes: Vec<u8>,
    /// Their SHA-256, lower-case hex.
    pub(crate) digest: String,
    /// What the library says of itself.
    pub(crate) descriptor: Arc<PluginDescriptor>,
}

/// Stage `verify`. Blocks on the disk: to be called where that is allowed.
pub(crate) fn verify(spec: &PluginSpec, candidate: &Candidate) -> Result<VerifiedArtifact, Fault> {
    verify_bytes(spec, candidate, candidate.read()?)
}

/// The same for the candidate's bytes.
pub(crate) fn verify_bytes(
    spec: &PluginSpec,
    candidate: &Candidate,
    bytes: Vec<u8>,
) -> Result<VerifiedArtifact, Fault> {
    // Without a key there is nothing to hold it against.
    let signature = if spec.trust.keys.is_empty() { Ok(None) } else { signature::read(candidate.path()) };
    judge(spec, bytes, signature, &Platform::current()).map_err(|refusal| {
        let reason = format!("{}: {}", candidate.path().display(), refusal.reason);
        let fault = Fault::new(Stage::Verify, refusal.code, reason);
        match refusal.hint {
            Some(hint) => Fault { hint, ..fault },
            None => fault,
        }
    })
}

/// Why bytes are not a plugin of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The stable code.
    pub(crate) code: Code,
    /// Half a sentence.
    pub(crate) reason: String,
    /// What to do, where the code alone does not say it.
    pub(crate) hint: Option<String>,
}

impl Refusal {
    fn new(code: Code, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), hint: None }
    }
}

/// The checks on the bytes, in the order in which their answers are most telling. Total on any bytes.
fn judge(
    spec: &PluginSpec,
    bytes: Vec<u8>,
    signature: Result<Option<String>, Refusal>,
    platform: &Platform,
) -> Result<VerifiedArtifact, Refusal> {
    let elf = Elf::parse(&bytes)?;
    let digest = hex_digest(&bytes);
    if let Some(pin) = &spec.sha256
        && !pin.eq_ignore_ascii_case(&digest)
    {
        let reason = format!("its SHA-256 is {digest}, pinned is {pin}");
        return Err(Refusal::new(Code::PluginDigestMismatch, reason));
    }
    // A signature that is there is verified, also where none is asked for.
    let signed = match signature? {
        Some(text) => signature::judge(&bytes, &text, &spec.trust.keys)?.verified,
        None => false,
    };
    vouched(spec, &digest, signed)?;
    let descriptor = descriptor(&elf)?;
    if descriptor.kind != spec.kind {
        let reason = format!(
            "the configuration says kind = \"{}\", but the library is a{} {}",
            spec.kind,
            if descriptor.kind.as_str().starts_with('a') { "n" } else { "" },
            descriptor.kind
        );
        let hint = format!(
            "set `kind = \"{}\"` in [plugins.{}], or let `path` name a library that is a{} {}",
            descriptor.kind,
            spec.id,
            if spec.kind.as_str().starts_with('a') { "n" } else { "" },
            spec.kind
        );
        return Err(Refusal { hint: Some(hint), ..Refusal::new(Code::PluginConfigInvalid, reason) });
    }
    if spec.isolation == Isolation::InProcess && descriptor.panic == PanicStrategy::Abort {
        return Err(Refusal::new(Code::PluginPanicAbort, "it was built with panic=abort"));
    }
    needs::check(&elf, platform)?;
    Ok(VerifiedArtifact { bytes, digest, descriptor: Arc::new(descriptor) })
}

/// Whether somebody vouches for the bytes, as far as that is asked for.
fn vouched(spec: &PluginSpec, digest: &str, signed: bool) -> Result<(), Refusal> {
    let pinned = spec.sha256.is_some();
    let pin = format!("sha256 = \"{digest}\", if that is the file you built");
    let reason = if spec.trust.require_signature && !signed {
        "[trust] require_signature is true, and there is no .minisig beside it".to_owned()
    } else if spec.trust.require_pin && !pinned {
        format!("[trust] require_pin is true; pin it: {pin}")
    } else if spec.isolation == Isolation::InProcess && !pinned && !signed {
        format!("in-process it needs a pin or a signature: {pin}")
    } else {
        return Ok(());
    };
    Err(Refusal::new(Code::PluginSignatureMissing, reason))
}

pub(crate) fn descriptor(elf: &Elf<'_>) -> Result<PluginDescriptor, Refusal> {
    let Some(bytes) = elf.section(section::SECTION_NAME) else {
        let reason = format!("it has no section {}", section::SECTION_NAME);
        return Err(Refusal::new(Code::PluginNoDescriptor, reason));
    };
    section::decode(bytes).map_err(|error| {
        let code = match error {
            SectionError::Malformed(_) => Code::PluginBadDescriptor,
            SectionError::TooOld(_) => Code::PluginAbiTooOld,
            SectionError::TooNew(_) => Code::PluginAbiTooNew,
        };
        Refusal::new(code, error.to_string())
    })
}

pub(crate) fn hex_digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
