//! A worker executable for the tests of this crate: in the host it is the hidden `worker` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent_host_runtime::worker::main()
}
