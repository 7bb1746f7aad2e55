//! A check for people: the verdict first, then what it rests on.

use std::fmt::{self, Write as _};

use agent_host_core::isolation::{IsolationEnforced, SandboxReport};
use agent_plugin_protocol::PanicStrategy;
use agent_plugin_testkit::{Cost, conformance::Verdict};

use super::{
    advice::Isolation,
    report::{Artifact, Checked, Conformance, Descriptor, Told},
};

/// The whole text.
pub(super) fn text(checked: &Checked) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut text, checked);
    text
}

fn write(out: &mut String, checked: &Checked) -> fmt::Result {
    let verdict = match (checked.fit, &checked.fault) {
        (true, _) => "fit",
        (false, None) => "NOT FIT: it loads, and breaks the contract",
        (false, Some(_)) => "NOT FIT: failed",
    };
    writeln!(out, "{}: {verdict}", checked.file)?;
    if let Some(told) = &checked.fault {
        fault(out, told)?;
    }
    if let Some(plugin) = &checked.plugin {
        descriptor(out, plugin)?;
    }
    if let Some(found) = &checked.artifact {
        artifact(out, found)?;
    }
    if let Some(advice) = &checked.isolation {
        isolation(out, advice)?;
    }
    if let Some(enforced) = checked.isolation_enforced {
        sandbox(out, enforced, &checked.sandbox)?;
    }
    if let Some(suite) = &checked.conformance {
        conformance(out, suite)?;
    }
    if let Some(measured) = &checked.cost {
        cost(out, measured)?;
    }
    Ok(())
}

fn row(out: &mut String, name: &str, value: &str) -> fmt::Result {
    writeln!(out, "  {name:<12} {value}")
}

fn fault(out: &mut String, told: &Told) -> fmt::Result {
    row(out, "code", &format!("{} (stage {})", told.code, told.stage.as_str()))?;
    row(out, "reason", &told.reason)?;
    row(out, "what to do", &told.hint)
}

fn descriptor(out: &mut String, plugin: &Descriptor) -> fmt::Result {
    row(
        out,
        "plugin",
        &format!("{} {} ({}): {}", plugin.id, plugin.version, plugin.kind, plugin.description),
    )?;
    let panics = match plugin.panic {
        PanicStrategy::Unwind => "unwind",
        PanicStrategy::Abort => "abort",
    };
    let built = format!(
        "ABI {}, SDK {}, rustc {}, panic={panics}",
        plugin.abi, plugin.sdk_version, plugin.rustc_version
    );
    row(out, "built", &built)?;
    let requires = if plugin.requires.is_empty() { "nothing".to_owned() } else { plugin.requires.join(", ") };
    row(out, "requires", &requires)
}

fn artifact(out: &mut String, found: &Artifact) -> fmt::Result {
    let stripped = match found.stripped {
        Some(true) => ", stripped",
        Some(false) => ", not stripped (`strip = true` in the release profile makes it smaller)",
        None => "",
    };
    row(out, "size", &format!("{}{stripped}", size(found.bytes)))?;
    row(out, "pin", &format!("sha256 = \"{}\"", found.sha256))?;
    if let Some(signature) = &found.signature {
        let standing = if signature.verified { "verified" } else { "NOT verified: name the key with --key" };
        row(out, "signature", &format!("of key {}, {standing}: {}", signature.key, signature.comment))?;
    }
    if !found.needed.is_empty() {
        let glibc =
            found.glibc.as_ref().map(|version| format!("; glibc {version} or newer")).unwrap_or_default();
        row(out, "needs", &format!("{}{glibc}", found.needed.join(", ")))?;
    }
    if let Some(allocator) = found.allocator.as_deref().filter(|name| *name != "system") {
        row(out, "allocator", allocator)?;
    }
    let (every, own): (Vec<_>, Vec<_>) = found.imports.iter().partition(|import| import.by_sdk);
    for import in own {
        row(out, "warning", &format!("it imports {}, which {}", import.symbol, import.harm))?;
    }
    if !every.is_empty() {
        let names: Vec<_> = every.iter().map(|import| import.symbol).collect();
        row(out, "imports", &format!("{}, as every plugin does: the SDK brings them", names.join(", ")))?;
    }
    Ok(())
}

fn isolation(out: &mut String, advice: &Isolation) -> fmt::Result {
    let text = if advice.in_process {
        "process (the default); in-process would do, for code that you trust as the host's own".to_owned()
    } else {
        format!("process only: {}", advice.obstacles.join("; "))
    };
    row(out, "isolation", &text)
}

/// One word for the whole; the layers in force; and each that is not, with its reason.
fn sandbox(out: &mut String, enforced: IsolationEnforced, report: &SandboxReport) -> fmt::Result {
    let in_force: Vec<_> = report.iter().map(|(layer, _)| layer).filter(|it| report.enforces(*it)).collect();
    let names: Vec<_> = in_force.iter().map(|layer| layer.as_str()).collect();
    row(out, "sandbox", &format!("{}: {}", enforced.as_str(), names.join(", ")))?;
    for (layer, state) in report.iter().filter(|(layer, _)| !in_force.contains(layer)) {
        writeln!(out, "    {:<11} {layer}: {}", state.state.as_str(), state.reason)?;
    }
    Ok(())
}

fn conformance(out: &mut String, suite: &Conformance) -> fmt::Result {
    let count =
        |wanted: fn(&Verdict) -> bool| suite.cases.iter().filter(|case| wanted(&case.verdict)).count();
    let kept = count(|verdict| matches!(verdict, Verdict::Pass));
    let broken = count(|verdict| matches!(verdict, Verdict::Fail { .. }));
    row(
        out,
        "contract",
        &format!("{kept} kept, {broken} broken, {} not judged", suite.cases.len() - kept - broken),
    )?;
    for case in &suite.cases {
        let (mark, why) = match &case.verdict {
            Verdict::Pass => ("ok", String::new()),
            Verdict::Fail { reason } => ("FAIL", format!(": {reason}")),
            Verdict::Skip { reason } => ("-", format!(" ({reason})")),
        };
        writeln!(out, "    {mark:<5} {}{why}", case.promise)?;
    }
    Ok(())
}

fn cost(out: &mut String, measured: &Cost) -> fmt::Result {
    let event = measured.event_us.map(|us| format!(", {us:.1} µs an event")).unwrap_or_default();
    let text = format!(
        "{:.1} µs a round trip (median of {}), {:.1} µs a short message (median of {}, {:.1} events{event})",
        measured.round_trip_us,
        measured.round_trips,
        measured.message_us,
        measured.messages,
        measured.events_per_message
    );
    row(out, "cost", &text)
}

fn size(bytes: u64) -> String {
    if bytes < 1 << 20 {
        return format!("{:.1} KiB", bytes as f64 / 1024.0);
    }
    format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0))
}
