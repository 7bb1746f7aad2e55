//! The texts of a run: the answer that grows, and the bounds of what plugins say beside it.

use crate::sanitise;

/// Longest answer in `agent_completed`, in bytes. Deltas beyond it were sent; only the joined text is cut.
pub(super) const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Said at the end of an answer that was cut.
const CUT: &str = "\n[cut by the host: the answer is longer than 1 MiB]";

/// A bounded text that grows by deltas.
#[derive(Debug, Default)]
pub(super) struct Answer {
    text: String,
    cut: bool,
}

impl Answer {
    pub(super) fn push(&mut self, delta: &str) {
        if self.cut {
            return;
        }
        let room = MAX_ANSWER_BYTES - self.text.len();
        self.cut = delta.len() > room;
        self.text.push_str(&delta[..delta.floor_char_boundary(room)]);
    }

    /// The whole text, cut where it had to be.
    pub(super) fn finish(mut self) -> String {
        if self.cut {
            self.text.push_str(CUT);
        }
        self.text
    }
}

/// A whole text, bounded as a joined one.
pub(super) fn bounded(text: &str) -> String {
    let mut answer = Answer::default();
    answer.push(text);
    answer.finish()
}

/// A name or version that a plugin wrote.
pub(super) fn name(text: &str) -> String {
    sanitise::line(text, 128)
}

/// A message or reason that may quote a plugin.
pub(super) fn reason(text: &str) -> String {
    sanitise::line(text, 1000)
}
