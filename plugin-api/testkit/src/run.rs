//! One message on its way: what the agent says is noted, what it asks is answered.

use agent_plugin_api::{
    HistoryEntry, Value,
    protocol::{
        RunId,
        call::{Answer, Completion, DelegateParams, HistoryParams, ToolCallParams, request},
        event::Emitted,
    },
};

use crate::{
    Output, Subject as _,
    desk::{error, ok, parse},
    plugin::Plugin,
    streams::Streams,
    transcript::{Delegated, Event, ToolCall, Transcript},
};

/// A run that has begun. Dropped before its end, it is cancelled and forgotten.
#[derive(Debug)]
pub struct Run<'a> {
    plugin: &'a mut Plugin,
    call: u64,
    run_id: RunId,
    /// The person's message; `None` for a call that is no turn of the conversation.
    content: Option<String>,
    events: Vec<Event>,
    completion: Option<Completion>,
    streams: Streams,
}

impl<'a> Run<'a> {
    pub(crate) fn new(plugin: &'a mut Plugin, call: u64, run_id: RunId) -> Self {
        Self {
            plugin,
            call,
            run_id,
            content: None,
            events: Vec::new(),
            completion: None,
            streams: Streams::default(),
        }
    }

    pub(crate) fn of_message(plugin: &'a mut Plugin, call: u64, run_id: RunId, content: &str) -> Self {
        let mut run = Self::new(plugin, call, run_id);
        run.content = Some(content.to_owned());
        run
    }

    /// The next event; `None` when the run is over.
    ///
    /// # Panics
    /// When the agent is silent for too long, or does not take the call.
    pub async fn next(&mut self) -> Option<Event> {
        while self.completion.is_none() {
            let before = self.events.len();
            self.step().await;
            if let Some(event) = self.events.get(before) {
                return Some(event.clone());
            }
        }
        None
    }

    /// Asks the agent to stop. The run goes on until the agent has ended it.
    pub async fn cancel(&mut self) {
        let call = self.call;
        self.plugin.calls.cancel(call).await;
    }

    /// Goes on to the end.
    ///
    /// # Panics
    /// As [`next`](Self::next).
    pub async fn finish(mut self) -> Transcript {
        let completion = self.last_word().await;
        let transcript = Transcript {
            run_id: self.run_id.to_string(),
            events: std::mem::take(&mut self.events),
            completion,
            state: self.plugin.state.clone(),
            logs: self.plugin.calls.switchboard().take_logs(),
        };
        if let Some(content) = self.content.take() {
            let turn = |role: &str, text: String| HistoryEntry { role: role.to_owned(), agent: None, text };
            self.plugin.history.push(turn("user", content));
            if transcript.reply().is_some() {
                self.plugin.history.push(turn("agent", transcript.text()));
            }
        }
        transcript
    }

    /// Goes on to the last word.
    pub(crate) async fn last_word(&mut self) -> Completion {
        loop {
            if let Some(completion) = &self.completion {
                return completion.clone();
            }
            self.step().await;
        }
    }

    async fn step(&mut self) {
        let patience = self.plugin.patience;
        match self.plugin.calls.next(self.call, patience).await {
            Some(Output::Event { kind, payload }) => self.events.push(event(kind, payload)),
            Some(Output::Request { request, method, payload }) => {
                let answer = self.answer(&method, &payload);
                self.plugin.calls.answer(self.call, request, answer).await;
            }
            Some(Output::Completed(body)) => {
                let completion = serde_json::from_slice(&body);
                self.completion =
                    Some(completion.unwrap_or_else(|why| panic!("the last word is unreadable: {why}")));
            }
            Some(Output::Rejected(status)) => panic!("the plugin did not take the call: {status:?}"),
            Some(Output::Lost(why)) => panic!("the plugin is gone: {why}"),
            None => panic!("the agent neither said nor asked anything for {patience:?}"),
        }
    }

    /// Answers as a host would; an error answer where it is the agent's fault.
    fn answer(&mut self, method: &str, payload: &[u8]) -> Answer {
        self.answered(method, payload).unwrap_or_else(|refused| refused)
    }

    fn answered(&mut self, method: &str, payload: &[u8]) -> Result<Answer, Answer> {
        if let Some(answer) = self.streams.answer(&self.plugin.desk, method, payload) {
            return answer;
        }
        Ok(match method {
            request::TOOLS_LIST => self.plugin.desk.tool_list(),
            request::TOOLS_CALL => self.tool(parse(payload)?),
            request::THREAD_HISTORY => self.history(parse(payload)?),
            request::THREAD_STATE_GET => ok(&self.plugin.state),
            request::THREAD_STATE_SET => {
                self.plugin.state = parse(payload)?;
                ok(&Value::Null)
            }
            request::DELEGATE => self.delegate(parse(payload)?)?,
            request::LLM_COMPLETE => self.plugin.desk.complete(parse(payload)?),
            _ => error("unimplemented", "the kit does not know this method"),
        })
    }

    fn tool(&mut self, params: ToolCallParams) -> Answer {
        let answer = self.plugin.desk.call_tool(&params);
        let ToolCallParams { name, arguments } = params;
        self.events.push(Event::Tool(ToolCall { name, arguments, answer: answer.clone() }));
        answer
    }

    fn history(&self, params: HistoryParams) -> Answer {
        let history = &self.plugin.history;
        let skipped = history.len().saturating_sub(usize::try_from(params.limit).unwrap_or(usize::MAX));
        ok(&history.iter().skip(skipped).collect::<Vec<_>>())
    }

    fn delegate(&mut self, params: DelegateParams) -> Result<Answer, Answer> {
        let result = self.plugin.desk.delegate(&params)?;
        let answer = ok(&result);
        let DelegateParams { agent, input } = params;
        self.events.push(Event::Delegated(Delegated { agent: agent.to_string(), input, result }));
        Ok(answer)
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.plugin.calls.end(self.call);
    }
}

fn event(kind: u32, payload: Vec<u8>) -> Event {
    match Emitted::decode(kind, &payload) {
        Ok(Emitted::Thinking(thinking)) => Event::Thinking {
            text: thinking.text.into_owned(),
            step: thinking.step,
            progress: thinking.progress,
        },
        Ok(Emitted::Delta(delta)) => Event::Delta(delta.text.into_owned()),
        Err(fault) => Event::Malformed { kind, fault: fault.to_string(), payload },
    }
}
