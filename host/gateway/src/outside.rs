//! A connection as its client reads it: frame after frame, each until some time, and in plain words why none came. For those
//! who look at a host from outside: its own check, and `verify`.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout_at},
};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

/// An open connection.
#[derive(Debug)]
pub struct Frames<S>(WebSocketStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// After the handshake.
    pub fn of(socket: WebSocketStream<S>) -> Self {
        Self(socket)
    }

    /// Sends a text, which need not be a frame.
    ///
    /// # Errors
    /// In words, if the connection broke.
    pub async fn send(&mut self, text: String) -> Result<(), String> {
        self.0.send(Message::text(text)).await.map_err(|error| format!("the connection broke: {error}"))
    }

    /// The next frame but pings, which are answered.
    ///
    /// # Errors
    /// In words, if none came by then, if what came is no frame, or if the connection ended.
    pub async fn next(&mut self, until: Instant) -> Result<Value, String> {
        loop {
            let next =
                timeout_at(until, self.0.next()).await.map_err(|_| "nothing came in time".to_owned())?;
            match next {
                Some(Ok(Message::Text(text))) => {
                    let frame: Value = serde_json::from_str(&text)
                        .map_err(|error| format!("a frame is no JSON: {error}"))?;
                    if !is_of(&frame, &["ping"]) {
                        return Ok(frame);
                    }
                    self.send(json!({ "type": "pong" }).to_string()).await?;
                }
                Some(Ok(Message::Close(frame))) => {
                    let code = frame.map_or(1005, |frame| frame.code.into());
                    return Err(format!("the host closed the connection with {code}"));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(format!("the connection broke: {error}")),
                None => return Err("the connection ended".to_owned()),
            }
        }
    }

    /// Reads on until a frame that is wanted.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn until(&mut self, until: Instant, wanted: impl Fn(&Value) -> bool) -> Result<Value, String> {
        loop {
            let frame = self.next(until).await?;
            if wanted(&frame) {
                return Ok(frame);
            }
        }
    }

    /// The events of the run that was accepted, from its message to its end.
    ///
    /// # Errors
    /// As [`next`](Self::next), and if they are no whole run.
    pub async fn run(&mut self, accepted: &Value, until: Instant) -> Result<Vec<Value>, String> {
        let run = at(accepted, "run_id");
        let mut events = Vec::new();
        while events.last().is_none_or(|last| !is_of(last, &["agent_completed"])) {
            let of_it = |frame: &Value| at(frame, "run_id") == run && at(frame, "payload").is_object();
            let event = self.until(until, of_it).await;
            events.push(event.map_err(|reason| format!("after {} events: {reason}", events.len()))?);
        }
        whole(&events, at(accepted, "seq").as_u64().unwrap_or(0))?;
        Ok(events)
    }

    /// Closes it, as a client that has seen enough.
    pub async fn close(&mut self) {
        // What the host says to that is nothing that a client waits for.
        let _ = self.0.close(None).await;
    }
}

/// Whether a frame is of one of these types.
pub fn is_of(frame: &Value, kinds: &[&str]) -> bool {
    at(frame, "type").as_str().is_some_and(|kind| kinds.contains(&kind))
}

/// The message first, then one start, at the end the one completion, each tool that was begun ended before, and no hole.
///
/// # Errors
/// In words, if they are no whole run.
pub fn whole(events: &[Value], first: u64) -> Result<(), String> {
    for (seq, event) in (first..).zip(events) {
        let came = at(event, "seq");
        if came.as_u64() != Some(seq) {
            return Err(format!("event {seq} is missing: {came} came"));
        }
    }
    let kinds: Vec<&str> = events.iter().map(|event| at(event, "type").as_str().unwrap_or("?")).collect();
    let count = |kind: &str| kinds.iter().filter(|one| **one == kind).count();
    let tools = |kind: &'static str| {
        let of_kind = events.iter().filter(move |event| is_of(event, &[kind]));
        of_kind.map(|event| at(at(event, "payload"), "tool_call_id").as_str())
    };
    if let Some(open) =
        tools("tool_executing").find(|begun| !tools("tool_completed").any(|ended| ended == *begun))
    {
        return Err(format!("no whole run: tool call {} was never completed", open.unwrap_or("?")));
    }
    let begins = kinds.first() == Some(&"user_message") && kinds.get(1) == Some(&"agent_started");
    match begins && count("agent_started") == 1 && count("agent_completed") == 1 {
        true => Ok(()),
        false => Err(format!("no whole run: {kinds:?}")),
    }
}

/// A field of a frame; null where there is none.
fn at<'a>(frame: &'a Value, field: &str) -> &'a Value {
    frame.get(field).unwrap_or(&Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(of: &[(u64, &str)]) -> Vec<Value> {
        of.iter().map(|(seq, kind)| json!({ "seq": seq, "type": kind })).collect()
    }

    #[test]
    fn a_tool_that_was_begun_is_ended() {
        let tool = |seq: u64, kind: &str, id: &str| json!({ "seq": seq, "type": kind, "payload": { "tool_call_id": id } });
        let mut run = events(&[(1, "user_message"), (2, "agent_started")]);
        run.push(tool(3, "tool_executing", "a"));
        run.push(tool(4, "tool_completed", "a"));
        run.extend(events(&[(5, "agent_completed")]));
        assert_eq!(whole(&run, 1), Ok(()));
        run[3] = tool(4, "tool_completed", "b");
        assert!(whole(&run, 1).is_err_and(|why| why.contains("tool call a")));
    }

    #[test]
    fn a_run_is_whole_with_its_message_one_start_one_end_and_no_hole() {
        let good = [(7, "user_message"), (8, "agent_started"), (9, "agent_completed")];
        assert_eq!(whole(&events(&good), 7), Ok(()));
        assert!(whole(&events(&good), 6).is_err(), "it begins elsewhere");
        for wrong in [
            &good[..2],
            &good[1..],
            &[(7, "user_message"), (8, "agent_started"), (10, "agent_completed")],
            &[(7, "agent_started"), (8, "user_message"), (9, "agent_completed")],
            &[(7, "user_message"), (8, "agent_started"), (9, "agent_started"), (10, "agent_completed")],
        ] {
            let first = wrong.first().map_or(0, |(seq, _)| *seq);
            assert!(whole(&events(wrong), first).is_err(), "{wrong:?}");
        }
    }
}
