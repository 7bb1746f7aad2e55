//! The test kit's host, with blocking waits for what a plugin says.

use std::{
    collections::VecDeque,
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

use agent_plugin_api::{
    Agent, Supervisor,
    protocol::call::{Completion, CreateError, InvokeStatus, LogLine, Reply},
};
use agent_plugin_testkit::local::{self, Creation, Ear, Local};
use serde_json::{Value, json};

/// What the plugin said.
#[derive(Debug)]
pub enum Said {
    Emit { call: u64, kind: u32, payload: Value },
    Complete { call: u64, completion: Completion },
    Request { call: u64, request: u64, method: String, payload: Value },
    Log(LogLine),
    Heartbeat,
    Flush,
}

/// One created instance and what it said.
pub struct Host {
    plugin: Local,
    said: Receiver<Said>,
    /// Said, but skipped by the one who waited for something else.
    skipped: VecDeque<Said>,
}

impl Host {
    pub fn agent<A: Agent>(config: Value) -> Result<Self, CreateError> {
        Self::create(Local::agent::<A>, config)
    }

    pub fn supervisor<S: Supervisor>(config: Value) -> Result<Self, CreateError> {
        Self::create(Local::supervisor::<S>, config)
    }

    fn create(
        make: fn(&Creation, Ear) -> Result<Local, CreateError>,
        config: Value,
    ) -> Result<Self, CreateError> {
        let (sender, said) = channel();
        let creation = Creation {
            plugin: "test".to_owned(),
            generation: 1,
            config,
            secrets: Default::default(),
            data_dir: Some("/data".to_owned()),
            threads: 2,
            log_level: "info".to_owned(),
        };
        let plugin = make(&creation, Arc::new(move |said| sender.send(read(said)).is_ok()))?;
        Ok(Self { plugin, said, skipped: VecDeque::new() })
    }

    pub fn invoke(&self, call: u64, method: &str, params: &Value) -> InvokeStatus {
        let payload = serde_json::to_vec(params).unwrap();
        self.plugin.invoke(call, method, &payload, 60_000).unwrap()
    }

    /// Begins `handle` with that message; the run is `run-<call>`.
    pub fn handle(&self, call: u64, content: &str) {
        let params = json!({
            "run_id": format!("run-{call}"), "thread_id": "t", "message_id": "m",
            "message": {"id": "c", "content": content},
        });
        assert_eq!(self.invoke(call, "handle", &params), InvokeStatus::Accepted);
    }

    /// Ends the instance; answers what was said until then and not yet read.
    pub fn destroy(mut self) -> Vec<Said> {
        drop(self.plugin);
        let mut rest: Vec<_> = self.skipped.drain(..).collect();
        rest.extend(self.said.try_iter());
        rest
    }

    /// The same, and waits until so many calls are completed: a thread that is slow to end, as one that prints where a
    /// drop panicked, completes its call a moment after the grace.
    pub fn destroy_completing(mut self, calls: usize) -> Vec<Said> {
        drop(self.plugin);
        let mut rest: Vec<_> = self.skipped.drain(..).collect();
        let completed =
            |rest: &[Said]| rest.iter().filter(|said| matches!(said, Said::Complete { .. })).count();
        while completed(&rest) < calls
            && let Ok(said) = self.said.recv_timeout(Duration::from_secs(20))
        {
            rest.push(said);
        }
        rest.extend(self.said.try_iter());
        rest
    }

    /// Waits for something said that `wanted` takes; all else is kept for later.
    pub fn expect<T>(&mut self, mut wanted: impl FnMut(&Said) -> Option<T>) -> T {
        if let Some((at, found)) =
            self.skipped.iter().enumerate().find_map(|(at, said)| Some((at, wanted(said)?)))
        {
            self.skipped.remove(at);
            return found;
        }
        loop {
            let said = self.said.recv_timeout(Duration::from_secs(20)).expect("the plugin says it in time");
            match wanted(&said) {
                Some(found) => return found,
                None => self.skipped.push_back(said),
            }
        }
    }

    /// The next event of the call: its kind and payload.
    pub fn event(&mut self, of: u64) -> (u32, Value) {
        self.expect(|said| match said {
            Said::Emit { call, kind, payload } if *call == of => Some((*kind, payload.clone())),
            _ => None,
        })
    }

    /// The next request of the call: its id, method and parameters.
    pub fn request(&mut self, of: u64) -> (u64, String, Value) {
        self.expect(|said| match said {
            Said::Request { call, request, method, payload } if *call == of => {
                Some((*request, method.clone(), payload.clone()))
            }
            _ => None,
        })
    }

    pub fn completion(&mut self, of: u64) -> Completion {
        self.expect(|said| match said {
            Said::Complete { call, completion } if *call == of => Some(completion.clone()),
            _ => None,
        })
    }

    /// Events of the call that were said and not yet read.
    pub fn unread_events(&mut self, of: u64) -> usize {
        self.skipped.extend(self.said.try_iter());
        self.skipped.iter().filter(|said| matches!(said, Said::Emit { call, .. } if *call == of)).count()
    }

    /// Has the call been completed, unread?
    pub fn completions(&mut self, of: u64) -> usize {
        self.skipped.extend(self.said.try_iter());
        self.skipped.iter().filter(|said| matches!(said, Said::Complete { call, .. } if *call == of)).count()
    }
}

/// The completion of `handle` that answers this text.
pub fn text(text: &str) -> Completion {
    let reply = Reply { text: Some(text.to_owned()), ..Reply::default() };
    Completion::Ok { value: serde_json::to_value(reply).unwrap() }
}

/// What it said, read; unreadable words fail the test.
fn read(said: local::Said) -> Said {
    match said {
        local::Said::Emit { call, kind, payload } => {
            Said::Emit { call, kind, payload: serde_json::from_slice(&payload).unwrap() }
        }
        local::Said::Complete { call, completion } => {
            Said::Complete { call, completion: serde_json::from_slice(&completion).unwrap() }
        }
        local::Said::Request { call, request, method, payload } => {
            Said::Request { call, request, method, payload: serde_json::from_slice(&payload).unwrap() }
        }
        local::Said::Log(line) => Said::Log(serde_json::from_slice(&line).unwrap()),
        local::Said::Heartbeat => Said::Heartbeat,
        local::Said::Flush => Said::Flush,
    }
}

impl Deref for Host {
    type Target = Local;

    fn deref(&self) -> &Local {
        &self.plugin
    }
}

impl DerefMut for Host {
    fn deref_mut(&mut self) -> &mut Local {
        &mut self.plugin
    }
}
