//! The report: a table on the terminal, Markdown to be filed, JSON for programs, and the exit status.

use std::{fmt::Write as _, time::Duration};

use agent_host_core::sanitise;
use agent_host_gateway::admin::view::FaultOrder;
use serde_json::{Value, json};

use super::judge::{Seen, Verdict};
use crate::exit::Exit;

/// One scenario, played or not.
#[derive(Debug, Clone)]
pub(super) struct Played {
    pub(super) name: &'static str,
    pub(super) order: FaultOrder,
    /// What is done, and what the host owes its users meanwhile.
    pub(super) does: String,
    pub(super) holds: String,
    pub(super) verdict: Verdict,
    /// Nothing, where it was not begun.
    pub(super) seen: Option<Seen>,
    pub(super) took: Duration,
}

/// The drill.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) url: String,
    pub(super) host: String,
    pub(super) version: String,
    pub(super) plugin: String,
    pub(super) began: String,
    pub(super) duration: Duration,
    pub(super) played: Vec<Played>,
    /// What is left behind, if anything.
    pub(super) left: Vec<String>,
}

impl Report {
    fn count(&self, is: impl Fn(&Verdict) -> bool) -> usize {
        self.played.iter().filter(|one| is(&one.verdict)).count()
    }

    /// `None`: something was tried, and all that was tried held.
    pub(super) fn exit(&self) -> Option<Exit> {
        let held = self.count(|verdict| *verdict == Verdict::Held);
        let broken = self.count(|verdict| matches!(verdict, Verdict::Failed(_) | Verdict::BrokenOff(_)));
        (held == 0 || broken > 0 || !self.left.is_empty()).then_some(Exit::Failed)
    }

    /// In a sentence.
    fn sum(&self) -> String {
        let (held, failed) = (
            self.count(|verdict| *verdict == Verdict::Held),
            self.count(|verdict| matches!(verdict, Verdict::Failed(_))),
        );
        let (not_tried, broken_off) = (
            self.count(|verdict| matches!(verdict, Verdict::NotTried(_))),
            self.count(|verdict| matches!(verdict, Verdict::BrokenOff(_))),
        );
        format!("{held} held, {failed} failed, {broken_off} broken off, {not_tried} not tried")
    }

    pub(super) fn table(&self) -> String {
        let mut out = String::new();
        for one in &self.played {
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "{:<11}{:<17}{}",
                one.verdict.word(),
                one.name,
                sanitise::line(&brief(one), 400)
            );
        }
        for left in &self.left {
            let _ = writeln!(out, "LEFT       {}", sanitise::line(left, 400));
        }
        let _ = write!(out, "{}: {}", self.url, self.sum());
        out
    }

    pub(super) fn json(&self) -> Value {
        let played = self.played.iter().map(|one| {
            let seen = one.seen.as_ref().map(|seen| {
                let mut told = seen.talk.json();
                told["hits"] = seen.hits.into();
                told["levels"] = seen
                    .levels
                    .iter()
                    .map(|(at, level)| json!({ "at_ms": at.as_millis() as u64, "level": level }))
                    .collect();
                told["same_host"] = seen.same_host.into();
                told["worker_replaced"] = seen.replaced.into();
                told["crash_shown"] = json!(seen.crash);
                told["recovered_ms"] = json!(seen.recovered.map(|time| time.as_millis() as u64));
                told
            });
            json!({
                "scenario": one.name,
                "injected": one.order,
                "does": one.does,
                "must_hold": one.holds,
                "verdict": one.verdict.word(),
                "because": one.verdict.because(),
                "seen": seen,
                "took_ms": one.took.as_millis() as u64,
            })
        });
        json!({
            "drill": 1,
            "url": self.url,
            "host": self.host,
            "version": self.version,
            "plugin": self.plugin,
            "began": self.began,
            "duration_ms": self.duration.as_millis() as u64,
            "ok": self.exit().is_none(),
            "sum": self.sum(),
            "left_behind": self.left,
            "scenarios": played.collect::<Vec<_>>(),
        })
    }

    pub(super) fn markdown(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_markdown(&mut out);
        out
    }

    fn write_markdown(&self, out: &mut String) -> std::fmt::Result {
        let line = |text: &str| sanitise::line(text, 1000).replace('|', "\\|").replace('<', "&lt;");
        let outcome = if self.exit().is_none() { "held" } else { "did not hold" };
        writeln!(out, "# Drill of {}: {outcome}\n", line(&self.host))?;
        writeln!(
            out,
            "{}. Version {}, at {}, begun {}; each fault for {} s; the agent that was talked to: {}.\n",
            self.sum(),
            line(&self.version),
            line(&self.url),
            line(&self.began),
            self.duration.as_secs(),
            line(&self.plugin)
        )?;
        for left in &self.left {
            writeln!(out, "**Left behind**: {}\n", line(left))?;
        }
        writeln!(out, "| scenario | verdict | in short |\n|---|---|---|")?;
        for one in &self.played {
            writeln!(out, "| {} | {} | {} |", one.name, one.verdict.word(), line(&brief(one)))?;
        }
        for one in &self.played {
            writeln!(out, "\n## {}: {}\n", one.name, one.verdict.word())?;
            writeln!(out, "* Injected: {}: `{}`", line(&one.does), line(&json!(one.order).to_string()))?;
            writeln!(out, "* Must hold: {}", line(&one.holds))?;
            for why in one.verdict.because() {
                writeln!(out, "* **{}**: {}", one.verdict.word(), line(&why))?;
            }
            let Some(seen) = &one.seen else { continue };
            let told = seen.talk.json();
            writeln!(
                out,
                "* Messages: {} sent, {} accepted; refused {}; ended {}{}; answered by {}; connections lost: {}",
                told["messages"],
                told["accepted"],
                counts(&told["refused"]),
                counts(&told["answers"]),
                why(&told["codes"]),
                counts(&told["answered_by"]),
                told["connections_lost"]
            )?;
            let (calm, harmed) = (&told["latency_ms"]["before"], &told["latency_ms"]["during"]);
            writeln!(
                out,
                "* To the end of a run: before {}; with the fault {}",
                latency(calm),
                latency(harmed)
            )?;
            let levels = seen.levels.iter().map(|(at, level)| format!("{level} at {} ms", at.as_millis()));
            writeln!(out, "* Level: {}", levels.collect::<Vec<_>>().join(", "))?;
            let recovered = match seen.recovered {
                Some(time) => format!("{} ms after the fault's end", time.as_millis()),
                None => "not seen".to_owned(),
            };
            writeln!(out, "* The fault hit {} times; as before: {recovered}", seen.hits)?;
        }
        Ok(())
    }
}

fn brief(one: &Played) -> String {
    match (&one.verdict, &one.seen) {
        (Verdict::Held, Some(seen)) => {
            let told = seen.talk.json();
            format!(
                "{} messages, ended {}; hit {} times; as before {} ms after it",
                told["messages"],
                counts(&told["answers"]),
                seen.hits,
                seen.recovered.unwrap_or_default().as_millis()
            )
        }
        (verdict, _) => verdict.because().join("; "),
    }
}

fn counts(of: &Value) -> String {
    let all = of.as_object().into_iter().flatten().map(|(name, count)| format!("{name} {count}"));
    let all: Vec<String> = all.collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// Why runs ended otherwise than well, where some did.
fn why(codes: &Value) -> String {
    if codes.as_object().is_none_or(serde_json::Map::is_empty) {
        return String::new();
    }
    format!(" (by {})", counts(codes))
}

fn latency(of: &Value) -> String {
    match of["count"].as_u64() {
        Some(0) | None => "no message".to_owned(),
        Some(_) => format!("p50 {} ms, p99 {} ms, slowest {} ms", of["p50"], of["p99"], of["max"]),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{super::talk::Talk, *};

    fn report() -> Report {
        let order = |fault: &str| FaultOrder { fault: fault.to_owned(), ..FaultOrder::default() };
        let seen = Seen {
            talk: Talk {
                sent: 2,
                accepted: 1,
                refused: BTreeMap::from([("store.unavailable".to_owned(), 1)]),
                answers: BTreeMap::from([("ok".to_owned(), 1)]),
                by: BTreeMap::from([("echo".to_owned(), 1)]),
                calm: vec![Duration::from_millis(4)],
                ..Talk::default()
            },
            hits: 7,
            levels: vec![
                (Duration::ZERO, "full".to_owned()),
                (Duration::from_millis(200), "basic".to_owned()),
            ],
            same_host: true,
            replaced: false,
            crash: None,
            overstayed: false,
            recovered: Some(Duration::from_millis(900)),
        };
        let played = |name: &'static str, verdict, seen| Played {
            name,
            order: order(name),
            does: "what is done".to_owned(),
            holds: "what holds".to_owned(),
            verdict,
            seen,
            took: Duration::from_secs(12),
        };
        Report {
            url: "ws://h:1/ws".to_owned(),
            host: "a\u{1b}[31m|b".to_owned(),
            version: "0.1.0".to_owned(),
            plugin: "echo".to_owned(),
            began: "2026-01-01T00:00:00Z".to_owned(),
            duration: Duration::from_secs(10),
            played: vec![
                played("store-fail", Verdict::Held, Some(seen)),
                played("tools-fail", Verdict::NotTried("the fault hit nothing".to_owned()), None),
            ],
            left: Vec::new(),
        }
    }

    #[test]
    fn the_report_s_form_is_this() {
        let expected = "\
# Drill of a\\|b: held

1 held, 0 failed, 0 broken off, 1 not tried. Version 0.1.0, at ws://h:1/ws, begun 2026-01-01T00:00:00Z; each fault for 10 s; \
the agent that was talked to: echo.

| scenario | verdict | in short |
|---|---|---|
| store-fail | held | 2 messages, ended ok 1; hit 7 times; as before 900 ms after it |
| tools-fail | not tried | the fault hit nothing |

## store-fail: held

* Injected: what is done: `{\"fault\":\"store-fail\"}`
* Must hold: what holds
* Messages: 2 sent, 1 accepted; refused store.unavailable 1; ended ok 1; answered by echo 1; connections lost: 0
* To the end of a run: before p50 4 ms, p99 4 ms, slowest 4 ms; with the fault no message
* Level: full at 0 ms, basic at 200 ms
* The fault hit 7 times; as before: 900 ms after the fault's end

## tools-fail: not tried

* Injected: what is done: `{\"fault\":\"tools-fail\"}`
* Must hold: what holds
* **not tried**: the fault hit nothing
";
        assert_eq!(report().markdown(), expected);
        let told = report().json();
        assert_eq!((&told["ok"], &told["scenarios"][1]["verdict"]), (&json!(true), &json!("not tried")));
        assert_eq!(told["scenarios"][0]["seen"]["levels"][1], json!({ "at_ms": 200, "level": "basic" }));
    }

    #[test]
    fn nothing_tried_is_no_success_and_one_failure_is_the_whole_s() {
        let mut report = report();
        assert_eq!(report.exit(), None);
        report.left.push("a fault".to_owned());
        assert_eq!(report.exit(), Some(Exit::Failed));
        report.left.clear();
        report.played.remove(0);
        assert_eq!(report.exit(), Some(Exit::Failed));
        let mut report = self::report();
        report
            .played
            .push(Played { verdict: Verdict::Failed(vec!["a hole".to_owned()]), ..report.played[1].clone() });
        assert_eq!(report.exit(), Some(Exit::Failed));
        assert!(report.table().contains("FAILED     tools-fail       a hole"), "{}", report.table());
    }
}
