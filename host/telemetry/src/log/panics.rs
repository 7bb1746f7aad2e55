//! What a panic says in the log. It goes past `tracing`, in which the panic may have been, and keeps nobody who waits for
//! what its thread was about to answer.

use std::{
    any::Any,
    backtrace::Backtrace,
    panic::PanicHookInfo,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use serde_json::json;
use tracing_subscriber::fmt::{
    format::Writer,
    time::{FormatTime as _, SystemTime},
};

use super::Format;
use crate::lines::Lines;

/// How long a thread that panics waits for the names of its frames. They are read from the program's own debug information,
/// which takes a busy machine a second and more the first time.
const NAMES_WITHIN: Duration = Duration::from_millis(200);
/// How long a thread that panics waits for its words to be out: if the panic ends the process, they are the last.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// What the standard hook says, as a line of the log. Names that take too long follow in a line of their own.
pub(super) fn panicked(lines: &'static Lines, format: Format, info: &PanicHookInfo<'_>) {
    let captured = Backtrace::force_capture();
    let mut words = Words {
        message: "a thread panicked",
        thread: thread::current().name().unwrap_or("<unnamed>").to_owned(),
        place: info.location().map(ToString::to_string).unwrap_or_default(),
        panic: text_of(info.payload()).to_owned(),
        backtrace: String::new(),
    };
    let mut later = Words { message: "the backtrace of a panic", ..words.clone() };
    let named = beside(
        NAMES_WITHIN,
        move || captured.to_string(),
        move |backtrace| {
            later.backtrace = backtrace;
            lines.push(later.line(format).as_bytes());
        },
    );
    words.backtrace = named.unwrap_or_else(|| "its names are still being looked up".to_owned());
    lines.push(words.line(format).as_bytes());
    if !lines.is_stuck() {
        lines.flush(LAST_WORDS);
    }
}

#[derive(Debug, Clone)]
struct Words {
    message: &'static str,
    thread: String,
    place: String,
    panic: String,
    backtrace: String,
}

impl Words {
    fn line(&self, format: Format) -> String {
        let mut now = String::new();
        // Writing to a `String` cannot fail.
        let _ = SystemTime.format_time(&mut Writer::new(&mut now));
        let Self { message, thread, place, panic, backtrace } = self;
        let line = match format {
            Format::Json => json!({
                "timestamp": now, "level": "ERROR", "message": message, "target": "agent_host",
                "thread": thread, "place": place, "panic": panic, "backtrace": backtrace,
            })
            .to_string(),
            Format::Pretty => format!("{now} ERROR {message}: '{thread}' at {place}: {panic}\n{backtrace}"),
        };
        format!("{}\n", line.trim_end())
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}

/// Where a thread leaves what another one waits for.
enum Desk<T> {
    Waited,
    Done(T),
    Left,
}

/// What `work` comes to, in a thread of its own, if that is within this time; else `late` is given it when it is there.
/// Neither happens where no thread can be had.
fn beside<T: Send + 'static>(
    within: Duration,
    work: impl FnOnce() -> T + Send + 'static,
    late: impl FnOnce(T) + Send + 'static,
) -> Option<T> {
    let desk = Arc::new((Mutex::new(Desk::Waited), Condvar::new()));
    let other = Arc::clone(&desk);
    let working = move || {
        let done = work();
        let mut desk = lock(&other.0);
        if matches!(*desk, Desk::Left) {
            drop(desk);
            return late(done);
        }
        *desk = Desk::Done(done);
        other.1.notify_one();
    };
    thread::Builder::new().name("panic-names".to_owned()).spawn(working).ok()?;
    let waited = desk.1.wait_timeout_while(lock(&desk.0), within, |desk| matches!(desk, Desk::Waited));
    let (mut desk, _) = waited.unwrap_or_else(PoisonError::into_inner);
    match std::mem::replace(&mut *desk, Desk::Left) {
        Desk::Done(done) => Some(done),
        Desk::Waited | Desk::Left => None,
    }
}

/// Each change of it is one assignment: it is sound even if a holder panicked.
fn lock<T>(desk: &Mutex<Desk<T>>) -> MutexGuard<'_, Desk<T>> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_quick_is_waited_for() {
        assert_eq!(beside(LONG, || 7, |_| unreachable!("it was waited for")), Some(7));
    }

    #[test]
    fn what_takes_its_time_keeps_nobody_and_is_not_lost() {
        let (go_on, told) = mpsc::channel();
        let (tell, late) = mpsc::channel();
        let work = move || told.recv_timeout(LONG);
        let found = beside(Duration::from_millis(1), work, move |done| tell.send(done).unwrap());
        assert_eq!(found, None);
        go_on.send("the names").unwrap();
        assert_eq!(late.recv_timeout(LONG).unwrap(), Ok("the names"));
    }

    #[test]
    fn a_line_says_what_the_standard_hook_says() {
        let words = Words {
            message: "a thread panicked",
            thread: "main".to_owned(),
            place: "src/main.rs:7:9".to_owned(),
            panic: "of \"fear\"".to_owned(),
            backtrace: "0: main\n".to_owned(),
        };
        let line: serde_json::Value = serde_json::from_str(&words.line(Format::Json)).unwrap();
        assert_eq!((&line["thread"], &line["panic"]), (&json!("main"), &json!("of \"fear\"")));
        let shown = words.line(Format::Pretty);
        assert!(
            shown.ends_with(" ERROR a thread panicked: 'main' at src/main.rs:7:9: of \"fear\"\n0: main\n"),
            "{shown}"
        );
    }
}
