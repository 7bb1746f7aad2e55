//! The steps themselves: what a client relies on, each seen from a client.

use std::time::Duration;

use agent_host_core::level::ServiceLevel;
use agent_host_gateway::outside::is_of;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Not,
    peer::{Address, Peer},
};

/// A run may take as long as an agent takes for a short message.
const RUN_WITHIN: Duration = Duration::from_secs(60);
/// What the host itself answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Agents that are asked; the others are named as not asked.
const AGENTS: usize = 20;
const MESSAGE: &str = "This is a check after a deployment: please answer with a word.";

/// The steps that need what the steps before them found.
#[derive(Debug, Clone, Copy)]
pub(super) enum Later {
    Resume,
    Cancel,
    Malformed,
    History,
    Stranger,
}

impl Later {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Resume => "resume after a cut",
            Self::Cancel => "cancel",
            Self::Malformed => "malformed input",
            Self::History => "history over HTTP",
            Self::Stranger => "another user",
        }
    }
}

/// One look at a host.
pub(super) struct Probe {
    to: Address,
    token: String,
    other: Option<String>,
    expected: Option<ServiceLevel>,
    peer: Option<Peer>,
    /// What was made, to be deleted.
    threads: Vec<String>,
    /// A whole run: its thread, its epoch and its events.
    run: Option<(String, Value, Vec<Value>)>,
}

impl Probe {
    pub(super) fn new(
        to: Address,
        token: String,
        other: Option<String>,
        expected: Option<ServiceLevel>,
    ) -> Self {
        Self { to, token, other, expected, peer: None, threads: Vec::new(), run: None }
    }

    pub(super) fn url(&self) -> String {
        self.to.url.clone()
    }

    /// Lets a host start. Whatever it is then, the steps tell.
    pub(super) async fn waits(&self, most: Duration) {
        self.to.is_ready_within(&self.token, most).await;
    }

    /// 101, and the welcome in time. An error tells whether nobody was there.
    pub(super) async fn opens(&mut self) -> Result<String, (String, bool)> {
        let peer = Peer::open(&self.to, &self.token).await?;
        let detail = format!("101, then the welcome to {}", peer.welcome["user_id"].as_str().unwrap_or("?"));
        self.peer = Some(peer);
        Ok(detail)
    }

    /// The level, and that it is the expected one.
    pub(super) fn level(&self) -> Result<String, Not> {
        let service = &self.welcome()["service"];
        let level = service["level"].as_str().unwrap_or("none");
        let missing = service["missing"].as_array().into_iter().flatten();
        let missing: Vec<String> = missing
            .map(|one| {
                let word = |key: &str| one[key].as_str().unwrap_or("?").to_owned();
                format!("{} ({})", word("name"), word("code"))
            })
            .collect();
        let told = match missing.is_empty() {
            true => level.to_owned(),
            false => format!("{level}; missing: {}", missing.join(", ")),
        };
        match &self.expected {
            Some(expected) if expected.as_str() != level => {
                Err(Not::Held(format!("expected {}, is {told}", expected.as_str())))
            }
            Some(_) | None => Ok(told),
        }
    }

    /// No fault is injected now; whether one may be is said.
    pub(super) fn is_left_alone(&self) -> Result<String, Not> {
        // No answer of an older host, and none of one that is not ready, is wrong here.
        let (_, page) = self.to.asks("GET", "/ready?verbose", &self.token)?;
        let active: Vec<&str> =
            page["chaos"]["active"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        match (page["chaos"].is_object(), active.as_slice()) {
            (false, _) => Ok("off".to_owned()),
            (true, []) => {
                Ok("ON: operators may inject faults here (chaos.enabled); none is in force".to_owned())
            }
            (true, active) => Err(Not::Held(format!("faults are being injected: {}", active.join(", ")))),
        }
    }

    /// The healthy agents; where there is none, the fallback shall answer.
    pub(super) fn agents(&self) -> Vec<Option<String>> {
        let agents = self.welcome()["agents"].as_array().into_iter().flatten();
        let healthy = agents.filter(|agent| agent["state"] == "healthy");
        let named: Vec<_> =
            healthy.filter_map(|agent| agent["name"].as_str()).map(|name| Some(name.to_owned())).collect();
        if named.is_empty() { vec![None] } else { named.into_iter().take(AGENTS).collect() }
    }

    /// A message is answered: accepted, then one whole run, by whom it should be.
    pub(super) async fn is_answered(&mut self, agent: Option<&str>) -> Result<String, Not> {
        let id = Uuid::new_v4().simple().to_string();
        let mut message = json!({ "type": "user_message", "id": id, "content": MESSAGE });
        if let Some(agent) = agent {
            message["agent"] = agent.into();
        }
        let until = Instant::now() + RUN_WITHIN;
        let accepted = self.accepted(&message, until).await?;
        let thread = accepted["thread_id"].as_str().unwrap_or_default().to_owned();
        let events = self.peer()?.frames.run(&accepted, until).await?;
        let completed = &events.last().unwrap_or(&Value::Null)["payload"];
        let (status, by) = (completed["status"].as_str(), &completed["responder"]);
        let answered = match agent {
            Some(agent) => status == Some("ok") && by["plugin"] == agent,
            None => status == Some("degraded") && by["built_in"] == true,
        };
        if !answered {
            let code = completed["error"]["code"].as_str().unwrap_or("no code");
            return Err(Not::Held(format!(
                "it ended {} ({code}), by {}",
                status.unwrap_or("?"),
                by["plugin"]
            )));
        }
        let detail = format!("{} events, answered by {}", events.len(), by["plugin"].as_str().unwrap_or("?"));
        self.run = Some((thread, accepted["epoch"].clone(), events));
        Ok(detail)
    }

    pub(super) async fn take(&mut self, step: Later) -> Result<String, Not> {
        match step {
            Later::Resume => self.resumes().await,
            Later::Cancel => self.cancels().await,
            Later::Malformed => self.lives_with_nonsense().await,
            Later::History => self.tells_history(),
            Later::Stranger => self.keeps_strangers_out(),
        }
    }

    /// The connection is lost, and the next one goes on where it was.
    async fn resumes(&mut self) -> Result<String, Not> {
        let Some((thread, epoch, events)) = self.run.clone() else { return Err(NO_RUN) };
        // Not closed: cut off.
        self.peer = None;
        self.opens().await.map_err(|(reason, _)| Not::Held(reason))?;
        let until = Instant::now() + ANSWER_WITHIN;
        let first = events.first().and_then(|event| event["seq"].as_u64()).unwrap_or(0);
        let peer = self.peer()?;
        let subscribe =
            json!({ "type": "subscribe", "thread_id": thread, "after_seq": first, "epoch": epoch });
        peer.frames.send(subscribe.to_string()).await?;
        let subscribed = peer.frames.until(until, |frame| is_of(frame, &["subscribed", "error"])).await?;
        if subscribed["recovered"] != true {
            return Err(Not::Held(format!("not recovered: {subscribed}")));
        }
        for expected in events.iter().skip(1) {
            let event = peer
                .frames
                .until(until, |frame| frame["seq"].is_u64() && frame["payload"].is_object())
                .await?;
            if event != *expected {
                return Err(Not::Held(format!("event {} is another than before", expected["seq"])));
            }
        }
        Ok(format!("{} events again, none missing", events.len().saturating_sub(1)))
    }

    /// A run that is cancelled ends, whatever its agent does.
    async fn cancels(&mut self) -> Result<String, Not> {
        let id = Uuid::new_v4().simple().to_string();
        let until = Instant::now() + RUN_WITHIN;
        let message = json!({ "type": "user_message", "id": id, "content": MESSAGE });
        let accepted = self.accepted(&message, until).await?;
        let cancel = json!({ "type": "cancel", "run_id": accepted["run_id"] });
        self.peer()?.frames.send(cancel.to_string()).await?;
        let events = self.peer()?.frames.run(&accepted, until).await?;
        match events.last().and_then(|last| last["payload"]["status"].as_str()) {
            Some("cancelled") => Ok("it ended as cancelled".to_owned()),
            // It was done before it heard of it.
            Some(status @ ("ok" | "degraded")) => Ok(format!("it had ended before: {status}")),
            status => Err(Not::Held(format!("it ended as {}", status.unwrap_or("nothing")))),
        }
    }

    /// What is no frame is answered, and the connection stays.
    async fn lives_with_nonsense(&mut self) -> Result<String, Not> {
        let until = Instant::now() + ANSWER_WITHIN;
        let peer = self.peer()?;
        peer.frames.send("{\"type\":\"user_message\",".to_owned()).await?;
        let error = peer.frames.until(until, |frame| is_of(frame, &["error"])).await?;
        peer.frames.send(json!({ "type": "ping" }).to_string()).await?;
        peer.frames.until(until, |frame| is_of(frame, &["pong"])).await?;
        Ok(format!(
            "{}, and the connection stays",
            error["code"].as_str().unwrap_or("an error without a code")
        ))
    }

    fn tells_history(&self) -> Result<String, Not> {
        let Some((thread, _, events)) = &self.run else { return Err(NO_RUN) };
        let path = format!("/v1/threads/{thread}/events?limit=500");
        let (status, page) = self.to.asks("GET", &path, &self.token)?;
        let read = page["events"].as_array().map_or(0, Vec::len);
        match (status, read >= events.len()) {
            (200, true) => Ok(format!("{read} events")),
            _ => Err(Not::Held(format!("GET {path}: HTTP {status}, {read} events of {}", events.len()))),
        }
    }

    /// Somebody else's token finds nothing.
    fn keeps_strangers_out(&self) -> Result<String, Not> {
        let Some(other) = &self.other else {
            return Err(Not::Tried("give --other-token-file to see that another user finds nothing"));
        };
        let Some((thread, ..)) = &self.run else { return Err(NO_RUN) };
        for path in [format!("/v1/threads/{thread}"), format!("/v1/threads/{thread}/events")] {
            match self.to.asks("GET", &path, other)? {
                (404, _) => {}
                (status, _) => {
                    return Err(Not::Held(format!("GET {path} by another user: HTTP {status}, not 404")));
                }
            }
        }
        Ok("404".to_owned())
    }

    /// Deletes what was made.
    pub(super) fn tidies(&mut self) -> Result<String, Not> {
        let made = std::mem::take(&mut self.threads);
        for thread in &made {
            match self.to.asks("DELETE", &format!("/v1/threads/{thread}"), &self.token)? {
                (204 | 404, _) => {}
                (status, body) => {
                    return Err(Not::Held(format!(
                        "thread {thread} was not deleted: HTTP {status} {}",
                        body["code"]
                    )));
                }
            }
        }
        Ok(format!("{} threads deleted", made.len()))
    }

    /// Sends a message, and waits for its acceptance.
    async fn accepted(&mut self, message: &Value, until: Instant) -> Result<Value, Not> {
        let peer = self.peer()?;
        peer.frames.send(message.to_string()).await?;
        let id = &message["id"];
        let answer = peer
            .frames
            .until(until, |frame| is_of(frame, &["accepted", "error"]) && frame["id"] == *id)
            .await?;
        if answer["type"] != "accepted" {
            return Err(Not::Held(format!("not accepted: {} {}", answer["code"], answer["message"])));
        }
        self.threads.extend(answer["thread_id"].as_str().map(str::to_owned));
        Ok(answer)
    }

    fn peer(&mut self) -> Result<&mut Peer, Not> {
        self.peer.as_mut().ok_or(Not::Tried("there is no connection any more"))
    }

    fn welcome(&self) -> &Value {
        self.peer.as_ref().map_or(&Value::Null, |peer| &peer.welcome)
    }
}

const NO_RUN: Not = Not::Tried("no run was whole");
