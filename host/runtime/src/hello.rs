//! The JSON bodies of the first frames: what a worker is told, and what it answers before its first call.

use agent_host_core::isolation::SandboxReport;
use agent_plugin_protocol::{Code, call::CreateParams};
use serde::{Deserialize, Serialize};

use crate::sandbox::Sandbox;

/// The host's first word.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HostHello {
    /// Oldest and newest version of the wire that the host speaks.
    pub(crate) protocol: [u32; 2],
    /// Features that the host offers; none yet. A worker ignores those it does not know.
    pub(crate) features: Vec<String>,
    /// What the worker may do; applied by itself before it loads the library.
    pub(crate) sandbox: Sandbox,
    /// What the plugin gets at `create`.
    pub(crate) create: CreateParams,
}

/// The worker's first word: the sandbox is in force, nothing foreign has run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WorkerHello {
    /// The version it chose.
    pub(crate) protocol: u32,
    /// Its process id, as it sees it.
    pub(crate) pid: u32,
    /// What of the sandbox is in force.
    pub(crate) sandbox: SandboxReport,
}

/// Why the library could not be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LoadFailed {
    /// The stable code.
    pub(crate) code: Code,
    /// Half a sentence.
    pub(crate) reason: String,
}
