//! One message handled to completion, as the client saw it.

use serde_json::Value;

/// A run's frames.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// The acknowledgement.
    pub(crate) accepted: Value,
    /// From `user_message` to `agent_completed`.
    pub(crate) events: Vec<Value>,
}

impl Run {
    /// The events' types, in order.
    pub(crate) fn kinds(&self) -> Vec<&str> {
        self.events.iter().filter_map(|event| event["type"].as_str()).collect()
    }

    /// The payload of the first event of a type; null if there is none.
    pub(crate) fn payload(&self, kind: &str) -> &Value {
        self.events.iter().find(|event| event["type"] == kind).map_or(&Value::Null, |event| &event["payload"])
    }

    /// The last event's payload.
    pub(crate) fn completed(&self) -> &Value {
        self.payload("agent_completed")
    }

    /// How it ended: `ok`, `degraded`, `failed`, ….
    pub(crate) fn status(&self) -> &str {
        self.completed()["status"].as_str().unwrap_or("")
    }

    /// The answer.
    pub(crate) fn text(&self) -> &str {
        self.completed()["text"].as_str().unwrap_or("")
    }

    /// Its thread.
    pub(crate) fn thread(&self) -> &str {
        self.accepted["thread_id"].as_str().unwrap_or("")
    }

    /// Its id.
    pub(crate) fn id(&self) -> &str {
        self.accepted["run_id"].as_str().unwrap_or("")
    }

    /// Every stable code that the run names: where it moved, and its error.
    pub(crate) fn codes(&self) -> Vec<&str> {
        let moved = self.events.iter().filter(|event| event["type"] == "run_degraded");
        let moved = moved.filter_map(|event| event["payload"]["code"].as_str());
        moved.chain(self.completed()["error"]["code"].as_str()).collect()
    }

    /// Who answered last.
    pub(crate) fn responder(&self) -> &str {
        self.completed()["responder"]["plugin"].as_str().unwrap_or("")
    }

    /// Objects unless an agent answered as it should.
    pub(crate) fn answered_by(&self, agent: &str) -> Result<(), String> {
        match self.status() == "ok" && self.responder() == agent {
            true => Ok(()),
            false => Err(format!("not answered by {agent}: {}", self.completed())),
        }
    }

    /// Objects unless the fallback answered, honestly: labelled, complete, with what is missing, no echo.
    pub(crate) fn answered_by_fallback(&self, asked: &str) -> Result<(), String> {
        let completed = self.completed();
        let responder = &completed["responder"];
        if self.status() != "degraded" || responder["plugin"] != "fallback" || responder["built_in"] != true {
            return Err(format!("not answered by the fallback: {completed}"));
        }
        if self.text().is_empty() || self.text().contains(asked) {
            return Err(format!("the fallback's answer is empty or echoes {asked:?}: {:?}", self.text()));
        }
        if self.payload("tool_executing")["tool"] != "host.diagnostics" {
            return Err(format!("the fallback claims another tool: {}", self.payload("tool_executing")));
        }
        Ok(())
    }

    /// What the laws say of a whole run; single events were judged as they came.
    pub(super) fn judge(&self) -> Result<(), String> {
        let kinds = self.kinds();
        let asked = self.events.first();
        if asked.is_none_or(|first| first["type"] != "user_message" || first["seq"] != self.accepted["seq"]) {
            return Err(format!("the run does not begin with its message: {kinds:?}"));
        }
        if kinds.get(1) != Some(&"agent_started") || kinds.last() != Some(&"agent_completed") {
            return Err(format!("the run is not whole: {kinds:?}"));
        }
        let statuses = ["ok", "degraded", "failed", "cancelled", "interrupted", "input_required"];
        match statuses.contains(&self.status()) {
            true => Ok(()),
            false => Err(format!("an unknown status: {}", self.completed())),
        }
    }
}
