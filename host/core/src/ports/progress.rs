//! How far the start of a generation is: said by the loader, heard by whoever ordered it, or by nobody.

use tokio::sync::watch;

use super::instance::Stage;

/// The loader's end. It holds one value: a stage that nobody heard of before the next began is not told any more.
#[derive(Debug, Clone)]
pub struct Progress(watch::Sender<Stage>);

impl Progress {
    /// Of a start that is not begun, and where it is heard.
    pub fn heard() -> (Self, watch::Receiver<Stage>) {
        let (told, heard) = watch::channel(Stage::Discover);
        (Self(told), heard)
    }

    /// Nobody listens.
    pub fn unheard() -> Self {
        Self::heard().0
    }

    /// The start is in that stage from now on: those before it passed.
    pub fn begun(&self, stage: Stage) {
        self.0.send_replace(stage);
    }
}
