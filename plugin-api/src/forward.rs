//! Forwards the plugin's `tracing` (and `log`) events and its panics to the host's log.
//!
//! A library has its own copy of `tracing`, which nobody listens to unless someone inside it does: this.

use std::{
    cell::Cell,
    panic,
    sync::{Mutex, Once, PoisonError},
};

use agent_plugin_protocol::{RunId, call::LogLine};
use tracing::{
    Event, Level, Metadata, Span, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id},
    subscriber::Interest,
};
use tracing_subscriber::{
    Layer, layer::Context, layer::SubscriberExt, registry::LookupSpan, util::SubscriberInitExt,
};

use crate::abi::link::HostLink;

/// Target of the span in which a call runs; events inside are the run's.
const RUN_TARGET: &str = "agent_plugin_api::run";
/// Longest message or text field that is forwarded, in bytes.
const MAX_TEXT: usize = 8 * 1024;
/// Most fields of one line that are forwarded.
const MAX_FIELDS: usize = 32;

thread_local! {
    /// Whose thread this is. A library may be loaded once and serve in two slots.
    static OWNER: Cell<Option<(HostLink, LevelFilter)>> = const { Cell::new(None) };
}

/// Who gets what is logged on threads that the author started: the instance created last.
static LATEST: Mutex<Option<(HostLink, LevelFilter)>> = Mutex::new(None);

/// Reads a level; a word that is none means `info`.
pub(crate) fn level(word: &str) -> LevelFilter {
    word.trim().parse().unwrap_or(LevelFilter::INFO)
}

/// Listens from now on, and owns the lines of unowned threads.
pub(crate) fn install(link: HostLink, level: LevelFilter) {
    *LATEST.lock().unwrap_or_else(PoisonError::into_inner) = Some((link, level));
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Fails only where the author's code set a subscriber in a static initialiser: then it wants its own.
        let _ = tracing_subscriber::registry().with(Forward).try_init();
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            log_panic(info);
            before(info);
        }));
    });
}

/// Makes the current thread one of that instance's.
pub(crate) fn enter_thread(link: HostLink, level: LevelFilter) {
    OWNER.set(Some((link, level)));
}

/// The span of a call. Tasks that the author spawns are the run's too if they carry it (`.in_current_span()`).
pub(crate) fn run_span(run_id: &str) -> Span {
    tracing::error_span!(target: RUN_TARGET, "run", run_id)
}

fn owner() -> Option<(HostLink, LevelFilter)> {
    // A thread that is ending has lost its own.
    let own = OWNER.try_with(Cell::get).ok().flatten();
    own.or_else(|| *LATEST.lock().unwrap_or_else(PoisonError::into_inner))
}

/// As an event, so that it names its run: the hook runs before the stack is unwound, inside the call's span.
fn log_panic(info: &panic::PanicHookInfo<'_>) {
    let text = info.payload_as_str().unwrap_or("a panic whose payload is not text");
    let location = info.location().map(ToString::to_string);
    tracing::error!(target: "panic", location, "{text}");
}

/// The listening layer.
struct Forward;

/// A span's run, kept with the span.
struct OfRun(RunId);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Forward {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // Asked anew each time, as two instances may want two levels.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target() == RUN_TARGET || owner().is_some_and(|(_, level)| *metadata.level() <= level)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        if attributes.metadata().target() != RUN_TARGET {
            return;
        }
        let mut line = Line::default();
        attributes.record(&mut line);
        let run = line.fields.get("run_id").and_then(|v| v.as_str()).and_then(|text| RunId::new(text).ok());
        if let (Some(run), Some(span)) = (run, ctx.span(id)) {
            span.extensions_mut().insert(OfRun(run));
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let Some((link, _)) = owner() else { return };
        let mut line = Line::default();
        event.record(&mut line);
        let run_id = ctx
            .event_scope(event)
            .and_then(|mut spans| spans.find_map(|s| s.extensions().get::<OfRun>().map(|run| run.0.clone())));
        let metadata = event.metadata();
        // An event of the `log` crate names its true target in a field.
        let target = match line.fields.remove("log.target") {
            Some(serde_json::Value::String(target)) => target,
            _ => metadata.target().to_owned(),
        };
        line.fields.retain(|name, _| !name.starts_with("log."));
        let level = word(*metadata.level()).to_owned();
        link.log(&LogLine { level, target, message: line.message, fields: line.fields, run_id });
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// Collects the message and the fields of an event.
#[derive(Default)]
struct Line {
    message: String,
    fields: serde_json::Map<String, serde_json::Value>,
}

impl Line {
    fn put(&mut self, field: &Field, value: impl Into<serde_json::Value>) {
        if self.fields.len() < MAX_FIELDS {
            self.fields.insert(field.name().to_owned(), value.into());
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = shorten(value);
        } else {
            self.put(field, shorten(value));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

fn shorten(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
}
