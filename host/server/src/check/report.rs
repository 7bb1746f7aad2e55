//! What a check found out about one file. Its JSON is what `--output json` prints; all of its texts are sanitised.

use agent_host_core::{
    isolation::{IsolationEnforced, SandboxReport},
    ports::instance::{Fault, Stage},
    sanitise,
};
use agent_host_runtime::{Allocator, Inspection};
use agent_plugin_protocol::{Code, PanicStrategy, PluginDescriptor, PluginKind};
use agent_plugin_testkit::{
    Cost,
    conformance::{Case, Report, Verdict},
};
use serde::Serialize;

use super::advice::{Import, Isolation};

/// The whole of it.
#[derive(Debug, Serialize)]
pub(crate) struct Checked {
    /// The file, as it was named.
    pub(crate) file: String,
    /// Whether it is fit to ship: it loads, and breaks no promise.
    pub(crate) fit: bool,
    /// `healthy` or `failed`: the loader's verdict.
    pub(crate) verdict: &'static str,
    /// Why it failed.
    pub(crate) fault: Option<Told>,
    /// The file itself; `None` where it could not be read.
    pub(crate) artifact: Option<Artifact>,
    /// What it says of itself.
    pub(crate) plugin: Option<Descriptor>,
    /// Where it may run.
    pub(crate) isolation: Option<Isolation>,
    /// What of the sandbox was in force while it was checked, by layer.
    pub(crate) sandbox: SandboxReport,
    /// That, in one word: `full`, `partial` or `weak`; absent where nothing was loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) isolation_enforced: Option<IsolationEnforced>,
    /// The suite; `None` where it was not loaded.
    pub(crate) conformance: Option<Conformance>,
    /// What its calls cost; `None` where they were not measured.
    pub(crate) cost: Option<Cost>,
}

/// A fault, in words.
#[derive(Debug, Serialize)]
pub(crate) struct Told {
    pub(crate) stage: Stage,
    pub(crate) code: Code,
    pub(crate) reason: String,
    pub(crate) hint: String,
}

impl From<Fault> for Told {
    fn from(fault: Fault) -> Self {
        Self {
            stage: fault.stage,
            code: fault.code,
            reason: sanitise::line(&fault.reason, 600),
            hint: sanitise::line(&fault.hint, 600),
        }
    }
}

/// The file.
#[derive(Debug, Serialize)]
pub(crate) struct Artifact {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    /// `None` where there is no signature beside it, or none that verifies.
    pub(crate) signature: Option<Signature>,
    /// `None` where it is no library.
    pub(crate) stripped: Option<bool>,
    pub(crate) needed: Vec<String>,
    pub(crate) glibc: Option<String>,
    /// `system`, `unknown`, or what its own is known by.
    pub(crate) allocator: Option<String>,
    /// Those worth a word.
    pub(crate) imports: Vec<Import>,
}

impl Artifact {
    pub(crate) fn new(inspection: &Inspection) -> Self {
        let library = inspection.library.as_ref();
        Self {
            bytes: inspection.size,
            sha256: inspection.sha256.clone(),
            signature: inspection.signed.clone().map(|signed| Signature {
                key: signed.key,
                comment: signed.comment,
                verified: signed.verified,
            }),
            stripped: library.map(|library| library.stripped),
            needed: library.map(|library| library.needed.clone()).unwrap_or_default(),
            glibc: library.and_then(|library| library.glibc).map(|(major, minor)| format!("{major}.{minor}")),
            allocator: library.map(|library| match &library.allocator {
                Allocator::System => "system".to_owned(),
                Allocator::Unknown => "unknown".to_owned(),
                Allocator::Own(name) => name.clone(),
            }),
            imports: library.map(|library| Import::of(&library.imports)).unwrap_or_default(),
        }
    }
}

/// The signature beside the file.
#[derive(Debug, Serialize)]
pub(crate) struct Signature {
    /// The key that it names.
    pub(crate) key: String,
    /// Signed with the library; worth nothing where `verified` is false.
    pub(crate) comment: String,
    /// Whether a key of `--key` made it over these bytes.
    pub(crate) verified: bool,
}

/// What a library says of itself.
#[derive(Debug, Serialize)]
pub(crate) struct Descriptor {
    pub(crate) id: String,
    pub(crate) kind: PluginKind,
    pub(crate) version: String,
    pub(crate) description: String,
    pub(crate) abi: String,
    pub(crate) sdk_version: String,
    pub(crate) rustc_version: String,
    pub(crate) panic: PanicStrategy,
    pub(crate) requires: Vec<String>,
}

impl From<&PluginDescriptor> for Descriptor {
    fn from(descriptor: &PluginDescriptor) -> Self {
        let line = |text: &str| sanitise::line(text, 200);
        Self {
            id: descriptor.id.to_string(),
            kind: descriptor.kind,
            version: line(&descriptor.version),
            description: line(&descriptor.description),
            abi: format!("{}.{}", descriptor.abi.0, descriptor.abi.1),
            sdk_version: line(&descriptor.sdk_version),
            rustc_version: line(&descriptor.rustc_version),
            panic: descriptor.panic,
            requires: descriptor.requires.iter().map(|service| line(service)).collect(),
        }
    }
}

/// The suite, judged.
#[derive(Debug, Serialize)]
pub(crate) struct Conformance {
    pub(crate) conforms: bool,
    pub(crate) cases: Vec<JudgedCase>,
}

/// One case of it.
#[derive(Debug, Serialize)]
pub(crate) struct JudgedCase {
    pub(crate) case: Case,
    pub(crate) promise: &'static str,
    #[serde(flatten)]
    pub(crate) verdict: Verdict,
    pub(crate) took_ms: u128,
}

impl From<Report> for Conformance {
    fn from(report: Report) -> Self {
        let conforms = report.conforms();
        let clean = |verdict| match verdict {
            Verdict::Pass => Verdict::Pass,
            Verdict::Fail { reason } => Verdict::Fail { reason: sanitise::line(&reason, 400) },
            Verdict::Skip { reason } => Verdict::Skip { reason: sanitise::line(&reason, 400) },
        };
        let cases = report.cases.into_iter().map(|judged| JudgedCase {
            case: judged.case,
            promise: judged.case.promise(),
            verdict: clean(judged.verdict),
            took_ms: judged.took.as_millis(),
        });
        Self { conforms, cases: cases.collect() }
    }
}
