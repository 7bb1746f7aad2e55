//! Shows something again and again: in place on a terminal, one after the other elsewhere.

use std::{
    io::{self, IsTerminal as _, Write as _},
    thread,
    time::Duration,
};

use super::target::Target;
use crate::{
    cli::{AdminArgs, Output},
    exit::{Exit, Failure},
};

/// Between two looks, unless said otherwise.
pub(super) const EVERY: Duration = Duration::from_secs(2);

/// Looks, shows, waits; until it is interrupted, its reader leaves, or it has looked so often. A host that does not
/// answer is no end: it may come back, and that is what is watched for. Each look has a token of its own, as what is made
/// for one holds for two minutes.
pub(super) fn repeat(
    args: &AdminArgs,
    scope: &str,
    every: Duration,
    looks: Option<u32>,
    mut look: impl FnMut(&Target) -> Result<String, Failure>,
) -> Result<(), Failure> {
    let in_place = io::stdout().is_terminal() && args.output == Output::Table;
    let mut looked = 0;
    loop {
        let text = match Target::new(args, scope).and_then(|target| look(&target)) {
            Ok(text) => text,
            // The first look says whether it makes sense at all.
            Err(failure) if looked == 0 => return Err(failure),
            Err(failure) => failure.to_string(),
        };
        let shown = if in_place { frame(&text) } else { format!("{}\n", text.trim_end()) };
        let mut out = io::stdout().lock();
        match out.write_all(shown.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(Failure::new(Exit::Failed, format!("the output is gone: {error}"))),
        }
        drop(out);
        looked += 1;
        if looks.is_some_and(|looks| looked >= looks) {
            return Ok(());
        }
        thread::sleep(every);
    }
}

/// Over what is there, without a flicker: each line ends by clearing its rest, the last by clearing what is below. Lines
/// are not wrapped: one that is too long ends at the edge, and does not push the others down.
fn frame(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    format!("\u{1b}[H\u{1b}[?7l{}\u{1b}[K\u{1b}[J\u{1b}[?7h\n", lines.join("\u{1b}[K\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_covers_the_one_before() {
        assert_eq!(frame("a\nb\n"), "\u{1b}[H\u{1b}[?7la\u{1b}[K\nb\u{1b}[K\u{1b}[J\u{1b}[?7h\n");
    }
}
