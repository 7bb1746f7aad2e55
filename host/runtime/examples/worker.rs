//! A worker executable for the tests of this crate; and a host that starts one, for those in which a host dies.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent_host_runtime::worker::main()
}
