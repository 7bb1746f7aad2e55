//! What of a run is open: tool calls, and work that was handed to other agents, which may hand on in their turn.

use std::{sync::Arc, time::Duration};

use agent_plugin_protocol::{
    EventKind, PluginId, RunId, ToolCallId, call::DelegateResult, event::EventError,
};
use serde_json::Value;

use super::{NewRunEvent, event, payload, text::Answer};

/// Open tool calls and delegated work, each in the order in which it began.
#[derive(Debug, Default)]
pub(super) struct Open {
    tools: Vec<Tool>,
    /// Who hands on stands before those who got it from them.
    work: Vec<Work>,
}

#[derive(Debug)]
struct Tool {
    id: ToolCallId,
    tool: String,
    since: Duration,
    by: Arc<str>,
    within: Option<RunId>,
}

#[derive(Debug)]
struct Work {
    sub_run: RunId,
    agent: PluginId,
    /// The agent's name, as its events carry it.
    name: Arc<str>,
    by: Arc<str>,
    within: Option<RunId>,
    /// Its deltas, joined: they are no part of the run's answer.
    answer: Answer,
}

impl Open {
    /// Who speaks in that work.
    pub(super) fn speaker(&self, sub_run: &RunId) -> Option<Arc<str>> {
        self.work.iter().find(|work| work.sub_run == *sub_run).map(|work| work.name.clone())
    }

    /// The answer of that work, which grows by deltas.
    pub(super) fn answer(&mut self, sub_run: &RunId) -> Option<&mut Answer> {
        self.work.iter_mut().find(|work| work.sub_run == *sub_run).map(|work| &mut work.answer)
    }

    pub(super) fn begin_tool(
        &mut self,
        by: Arc<str>,
        within: Option<RunId>,
        id: ToolCallId,
        tool: String,
        since: Duration,
    ) {
        self.tools.push(Tool { id, tool, since, by, within });
    }

    /// The event of a tool's end; `None` if it is not open.
    pub(super) fn end_tool(
        &mut self,
        id: &ToolCallId,
        result: Result<&Value, EventError>,
        duration: Duration,
    ) -> Option<NewRunEvent> {
        let at = self.tools.iter().position(|open| open.id == *id)?;
        let Tool { id, tool, by, .. } = self.tools.remove(at);
        let payload = payload::tool_completed(&id, &tool, result, duration);
        Some(event(EventKind::ToolCompleted, &by, payload))
    }

    pub(super) fn begin_work(
        &mut self,
        by: Arc<str>,
        within: Option<RunId>,
        agent: PluginId,
        sub_run: RunId,
    ) {
        let name = agent.as_str().into();
        self.work.push(Work { sub_run, agent, name, by, within, answer: Answer::default() });
    }

    /// The events of a work's end: what is open within it, then it; `None` if it is not open.
    pub(super) fn end_work(
        &mut self,
        sub_run: &RunId,
        result: &DelegateResult,
        within: &EventError,
        now: Duration,
    ) -> Option<Vec<NewRunEvent>> {
        let at = self.work.iter().position(|work| work.sub_run == *sub_run)?;
        let mut ending = vec![sub_run.clone()];
        for work in &self.work[at..] {
            if work.within.as_ref().is_some_and(|of| ending.contains(of)) {
                ending.push(work.sub_run.clone());
            }
        }
        let inner = |of: &Option<RunId>| of.as_ref().is_some_and(|of| ending.contains(of));
        let tools: Vec<Tool> = self.tools.extract_if(.., |tool| inner(&tool.within)).collect();
        let work: Vec<Work> = self.work.extract_if(at + 1.., |work| inner(&work.within)).collect();
        let mut events = close(tools, work, within, now);
        events.push(returned(&self.work.remove(at), result));
        Some(events)
    }

    /// The events of everything's end.
    pub(super) fn end_all(&mut self, error: &EventError, now: Duration) -> Vec<NewRunEvent> {
        close(std::mem::take(&mut self.tools), std::mem::take(&mut self.work), error, now)
    }
}

/// Tools first, then work, what was handed on last first: so nobody speaks after their own end.
fn close(tools: Vec<Tool>, work: Vec<Work>, error: &EventError, now: Duration) -> Vec<NewRunEvent> {
    let failed = DelegateResult::Failed { code: error.code.clone(), message: error.message.clone() };
    let tools = tools.into_iter().map(|tool| {
        let duration = now.saturating_sub(tool.since);
        let payload = payload::tool_completed(&tool.id, &tool.tool, Err(error.clone()), duration);
        event(EventKind::ToolCompleted, &tool.by, payload)
    });
    tools.chain(work.iter().rev().map(|work| returned(work, &failed))).collect()
}

fn returned(work: &Work, result: &DelegateResult) -> NewRunEvent {
    let payload = payload::returned(&work.agent, &work.sub_run, result);
    event(EventKind::AgentReturned, &work.by, payload)
}
