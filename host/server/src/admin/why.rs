//! `plugins why`: one sentence that says how a plugin is, since when, why, who has its traffic, and what to do.

use agent_host_gateway::admin::view::{FaultPart, PluginPage};
use time::OffsetDateTime;

use super::{
    detail::on_trial,
    words::{ago, clock, shown},
};

/// The sentence.
pub(super) fn sentence(page: &PluginPage) -> String {
    at(page, OffsetDateTime::now_utc())
}

fn at(page: &PluginPage, now: OffsetDateTime) -> String {
    let line = &page.line;
    let mut parts = vec![subject(page, now)];
    if let Some(fault) = line.fault.as_ref().filter(|_| line.verdict != "disabled") {
        parts.push(format!("{} ({}, at {})", because(fault), shown(&fault.code), shown(&fault.stage)));
    }
    parts.extend(last_words(page));
    parts.extend(page.canary.as_ref().map(|canary| shown(&on_trial(canary, page, now))));
    parts.extend(page.candidate.as_ref().and_then(|candidate| {
        let fault = candidate.fault.as_ref()?;
        let number = candidate.generation;
        Some(format!("generation {number} could not take over: {} ({})", because(fault), shown(&fault.code)))
    }));
    if let Some(at) = &line.retry_at {
        parts.push(format!("the next try is at {}", clock(at, now)));
    }
    parts.push(traffic(page));
    parts.extend(what_to_do(page).map(|todo| format!("do this: {todo}")));
    parts.join("; ") + "."
}

fn subject(page: &PluginPage, now: OffsetDateTime) -> String {
    let line = &page.line;
    let before = ago(&line.since, now);
    let before = if before.is_empty() { before } else { format!(" ({before})") };
    // `failed: quarantined` says more than the verdict; `healthy: healthy` does not.
    let state = if line.state == line.verdict { String::new() } else { format!(" ({})", shown(&line.state)) };
    let (id, verdict) = (shown(&line.id), shown(&line.verdict));
    format!("{id} is {verdict}{state} since {}{before}", clock(&line.since, now))
}

/// A reason is a sentence's part here: it does not end one.
fn because(fault: &FaultPart) -> String {
    shown(&fault.reason).trim_end_matches('.').to_owned()
}

/// Where its crash is shown, if that is what it fails for.
fn last_words(page: &PluginPage) -> Option<String> {
    let (fault, crash) = (page.line.fault.as_ref()?, page.last_crash.as_ref()?);
    if fault.code != crash.code || page.line.verdict == "disabled" {
        return None;
    }
    let during =
        crash.calls.first().map(|call| format!(" during {}", shown(&call.method))).unwrap_or_default();
    let how = shown(&crash.how);
    Some(format!("{how}{during}, see `agent-host plugins show {}`", shown(&page.line.id)))
}

fn traffic(page: &PluginPage) -> String {
    match &page.line.served_by {
        Some(who) if who == "fallback" => "its traffic goes to the built-in fallback".to_owned(),
        Some(who) => format!("its traffic goes to {}", shown(who)),
        None if page.line.verdict == "healthy" => format!("generation {} serves", page.line.generation),
        None => "nobody stands in for it".to_owned(),
    }
}

/// The one who reads it can act now: a hint of the time of the fault may be overtaken by the state.
pub(super) fn what_to_do(page: &PluginPage) -> Option<String> {
    let (line, id) = (&page.line, shown(&page.line.id));
    let hint = |fault: &FaultPart| shown(&fault.hint).trim_end_matches('.').to_owned();
    match (line.verdict.as_str(), line.state.as_str()) {
        ("healthy", _) => page.candidate.as_ref().and_then(|candidate| candidate.fault.as_ref()).map(hint),
        ("disabled", _) => Some(format!("nothing, or `agent-host plugins enable {id}`")),
        // Its hint is that of its last crash, after which it was still started again.
        (_, "quarantined") => Some(format!("mend it, then `agent-host plugins reset {id}`")),
        _ => line.fault.as_ref().map(hint).filter(|hint| !hint.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use agent_host_gateway::admin::view::{CandidatePart, CrashPart, OpenCallPart, PluginLine};
    use time::format_description::well_known::Rfc3339;

    use super::*;

    fn said(line: PluginLine, candidate: Option<FaultPart>) -> String {
        let candidate =
            candidate.map(|fault| CandidatePart { generation: 3, fault: Some(fault), ..Default::default() });
        let since = "2026-11-25T14:02:11.000Z".to_owned();
        let page = PluginPage { line: PluginLine { since, ..line }, candidate, ..PluginPage::default() };
        at(&page, OffsetDateTime::parse("2026-11-25T14:10:11.000Z", &Rfc3339).unwrap())
    }

    fn line(id: &str, verdict: &str, state: &str) -> PluginLine {
        let own = |text: &str| text.to_owned();
        PluginLine {
            id: own(id),
            verdict: own(verdict),
            state: own(state),
            generation: 2,
            ..Default::default()
        }
    }

    fn fault(code: &str, reason: &str, hint: &str) -> FaultPart {
        let own = |text: &str| text.to_owned();
        FaultPart { stage: own("verify"), code: own(code), reason: own(reason), hint: own(hint) }
    }

    #[test]
    fn one_sentence_says_it_all() {
        let missing =
            fault("plugin.missing_library", "missing libssl.so.3.", "install the named library on the host");
        let failed = PluginLine {
            fault: Some(missing.clone()),
            served_by: Some("fallback".to_owned()),
            ..line("billing", "failed", "failed")
        };
        assert_eq!(
            said(failed.clone(), None),
            "billing is failed since 14:02:11 UTC (8 min); missing libssl.so.3 (plugin.missing_library, at verify); \
             its traffic goes to the built-in fallback; do this: install the named library on the host."
        );
        let quarantined = PluginLine { state: "quarantined".to_owned(), ..failed };
        assert!(
            said(quarantined, None).ends_with("then `agent-host plugins reset billing`."),
            "a quarantine ends by a reset only"
        );
        assert_eq!(
            said(line("echo", "healthy", "healthy"), None),
            "echo is healthy since 14:02:11 UTC (8 min); generation 2 serves."
        );
        assert_eq!(
            said(line("echo", "healthy", "healthy"), Some(missing)),
            "echo is healthy since 14:02:11 UTC (8 min); generation 3 could not take over: missing libssl.so.3 \
             (plugin.missing_library); generation 2 serves; do this: install the named library on the host."
        );
        assert_eq!(
            said(
                PluginLine { served_by: Some("echo".to_owned()), ..line("x", "disabled", "disabled") },
                None
            ),
            "x is disabled since 14:02:11 UTC (8 min); its traffic goes to echo; do this: nothing, or \
             `agent-host plugins enable x`."
        );
    }

    #[test]
    fn a_crash_is_pointed_to() {
        let crashed = fault("plugin.crashed", "its process ended: signal 11", "wait");
        let crash = CrashPart {
            code: "plugin.crashed".to_owned(),
            how: "SIGSEGV".to_owned(),
            calls: vec![OpenCallPart { method: "handle".to_owned(), run: "r1".to_owned() }],
            ..CrashPart::default()
        };
        let line = PluginLine { fault: Some(crashed), ..line("x", "failed", "failed") };
        let page = PluginPage { line, last_crash: Some(crash), ..PluginPage::default() };
        assert!(sentence(&page).contains("; SIGSEGV during handle, see `agent-host plugins show x`; "));
    }

    #[test]
    fn what_a_plugin_says_cannot_act_on_the_terminal() {
        let evil = fault("plugin.error", "\u{1b}]0;owned\u{7}\u{202e}no\nline", "\u{9b}31m");
        let text = said(PluginLine { fault: Some(evil), ..line("\u{1b}[2Jx", "failed", "failed") }, None);
        assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
    }
}
