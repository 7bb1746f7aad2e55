//! Landlock: which files a worker may open, whom it may signal, and that it has no TCP.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use agent_host_core::isolation::{Layer, LayerState, SandboxReport};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};

/// The newest version whose rights are handled here; newer kernels have it too.
const NEWEST: ABI = ABI::V7;

/// What a library and the C library need to read: code, its cache, names, certificates, time zones, the machine's size.
const READABLE: &[&str] = &[
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/nix/store",
    "/etc/ld.so.cache",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/nsswitch.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/etc/localtime",
    "/etc/timezone",
    "/usr/share/zoneinfo",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
];

/// Restricts this thread, and all that it makes later, and notes what is in force.
pub(super) fn restrict(folder: Option<&Path>, left_out: &BTreeSet<Layer>, report: &mut SandboxReport) {
    let version = version();
    // The version in which a layer came, and in which it was whole.
    let layers =
        [(Layer::LandlockFiles, 1, 5), (Layer::LandlockNetwork, 4, 4), (Layer::LandlockScopes, 6, 6)];
    let wanted: BTreeSet<Layer> =
        layers.iter().map(|(layer, ..)| *layer).filter(|layer| !left_out.contains(layer)).collect();
    let applied = apply(folder, &wanted);
    for (layer, from, whole) in layers {
        let state = match (&applied, version) {
            _ if !wanted.contains(&layer) => LayerState::off(super::LEFT_OUT),
            (Err(error), _) => LayerState::unavailable(error.to_string()),
            (Ok(()), 0) => LayerState::unavailable("this kernel has no Landlock, or it is not switched on"),
            (Ok(()), had) if had < from => {
                LayerState::unavailable(format!("the kernel's Landlock is version {had}; {from} has it"))
            }
            (Ok(()), had) if had < whole => {
                LayerState::partial(format!("the kernel's Landlock is version {had}; {whole} has all of it"))
            }
            (Ok(()), _) => LayerState::enforced(),
        };
        report.set(layer, state);
    }
}

fn apply(folder: Option<&Path>, wanted: &BTreeSet<Layer>) -> Result<(), RulesetError> {
    let mut rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    if wanted.is_empty() {
        return Ok(());
    }
    if wanted.contains(&Layer::LandlockFiles) {
        rules = rules.handle_access(AccessFs::from_all(NEWEST))?;
    }
    if wanted.contains(&Layer::LandlockNetwork) {
        rules = rules.handle_access(AccessNet::from_all(NEWEST))?;
    }
    if wanted.contains(&Layer::LandlockScopes) {
        rules = rules.scope(Scope::from_all(NEWEST))?;
    }
    let mut rules = rules.create()?;
    if wanted.contains(&Layer::LandlockFiles) {
        // What is not there needs no rule. Nothing may be run: a library is mapped, which is reading.
        rules = rules
            .add_rules(path_beneath_rules(READABLE, AccessFs::ReadFile | AccessFs::ReadDir))?
            .add_rules(path_beneath_rules(["/dev/null"], AccessFs::ReadFile | AccessFs::WriteFile))?
            .add_rules(path_beneath_rules(folder.map(PathBuf::from), own()))?;
    }
    rules.restrict_self().map(drop)
}

/// What may be done in the plugin's own folder: everything but programs, sockets and devices.
fn own() -> BitFlags<AccessFs> {
    AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::MakeSym
        | AccessFs::MakeFifo
        | AccessFs::Refer
}

/// The version of the kernel's Landlock; 0: none.
#[allow(unsafe_code, reason = "a question to the kernel that has no safe wrapper")]
fn version() -> i64 {
    /// `LANDLOCK_CREATE_RULESET_VERSION`.
    const VERSION: u32 = 1;
    let nothing: *const u8 = std::ptr::null();
    // SAFETY: with this flag the kernel takes a null pointer of size 0, reads nothing, and answers a number.
    let answer = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0usize, VERSION) };
    if answer < 0 {
        tracing::debug!(error = %io::Error::last_os_error(), "no Landlock");
    }
    answer.max(0)
}
