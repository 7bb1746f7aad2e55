//! Sets up the log: JSON or pretty, on stderr, filtered by a level that can be changed; and says there what is no
//! happening.

mod level;
mod panics;

use std::{
    io::{self, Write},
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::sleep_until};
use tracing_subscriber::{
    EnvFilter,
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    registry, reload,
    util::SubscriberInitExt as _,
};

use self::level::Levels;
pub use self::level::{InForce, Level};
use crate::{happening::LogLevelChanged, lines::Lines};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// How lines get to stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Through a bounded queue: whoever logs never waits, and a line without room is dropped and counted.
    Queue,
    /// Each is written by whoever logs, who waits for whoever reads: where no queue can be had.
    Direct,
}

/// The queue of this process, once there is one.
static LINES: OnceLock<Lines> = OnceLock::new();

/// How long the end of the process waits for the lines that still wait.
const FAREWELL: Duration = Duration::from_millis(500);

/// The levels of this process's log, once there is one.
static LEVEL: OnceLock<Control> = OnceLock::new();

/// Who may change the level, and how it is made so.
struct Control {
    /// Held for a change of a few words; what is logged does not look at it.
    levels: Mutex<Levels>,
    apply: Box<dyn Fn(Level) + Send + Sync>,
    /// There is another time to wait for.
    changed: Notify,
}

/// Begins to log, from that level on. A panic becomes a line of the log too.
///
/// A second call changes nothing: the first log of a process stays.
///
/// # Errors
/// If there is no queue to be had; nothing is logged then, and it can be installed the other [`Way`].
pub fn install(format: Format, level: Level, way: Way) -> io::Result<()> {
    if way == Way::Queue {
        queue()?;
    }
    let (changing, handle) = reload::Layer::new(filter(level));
    // The only error is that this log is not the process's, which then has one of its own.
    let apply = Box::new(move |level| drop(handle.reload(filter(level))));
    // A line that cannot be written is lost: to say so on the same stderr would be a panic, and the host's end.
    let lines = fmt::layer().with_writer(To(way)).log_internal_errors(false);
    let log = registry().with(changing);
    let installed = match format {
        Format::Json => log.with(lines.json().flatten_event(true)).try_init(),
        Format::Pretty => log.with(lines).try_init(),
    };
    if installed.is_ok() {
        // It is this process's first log, and so the first of this too.
        let control = Control { levels: Mutex::new(Levels::new(level)), apply, changed: Notify::new() };
        drop(LEVEL.set(control));
    }
    if installed.is_ok()
        && way == Way::Queue
        && let Some(lines) = LINES.get()
    {
        // The standard hook would hold the lock of stderr for as long as nobody reads.
        std::panic::set_hook(Box::new(move |info| panics::panicked(lines, format, info)));
    }
    // The only error is that a log is installed already, which is what is wanted.
    Ok(())
}

/// Every level's filter is one, as a test holds.
fn filter(level: Level) -> EnvFilter {
    EnvFilter::try_new(level.filter()).unwrap_or_else(|_| EnvFilter::new("info"))
}

/// What holds now; `None`: this process has no log of its own.
pub fn level() -> Option<InForce> {
    LEVEL.get().map(|control| control.levels().in_force(Instant::now()))
}

/// `log.level` has this value now. What an operator ordered for a time runs on until then; what he ordered without one
/// ends if the value is another than it was.
///
/// # Errors
/// For what is no level; nothing is changed.
pub fn set_level(word: &str) -> Result<(), NoLevel> {
    let level = Level::parse(word).ok_or_else(|| NoLevel(word.to_owned()))?;
    if let Some(control) = LEVEL.get() {
        control.change("configured", |levels| levels.configure(level));
    }
    Ok(())
}

/// An operator wants this level, for so long or until further notice. Answers what holds then; `None` as above.
pub fn order_level(level: Level, lasting: Option<Duration>) -> Option<InForce> {
    let until = lasting.map(|lasting| Instant::now() + lasting);
    LEVEL.get().map(|control| control.change("ordered", |levels| levels.order(level, until)))
}

/// Ends what was ordered for a time when that is over, for as long as it is polled. Cancel safe.
pub async fn keep_level() {
    let Some(control) = LEVEL.get() else { return };
    loop {
        let changed = control.changed.notified();
        let until = control.levels().until();
        match until {
            None => changed.await,
            Some(until) => tokio::select! {
                () = changed => (),
                () = sleep_until(until.into()) => {
                    control.change("its time is over", |levels| {
                        levels.expire(Instant::now());
                    });
                }
            },
        }
    }
}

/// What was to be a level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoLevel(String);

impl std::fmt::Display for NoLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} is no level of the log", self.0)
    }
}

impl std::error::Error for NoLevel {}

impl Control {
    fn levels(&self) -> std::sync::MutexGuard<'_, Levels> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a change so, and says it. What was said before is out by the level of before.
    fn change(&self, why: &'static str, change: impl FnOnce(&mut Levels)) -> InForce {
        let (before, after) = {
            let mut levels = self.levels();
            let before = levels.in_force(Instant::now());
            change(&mut levels);
            let after = levels.in_force(Instant::now());
            // Within the lock, so that the filter is that of the last change. Nobody logs in there.
            if after.level != before.level {
                (self.apply)(after.level);
            }
            (before, after)
        };
        self.changed.notify_one();
        if after.level != before.level {
            LogLevelChanged { from: before.level.as_str(), to: after.level.as_str(), why }.emit();
        }
        after
    }
}

/// Says something on stderr that is no happening: why a command failed, that a signal came. It goes through the queue,
/// behind the lines that wait, and this waits until it is out, but never long.
pub fn say(text: &str) {
    match queue() {
        Ok(lines) => {
            lines.push(format!("{text}\n").as_bytes());
            lines.flush(FAREWELL);
        }
        // Without a thread or a descriptor there is only this; a closed stderr is no failure of what is said.
        Err(_) => drop(writeln!(io::stderr(), "{text}")),
    }
}

/// Waits until the lines that wait are out, but never long: for the end of the process.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush(FAREWELL);
    }
}

/// How many lines of this process were dropped.
pub(crate) fn dropped() -> u64 {
    LINES.get().map_or(0, Lines::dropped)
}

fn queue() -> io::Result<&'static Lines> {
    match LINES.get() {
        Some(lines) => Ok(lines),
        None => {
            let lines = Lines::to_stderr()?;
            // Of two threads that come together one finds the other's queue; its own ends with it.
            Ok(LINES.get_or_init(|| lines))
        }
    }
}

/// Where the formatter writes.
#[derive(Debug, Clone, Copy)]
struct To(Way);

impl<'a> MakeWriter<'a> for To {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        match self.0 {
            Way::Queue => LINES.get().map_or(Line::Direct, Line::Queue),
            Way::Direct => Line::Direct,
        }
    }
}

/// Takes one line: the formatter hands each over in one piece.
enum Line {
    Queue(&'static Lines),
    Direct,
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self {
            Self::Queue(lines) => lines.push(line),
            Self::Direct => io::stderr().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
