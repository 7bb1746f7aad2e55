//! `docs/sandbox.md` is made from the table of layers, and is current.

use std::fmt::Write as _;

use super::Layer;

const BEFORE: &str = "\
# The sandbox

What stands around a plugin's worker process, layer by layer. This page is made from `host/core/src/isolation.rs` by
`UPDATE_DOCS=1 cargo test -p agent-host-core isolation`.

A worker enters its sandbox by itself, before it loads the library, and tells the host what is in force. Each layer is one
of **enforced**, **partial**, **unavailable** (wanted, and not to be had here) or **off** (not wanted), with the reason where
it is not enforced. `agent-host check FILE.so` shows them for this machine and this user. One word sums them up, as
`isolation_enforced`:

| word | means |
|---|---|
| `full` | every layer that is wanted is in force |
| `partial` | hostile code is confined; something that would bound it further is missing |
| `weak` | hostile code can do what the host's user can, or the plugin runs as root. The host says so once, as an error |

`[isolation] require = [\"seccomp\", \"landlock_files\"]` makes a plugin fail with `plugin.sandbox_unavailable` rather than run
without: nothing of it is loaded then. `landlock` means its three layers. A name that is none is an error of the
configuration.

";

const AFTER: &str = "
## What each needs

* **Landlock**: Linux 5.13, switched on (`lsm=landlock,…`); whole files from 6.10, no TCP from 6.7, scopes from 6.12.
* **namespace**: user namespaces for the host's user. Container profiles and some distributions forbid them: the worker
  then runs without, and `seccomp` alone keeps it from making processes.
* **own_user**: the host is root and has `[isolation] uid_range`. The owner of a plugin's folder in `[store] path`/plugins
  is the record of who has which; files that it made under another user stay that user's. That folder and the one above it
  are made passable for others (`o+x`), as the plugin must get to its own. For a host that is no root the layer is off and
  nothing is missing: the others confine siblings of one user.
* **process_limit**: a count of the worker's own, by `namespace` or `own_user`; the kernel does not count those of root.
* **cgroup**: `memory` (`limits.memory` and 64 MiB, swap none), `pids` (648 threads) and `cpu` (`limits.cpu_percent`, off
  unless set) for a worker and all that it makes, by
  version 2 or 1 of the kernel's interface, whichever has the controller. The host makes groups below its own only where
  that is its to divide: the root of what it sees (a container, a machine without a manager) or delegated (systemd:
  `Delegate=yes`); elsewhere the layer is unavailable, or partial, and says so. Groups are removed with their workers, those of a killed host by the next one.

## What a plugin may do

Read and write in its own folder, which is its working, home and temporary folder; read system libraries, the loader's
cache, `/etc/hosts`, `resolv.conf`, `nsswitch.conf`, certificates, time zones, `/proc/meminfo` and `/proc/cpuinfo`; make
threads. It is one process: no programs, no other processes, no sockets but connected pairs. Nothing under `/proc/self`.
";

fn page() -> String {
    let mut page = BEFORE.to_owned();
    page.push_str("| layer | stops | does not stop |\n|---|---|---|\n");
    for layer in Layer::ALL {
        writeln!(page, "| `{layer}` | {} | {} |", layer.stops(), layer.leaves()).expect("a String takes all");
    }
    page.push_str(AFTER);
    page
}

#[test]
fn the_page_of_the_sandbox_is_the_table_of_layers() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/sandbox.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == page(),
        "docs/sandbox.md is not current; run UPDATE_DOCS=1 cargo test -p agent-host-core isolation"
    );
}
