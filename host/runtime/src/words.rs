//! What a worker prints: taken from its pipe, made harmless, bounded, logged as the plugin's words.
//!
//! The pipe is always read, so that a plugin that prints does not hang; one that prints too much is read slowly, and
//! what is above the rate is counted instead of logged. The last lines are kept for the report of its end.

use std::{
    collections::VecDeque,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::speaker::Speaker;

/// Lines kept for the report.
const TAIL: usize = 20;
/// Longest line, in characters.
const LINE: usize = 400;
/// Lines logged a second; further ones are counted.
const RATE: u32 = 50;

/// The words of one worker.
#[derive(Debug)]
pub(crate) struct Words {
    tail: Arc<Mutex<VecDeque<String>>>,
    reader: JoinHandle<()>,
}

impl Words {
    /// Follows a pipe until its end.
    pub(crate) fn follow(pipe: OwnedFd, speaker: Speaker) -> std::io::Result<Self> {
        let mut pipe = pipe::Receiver::from_owned_fd(pipe)?;
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&tail);
        let reader = tokio::spawn(async move {
            let (mut lines, mut rate) = (Lines::default(), Rate::new(RATE));
            let mut chunk = vec![0; 8 * 1024];
            while let Ok(read @ 1..) = pipe.read(&mut chunk).await {
                let mut quiet = false;
                for line in lines.push(chunk.get(..read).unwrap_or_default()) {
                    quiet |= !say(&speaker, &kept, &mut rate, &line);
                }
                if quiet {
                    // Above the rate: read on, but slowly (8 KiB every 5 ms), so that printing costs the plugin more
                    // than the host.
                    sleep(Duration::from_millis(5)).await;
                }
            }
            if let Some(line) = lines.rest() {
                say(&speaker, &kept, &mut rate, &line);
            }
        });
        Ok(Self { tail, reader })
    }

    /// The last lines. Waits a moment for the pipe's end: what a dying worker printed may still be in it, and
    /// something it forked may hold it open for good.
    pub(crate) async fn last(mut self) -> Vec<String> {
        let _ = timeout(Duration::from_millis(200), &mut self.reader).await;
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Keeps and logs a line; answers whether it was within the rate.
fn say(speaker: &Speaker, tail: &Mutex<VecDeque<String>>, rate: &mut Rate, line: &str) -> bool {
    let Speaker { plugin, generation, .. } = speaker;
    let line = speaker.line(line, LINE);
    let admitted = rate.admit(Instant::now());
    if let Some(unsaid) = admitted {
        if unsaid > 0 {
            tracing::warn!(target: "plugin", %plugin, %generation, lines = unsaid, "the plugin prints too much: lines left out");
        }
        tracing::info!(target: "plugin", %plugin, %generation, printed = %line, "printed by the plugin");
    }
    let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
    if tail.len() == TAIL {
        tail.pop_front();
    }
    tail.push_back(line);
    admitted.is_some()
}

/// Cuts bytes into lines of bounded length, as they are.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// The most bytes of a line that are kept: a character has up to four.
    pub(crate) const MOST: usize = 4 * LINE;

    /// The lines that end in these bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let ends = piece.ends_with(b"\n");
            let room = Self::MOST.saturating_sub(self.begun.len());
            let piece = piece.strip_suffix(b"\n").unwrap_or(piece);
            // What is above the bound is cut when it is said, and marked.
            self.begun.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
            if ends {
                lines.extend(self.rest());
            }
        }
        lines
    }

    /// The line that was begun, as if it ended here.
    pub(crate) fn rest(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.begun);
        (!line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned())
    }
}

/// Admits so many a second, and counts the others.
#[derive(Debug)]
pub(crate) struct Rate {
    most: u32,
    since: Option<Instant>,
    admitted: u32,
    refused: u64,
}

impl Rate {
    /// A rate of `most` a second.
    pub(crate) fn new(most: u32) -> Self {
        Self { most, since: None, admitted: 0, refused: 0 }
    }

    /// Whether one more is admitted at `now`; with it, how many were refused since the last one that was.
    pub(crate) fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.duration_since(since) >= Duration::from_secs(1)) {
            self.since = Some(now);
            self.admitted = 0;
        }
        if self.admitted == self.most {
            self.refused += 1;
            return None;
        }
        self.admitted += 1;
        Some(std::mem::take(&mut self.refused))
    }
}

#[cfg(test)]
mod tests {
    use agent_plugin_protocol::Generation;

    use super::*;

    /// As the log has it.
    fn said(line: &str) -> String {
        let plugin = "talker".parse().unwrap();
        Speaker::new(plugin, Generation(1), &std::collections::BTreeMap::new()).line(line, LINE)
    }

    #[test]
    fn lines_are_cut_at_newlines_wherever_the_chunks_end() {
        let mut lines = Lines::default();
        assert!(lines.push(b"one").is_empty());
        let cut = lines.push(b" line\n\nan\x1b[31mother\nrest");
        assert_eq!(cut.iter().map(|line| said(line)).collect::<Vec<_>>(), ["one line", "another"]);
        assert_eq!(lines.rest().as_deref(), Some("rest"));
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let mut lines = Lines::default();
        for _ in 0..100 {
            assert!(lines.push(&[b'x'; 1000]).is_empty());
        }
        let rest = lines.rest().unwrap();
        assert_eq!((rest.len(), said(&rest).chars().count()), (4 * LINE, LINE));
    }

    #[test]
    fn a_rate_admits_again_in_the_next_second_and_tells_what_it_refused() {
        let (mut rate, start) = (Rate::new(2), Instant::now());
        assert_eq!(rate.admit(start), Some(0));
        assert_eq!(rate.admit(start), Some(0));
        assert_eq!(rate.admit(start), None);
        assert_eq!(rate.admit(start + Duration::from_secs(1)), Some(1));
    }
}
