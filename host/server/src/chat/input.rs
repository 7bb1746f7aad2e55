//! The person's lines, from standard input.

use std::io::{self, BufRead as _};

use tokio::sync::mpsc;

/// Lines, until the end of the input; empty ones are left out.
///
/// Sixteen may wait; a script that is faster waits in its pipe. Reading blocks and cannot be called off, so it has a
/// thread of its own, which ends with the process.
pub(super) fn lines() -> mpsc::Receiver<String> {
    let (tell, told) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if !line.trim().is_empty() && tell.blocking_send(line).is_err() {
                return;
            }
        }
    });
    told
}
