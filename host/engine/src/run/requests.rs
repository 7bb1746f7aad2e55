//! What a plugin asks of its host within a call: tools, history, state; connections are another file's.

use std::time::Duration;

use agent_host_core::{
    failpoint,
    failpoint::Action,
    ports::{
        instance::InstanceCommand,
        store::{LogEntry, StoreError},
        tools::{ToolCall, ToolError},
    },
    run_machine::RunInput,
    service::{ServiceName, ServiceState},
};
use agent_plugin_protocol::{
    CallId, Code, EventKind, PluginId, RunId, Seq, ToolCallId,
    call::{Answer, HistoryEntry, HistoryParams, ToolCallParams, ToolInfo, request},
    event::EventError,
};
use bytes::Bytes;
use futures_util::FutureExt as _;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Run;
use crate::{directory::ThreadKey, shared::Shared};

/// Requests of one call that may be under way; a plugin that asks for more at once is told to wait.
const AT_ONCE: usize = 32;
/// Entries of the log that are looked through for earlier turns, at most.
const HISTORY_ENTRIES: u64 = 2_000;
/// Turns of history at most.
const HISTORY_TURNS: u32 = 200;
/// Largest state that a plugin may keep for a thread.
const STATE_BYTES: usize = 1024 * 1024;

/// A request that was carried out.
pub(crate) struct JobDone {
    call: CallId,
    request: u64,
    answer: Answer,
    /// The tool call that it was.
    tool: Option<ToolDone>,
}

pub(super) struct ToolDone {
    id: ToolCallId,
    result: Result<Value, EventError>,
    duration: Duration,
}

impl Run {
    pub(super) async fn request(&mut self, call: CallId, request: u64, method: &str, payload: &[u8]) {
        let Some(under_way) = self.asking(call).map(|call| call.requests) else {
            let answer = refused("unimplemented", "not while choosing or stopping", false);
            return self.respond(call, request, &answer).await;
        };
        if under_way >= AT_ONCE {
            let answer = refused(Code::PluginOverloaded.as_str(), "too many requests at once", true);
            return self.respond(call, request, &answer).await;
        }
        if let Some(absent) = self.absent_service(method) {
            return self.respond(call, request, &of_code(absent)).await;
        }
        let answer = match method {
            request::TOOLS_CALL => match serde_json::from_slice(payload) {
                Ok(params) => return self.tool(call, request, params).await,
                Err(_) => malformed(),
            },
            request::TOOLS_LIST => ok_of(&self.granted_tools(call)),
            request::THREAD_HISTORY => match serde_json::from_slice(payload) {
                Ok(params) => return self.history(call, request, params),
                Err(_) => malformed(),
            },
            request::THREAD_STATE_GET => return self.state(call, request),
            request::THREAD_STATE_SET => {
                match serde_json::from_slice::<&serde_json::value::RawValue>(payload) {
                    Ok(state) if state.get().len() <= STATE_BYTES => {
                        return self.set_state(call, request, Bytes::copy_from_slice(state.get().as_bytes()));
                    }
                    Ok(_) => refused(Code::QuotaStorage.as_str(), "the state is above 1 MiB", false),
                    Err(_) => malformed(),
                }
            }
            request::LLM_COMPLETE => of_code(Code::LlmUnavailable),
            request::DELEGATE => match serde_json::from_slice(payload) {
                Ok(params) => return self.delegate(call, request, params).await,
                Err(_) => malformed(),
            },
            request::NET_CONNECT
            | request::NET_READ
            | request::NET_WRITE
            | request::NET_FINISH
            | request::NET_CLOSE => return self.network(call, request, method, payload).await,
            // Whatever a newer SDK may ask.
            _ => refused("unimplemented", "this host does not offer it", false),
        };
        self.respond(call, request, &answer).await;
    }

    /// The code of the service that the method needs, if it is not there.
    fn absent_service(&self, method: &str) -> Option<Code> {
        let name = match method {
            request::TOOLS_CALL | request::TOOLS_LIST => ServiceName::Tools,
            request::THREAD_HISTORY | request::THREAD_STATE_GET | request::THREAD_STATE_SET => {
                ServiceName::Threads
            }
            request::DELEGATE => ServiceName::Delegate,
            request::LLM_COMPLETE => ServiceName::Llm,
            _ => return None,
        };
        match self.shared.parts.services.borrow().state(name) {
            ServiceState::Available => None,
            ServiceState::Unavailable { code, .. } => Some(*code),
            ServiceState::NotConfigured if name == ServiceName::Llm => Some(Code::LlmUnavailable),
            ServiceState::NotConfigured => Some(Code::ServiceUnavailable),
        }
    }

    pub(super) async fn job_done(&mut self, done: JobDone) {
        self.served(done.call);
        if let Some(tool) = done.tool {
            self.push(RunInput::ToolFinished {
                tool_call_id: tool.id,
                result: tool.result,
                duration: tool.duration,
            });
        }
        // For a broken twin: a host that keeps to itself what failed.
        let kept =
            failpoint!("engine.told") == Some(Action::Off) && matches!(done.answer, Answer::Error { .. });
        if !kept {
            self.respond(done.call, done.request, &done.answer).await;
        }
    }

    /// One of its requests is done: it has something to go on with.
    pub(super) fn served(&mut self, call: CallId) {
        self.heard(call);
        if let Some(call) = self.open_call(call) {
            call.requests = call.requests.saturating_sub(1);
        }
    }

    pub(super) async fn respond(&mut self, call: CallId, request: u64, answer: &Answer) {
        let Some(call) = self.open_call(call) else { return };
        // An answer always serialises: texts and values.
        let answer = serde_json::to_vec(answer).unwrap_or_else(|_| b"null".to_vec()).into();
        call.order(InstanceCommand::Respond { call: call.id, request, answer }).await;
    }

    /// Does something for a call, which ends with it.
    pub(super) fn work_for(
        &mut self,
        call: CallId,
        request: u64,
        job: impl Future<Output = (Answer, Option<ToolDone>)> + Send + 'static,
    ) {
        let Some(open) = self.open_call(call) else { return };
        open.requests += 1;
        let over = open.over();
        self.jobs.push(
            async move {
                let (answer, tool) = over.run_until_cancelled(job).await?;
                Some(JobDone { call, request, answer, tool })
            }
            .boxed(),
        );
    }

    fn granted_tools(&mut self, call: CallId) -> Vec<ToolInfo> {
        let granted = self.open_call(call).map(|call| call.granted().to_vec()).unwrap_or_default();
        self.shared.parts.tools.list().into_iter().filter(|tool| granted.contains(&tool.name)).collect()
    }

    async fn tool(&mut self, of: CallId, request: u64, params: ToolCallParams) {
        let Some(call) = self.open_call(of) else { return };
        if !call.granted().contains(&params.name) {
            // Nothing was executed, so that no event says so.
            return self.respond(of, request, &of_code(Code::ToolDenied)).await;
        }
        let spec = call.instance.spec.clone();
        let id = ToolCallId::random();
        let within = self.within(of);
        self.push(RunInput::ToolStarted {
            within,
            tool_call_id: id.clone(),
            tool: params.name.clone(),
            arguments: params.arguments.clone(),
        });
        let call = ToolCall {
            plugin: spec.id.clone(),
            scope: self.scope().clone(),
            run: self.queued.run.clone(),
            tool: params.name,
            arguments: params.arguments,
        };
        let shared = self.shared.clone();
        // For a broken twin: a host that waits for its tools as long as they like.
        let patient = failpoint!("engine.clock.tool") == Some(Action::Off);
        let within = if patient { Duration::from_secs(3600) } else { spec.timeouts.tool };
        self.work_for(of, request, async move {
            let begun = Instant::now();
            let result = match tokio::time::timeout(within, shared.parts.tools.call(call)).await {
                Ok(result) => result,
                Err(_) => Err(ToolError {
                    code: Code::PluginTimeoutTool,
                    message: format!("no result within {} s", within.as_secs_f64()),
                }),
            };
            let answer = match &result {
                Ok(value) => Answer::Ok { value: value.clone() },
                Err(error) => refused(error.code.as_str(), &error.message, error.code.retryable()),
            };
            let result = result.map_err(event_error);
            (answer, Some(ToolDone { id, result, duration: begun.elapsed() }))
        });
    }

    fn history(&mut self, call: CallId, request: u64, params: HistoryParams) {
        let (shared, key, run) = (self.shared.clone(), self.key.clone(), self.queued.run.clone());
        let turns = params.limit.min(HISTORY_TURNS) as usize;
        self.work_for(call, request, async move {
            let answer = match turns_of(&shared, &key, &run, turns).await {
                Ok(turns) => ok_of(&turns),
                Err(error) => of_code(error.code),
            };
            (answer, None)
        });
    }

    fn state(&mut self, call: CallId, request: u64) {
        let Some(plugin) = self.plugin_of(call) else { return };
        let (shared, thread) = (self.shared.clone(), self.key.thread.clone());
        self.work_for(call, request, async move {
            let answer = match shared.parts.store.state(&thread, plugin.as_str()).await {
                // It was checked when it was stored.
                Ok(state) => Answer::Ok {
                    value: state.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or(Value::Null),
                },
                Err(error) => of_code(error.code),
            };
            (answer, None)
        });
    }

    fn set_state(&mut self, call: CallId, request: u64, state: Bytes) {
        let Some(plugin) = self.plugin_of(call) else { return };
        let (shared, thread) = (self.shared.clone(), self.key.thread.clone());
        self.work_for(call, request, async move {
            let stored = shared.parts.store.set_state(&thread, plugin.as_str(), state).await;
            shared.store_result("set_state", &stored);
            let answer = match stored {
                Ok(()) => Answer::Ok { value: Value::Null },
                Err(error) => of_code(error.code),
            };
            (answer, None)
        });
    }

    fn plugin_of(&mut self, call: CallId) -> Option<PluginId> {
        self.open_call(call).map(|call| call.instance.handle.plugin.clone())
    }
}

/// Earlier turns, oldest first, the newest `turns` of them; the present run is none.
async fn turns_of(
    shared: &Shared,
    key: &ThreadKey,
    present: &RunId,
    turns: usize,
) -> Result<Vec<HistoryEntry>, StoreError> {
    let store = &shared.parts.store;
    let Some(head) = store.thread(&key.scope, &key.thread).await? else { return Ok(Vec::new()) };
    let after = Seq(head.last.0.saturating_sub(HISTORY_ENTRIES));
    let limit = usize::try_from(HISTORY_ENTRIES).unwrap_or(usize::MAX);
    let entries = store.read(&key.scope, &key.thread, after, limit).await?.unwrap_or_default();
    let mut said: Vec<HistoryEntry> =
        entries.iter().filter(|entry| entry.event.run != *present).filter_map(turn).collect();
    Ok(said.split_off(said.len().saturating_sub(turns)))
}

fn turn(entry: &LogEntry) -> Option<HistoryEntry> {
    #[derive(Deserialize)]
    struct Asked {
        content: String,
    }
    #[derive(Deserialize)]
    struct Answered {
        text: String,
    }
    match entry.event.kind {
        EventKind::UserMessage => {
            let asked: Asked = serde_json::from_slice(&entry.event.payload).ok()?;
            Some(HistoryEntry { role: "user".to_owned(), agent: None, text: asked.content })
        }
        EventKind::AgentCompleted => {
            let answered: Answered = serde_json::from_slice(&entry.event.payload).ok()?;
            let agent = Some(entry.event.agent.to_string());
            // A run that ended without a word is no turn.
            (!answered.text.is_empty()).then(|| HistoryEntry {
                role: "agent".to_owned(),
                agent,
                text: answered.text,
            })
        }
        EventKind::AgentStarted
        | EventKind::AgentThinking
        | EventKind::ToolExecuting
        | EventKind::ToolCompleted
        | EventKind::AgentMessageDelta
        | EventKind::AgentDelegated
        | EventKind::AgentReturned
        | EventKind::RunDegraded => None,
    }
}

/// A tool's failure, as people see it.
pub(super) fn event_error(error: ToolError) -> EventError {
    EventError { code: error.code.to_string(), message: error.message, retryable: error.code.retryable() }
}

pub(super) fn ok_of(value: &impl serde::Serialize) -> Answer {
    Answer::Ok { value: json!(value) }
}

pub(super) fn malformed() -> Answer {
    refused(Code::PluginProtocolViolation.as_str(), "the parameters are not those of the method", false)
}

pub(super) fn of_code(code: Code) -> Answer {
    refused(code.as_str(), code.meaning(), code.retryable())
}

pub(super) fn refused(code: &str, message: &str, retryable: bool) -> Answer {
    Answer::Error { code: code.to_owned(), message: message.to_owned(), retryable }
}
