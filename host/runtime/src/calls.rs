//! The open calls of one instance and what each may have outstanding. The same for every isolation tier.
//!
//! A call is opened once and ends with exactly one last word; whatever comes for a call that is not open (over,
//! abandoned, never begun) is counted and dropped.

use std::{collections::HashMap, sync::Arc};

use agent_host_core::{
    crash::{CrashReport, CrashedCall, During, OPEN_CALLS},
    outcome::ExitReport,
    ports::instance::{CALL_OUTPUTS, CallOutput, Desk, Invocation, SERVED, Served},
};
use agent_plugin_protocol::{
    CallId, RunId,
    call::{CREDIT_WINDOW, InvokeStatus},
};
use bytes::Bytes;
use tokio::sync::mpsc;

/// Requests that a call may have unanswered: what [`CALL_OUTPUTS`] has room for beside the events.
const OPEN_REQUESTS: u32 = (CALL_OUTPUTS - SERVED) as u32 - CREDIT_WINDOW - 1;

/// The plugin sent more than it was allowed to have outstanding.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flood;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct OpenCalls {
    calls: HashMap<u64, OpenCall>,
    dropped: u64,
    /// What was said and waits for [`flush`](Self::flush), in order. `None`: nothing ever waits.
    held: Option<Vec<Held>>,
}

/// An output on its way to its listener.
type Held = (mpsc::Sender<(CallId, CallOutput)>, CallId, CallOutput);

/// Outputs that wait at most; then they are passed on.
const MOST_HELD: usize = CREDIT_WINDOW as usize / 2;

#[derive(Debug)]
struct OpenCall {
    method: &'static str,
    run: Option<RunId>,
    outputs: mpsc::Sender<(CallId, CallOutput)>,
    events: u32,
    requests: u32,
    desk: Option<Arc<dyn Desk>>,
    /// One for this, and one for each output of the desk's that nobody has read yet.
    served: Arc<()>,
}

impl OpenCalls {
    /// None; what they will say waits until it is asked for, so that many outputs wake their listeners once.
    pub(crate) fn holding() -> Self {
        Self { held: Some(Vec::new()), ..Self::default() }
    }

    /// Passes on what waits.
    pub(crate) fn flush(&mut self) -> Result<(), Flood> {
        let mut flooded = Ok(());
        for (outputs, call, output) in self.held.iter_mut().flat_map(|held| held.drain(..)) {
            if is_last(&output) {
                last_word(outputs, call, output);
                continue;
            }
            match outputs.try_send((call, output)) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => flooded = Err(Flood),
                Err(mpsc::error::TrySendError::Closed(_)) => self.dropped += 1,
            }
        }
        flooded
    }

    /// Whether something waits.
    pub(crate) fn is_holding(&self) -> bool {
        self.held.as_ref().is_some_and(|held| !held.is_empty())
    }

    /// Opens a call.
    pub(crate) fn open(&mut self, invocation: &Invocation) {
        let call = OpenCall {
            method: invocation.method,
            run: invocation.run.clone(),
            outputs: invocation.outputs.clone(),
            events: 0,
            requests: 0,
            desk: invocation.desk.clone(),
            served: Arc::default(),
        };
        self.calls.insert(invocation.call.0, call);
    }

    /// Completes the report of a crash: the names of the call that was executed, and which others were open.
    pub(crate) fn name_in(&self, crash: &mut CrashReport) {
        let named = |call: u64, open: &OpenCall| CrashedCall {
            call: CallId(call),
            method: Some(open.method),
            run: open.run.clone(),
        };
        let mut executed = None;
        if let During::Call(told) = &mut crash.during {
            executed = Some(told.call.0);
            if let Some(open) = self.calls.get(&told.call.0) {
                *told = named(told.call.0, open);
            }
        }
        let others = self.calls.iter().filter(|(call, _)| Some(**call) != executed);
        crash.open = others.take(OPEN_CALLS).map(|(call, open)| named(*call, open)).collect();
    }

    /// Whether the call is open.
    pub(crate) fn is_open(&self, call: CallId) -> bool {
        self.calls.contains_key(&call.0)
    }

    /// How many outputs came for calls that were not open since this was last asked.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// So many such outputs did not come as far as here.
    pub(crate) fn dropped_elsewhere(&mut self, outputs: u64) {
        self.dropped = self.dropped.saturating_add(outputs);
    }

    /// So many events were consumed.
    pub(crate) fn credit(&mut self, call: CallId, events: u32) {
        if let Some(open) = self.calls.get_mut(&call.0) {
            open.events = open.events.saturating_sub(events);
        }
    }

    /// A request was answered.
    pub(crate) fn answered(&mut self, call: CallId) {
        if let Some(open) = self.calls.get_mut(&call.0) {
            open.requests = open.requests.saturating_sub(1);
        }
    }

    /// Nobody listens any more.
    pub(crate) fn abandon(&mut self, call: CallId) {
        self.calls.remove(&call.0);
    }

    /// An event; answers how many more may follow at once, `None` if the call is not open.
    pub(crate) fn emitted(&mut self, call: u64, kind: u32, payload: Bytes) -> Result<Option<u32>, Flood> {
        self.pass(call, CallOutput::Emitted { kind, payload }, |open| {
            let left = CREDIT_WINDOW.checked_sub(open.events + 1)?;
            open.events += 1;
            Some(left)
        })
    }

    /// A request to the host; answers as [`emitted`](Self::emitted) does.
    pub(crate) fn requested(
        &mut self,
        call: u64,
        request: u64,
        method: String,
        payload: Bytes,
    ) -> Result<Option<u32>, Flood> {
        self.pass(call, CallOutput::Request { request, method, payload }, |open| {
            let left = OPEN_REQUESTS.checked_sub(open.requests + 1)?;
            open.requests += 1;
            Some(left)
        })
    }

    /// The desk that answers the call's requests at once, if it has one, and a place for what it serves, if one is free.
    pub(crate) fn desk(&self, call: u64) -> Option<(Arc<dyn Desk>, Arc<()>)> {
        let open = self.calls.get(&call)?;
        let desk = open.desk.clone()?;
        (Arc::strong_count(&open.served) <= SERVED).then(|| (desk, Arc::clone(&open.served)))
    }

    /// A request that was answered where it was made; answers whether the call is open.
    pub(crate) fn served(&mut self, call: u64, served: Served, place: Arc<()>) -> Result<bool, Flood> {
        let passed = self.pass(call, CallOutput::Served(Box::new(served), place), |_| Some(0))?;
        Ok(passed.is_some())
    }

    /// The call's own last word.
    pub(crate) fn completed(&mut self, call: u64, completion: Bytes) {
        self.end(call, CallOutput::Completed(completion));
    }

    /// The plugin would not take the call.
    pub(crate) fn rejected(&mut self, call: u64, status: InvokeStatus) {
        self.end(call, CallOutput::Rejected(status));
    }

    /// The instance is gone: every open call hears of it.
    pub(crate) fn lose_all(&mut self, report: &Arc<ExitReport>) {
        // A flood: it is gone anyway.
        let _ = self.flush();
        for (call, open) in self.calls.drain() {
            last_word(open.outputs, CallId(call), CallOutput::Lost(Arc::clone(report)));
        }
    }

    /// Passes an output on, if the call may have it `outstanding`.
    fn pass(
        &mut self,
        call: u64,
        output: CallOutput,
        outstanding: impl FnOnce(&mut OpenCall) -> Option<u32>,
    ) -> Result<Option<u32>, Flood> {
        let Some(open) = self.calls.get_mut(&call) else {
            self.dropped += 1;
            return Ok(None);
        };
        let left = outstanding(open).ok_or(Flood)?;
        let sent = match &mut self.held {
            Some(_) if open.outputs.is_closed() => Err(mpsc::error::TrySendError::Closed(())),
            Some(held) => {
                held.push((open.outputs.clone(), CallId(call), output));
                Ok(())
            }
            None => open.outputs.try_send((CallId(call), output)).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => mpsc::error::TrySendError::Full(()),
                mpsc::error::TrySendError::Closed(_) => mpsc::error::TrySendError::Closed(()),
            }),
        };
        match sent {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(())) => return Err(Flood),
            Err(mpsc::error::TrySendError::Closed(())) => {
                // As if it had been abandoned: nobody listens.
                self.calls.remove(&call);
                self.dropped += 1;
                return Ok(None);
            }
        }
        if self.held.as_ref().is_some_and(|held| held.len() >= MOST_HELD) {
            self.flush()?;
        }
        Ok(Some(left))
    }

    fn end(&mut self, call: u64, output: CallOutput) {
        match (self.calls.remove(&call), &mut self.held) {
            (Some(open), Some(held)) => held.push((open.outputs, CallId(call), output)),
            (Some(open), None) => last_word(open.outputs, CallId(call), output),
            (None, _) => self.dropped += 1,
        }
    }
}

/// Whether it ends its call.
fn is_last(output: &CallOutput) -> bool {
    match output {
        CallOutput::Completed(_) | CallOutput::Rejected(_) | CallOutput::Lost(_) => true,
        CallOutput::Emitted { .. } | CallOutput::Request { .. } | CallOutput::Served(..) => false,
    }
}

/// Sends what must arrive. There is room for it by the bounds above; should a listener have made its channel too
/// small, it is waited for apart, until it reads or goes away.
fn last_word(outputs: mpsc::Sender<(CallId, CallOutput)>, call: CallId, output: CallOutput) {
    if let Err(mpsc::error::TrySendError::Full(unsent)) = outputs.try_send((call, output)) {
        tokio::spawn(async move {
            // A closed channel has nobody who waits for the word.
            let _ = outputs.send(unsent).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use agent_host_core::outcome::Exit;

    use super::*;

    fn opened(capacity: usize) -> (OpenCalls, mpsc::Receiver<(CallId, CallOutput)>) {
        let (outputs, inbox) = mpsc::channel(capacity);
        let mut calls = OpenCalls::default();
        let deadline = Duration::from_secs(1);
        calls.open(&Invocation {
            call: CallId(7),
            method: "handle",
            run: None,
            payload: Bytes::new(),
            deadline,
            desk: None,
            outputs,
        });
        (calls, inbox)
    }

    fn report() -> Arc<ExitReport> {
        Arc::new(ExitReport {
            exit: Exit::Signal(11),
            uptime: Duration::ZERO,
            stderr_tail: Vec::new(),
            crash: None,
        })
    }

    #[test]
    fn a_window_of_events_fits_and_one_more_is_a_flood() {
        let (mut calls, _inbox) = opened(CALL_OUTPUTS);
        for _ in 0..CREDIT_WINDOW {
            calls.emitted(7, 1, Bytes::new()).unwrap();
        }
        calls.credit(CallId(7), 1);
        calls.emitted(7, 1, Bytes::new()).unwrap();
        assert_eq!(calls.emitted(7, 1, Bytes::new()), Err(Flood));
    }

    #[test]
    fn with_everything_outstanding_the_last_word_still_fits() {
        let (mut calls, mut inbox) = opened(CALL_OUTPUTS);
        for _ in 0..CREDIT_WINDOW {
            calls.emitted(7, 1, Bytes::new()).unwrap();
        }
        for request in 0..u64::from(OPEN_REQUESTS) {
            calls.requested(7, request, "x".into(), Bytes::new()).unwrap();
        }
        calls.lose_all(&report());
        let mut last = None;
        while let Ok((_, output)) = inbox.try_recv() {
            last = Some(output);
        }
        assert!(matches!(last, Some(CallOutput::Lost(_))));
    }

    #[test]
    fn a_call_has_one_last_word_and_later_output_is_counted() {
        let (mut calls, mut inbox) = opened(CALL_OUTPUTS);
        calls.completed(7, Bytes::new());
        calls.completed(7, Bytes::new());
        calls.emitted(7, 1, Bytes::new()).unwrap();
        calls.lose_all(&report());
        assert!(matches!(inbox.try_recv(), Ok((CallId(7), CallOutput::Completed(_)))));
        assert!(inbox.try_recv().is_err());
        assert_eq!(calls.take_dropped(), 2);
    }

    #[test]
    fn output_of_an_abandoned_call_goes_nowhere() {
        let (mut calls, mut inbox) = opened(CALL_OUTPUTS);
        calls.abandon(CallId(7));
        calls.emitted(7, 1, Bytes::new()).unwrap();
        calls.completed(7, Bytes::new());
        assert!(inbox.try_recv().is_err());
        assert_eq!(calls.take_dropped(), 2);
    }

    #[test]
    fn what_is_held_waits_in_order_for_the_flush_and_is_bounded() {
        let (calls, mut inbox) = opened(4 * CALL_OUTPUTS);
        let mut calls = OpenCalls { held: Some(Vec::new()), ..calls };
        assert_eq!(calls.emitted(7, 1, Bytes::new()), Ok(Some(CREDIT_WINDOW - 1)));
        calls.completed(7, Bytes::new());
        assert!(inbox.try_recv().is_err() && calls.is_holding());
        calls.flush().unwrap();
        assert!(matches!(inbox.try_recv(), Ok((_, CallOutput::Emitted { .. }))));
        assert!(matches!(inbox.try_recv(), Ok((_, CallOutput::Completed(_)))));

        let (calls, mut inbox) = opened(4 * CALL_OUTPUTS);
        let mut calls = OpenCalls { held: Some(Vec::new()), ..calls };
        for _ in 0..MOST_HELD {
            calls.emitted(7, 1, Bytes::new()).unwrap();
        }
        assert!(inbox.try_recv().is_ok() && !calls.is_holding());
    }

    #[test]
    fn a_lost_instance_s_held_words_come_before_the_loss() {
        let (calls, mut inbox) = opened(CALL_OUTPUTS);
        let mut calls = OpenCalls { held: Some(Vec::new()), ..calls };
        calls.emitted(7, 1, Bytes::new()).unwrap();
        calls.lose_all(&report());
        assert!(matches!(inbox.try_recv(), Ok((_, CallOutput::Emitted { .. }))));
        assert!(matches!(inbox.try_recv(), Ok((_, CallOutput::Lost(_)))));
    }

    #[derive(Debug)]
    struct NoDesk;

    impl Desk for NoDesk {
        fn at_once(&self, _: &str, _: &[u8]) -> Option<Served> {
            None
        }
    }

    #[test]
    fn a_desk_serves_so_many_requests_unread_and_no_more() {
        let (outputs, mut inbox) = mpsc::channel(CALL_OUTPUTS);
        let mut calls = OpenCalls::holding();
        calls.open(&Invocation {
            call: CallId(7),
            method: "handle",
            run: None,
            payload: Bytes::new(),
            deadline: Duration::from_secs(1),
            desk: Some(Arc::new(NoDesk)),
            outputs,
        });
        let served = || Served {
            tool: "clock".to_owned(),
            arguments: serde_json::Value::Null,
            result: Ok(serde_json::Value::Null),
            duration: Duration::ZERO,
        };
        for _ in 0..SERVED {
            let (_, place) = calls.desk(7).unwrap();
            assert_eq!(calls.served(7, served(), place), Ok(true));
        }
        assert!(calls.desk(7).is_none(), "the next takes the way to the run");
        calls.flush().unwrap();
        assert!(calls.desk(7).is_none(), "nobody has read them yet");
        drop(inbox.try_recv().unwrap());
        assert!(calls.desk(7).is_some());
    }
}
