//! How a run ends: by its answer, by the fallback's, by the person, or by the host.

use std::time::Duration;

use agent_host_core::{
    failpoint, outcome::Outcome, ports::store::NewQuestion, routing::FallbackReason, run_machine::RunInput,
};
use agent_host_telemetry::happening::{FallbackFailed, RunCompleted};
use agent_plugin_protocol::{Code, ToolCallId, call::Reply};
use serde_json::json;

use super::{By, Phase, Run, Stop, status_word};
use crate::{
    fallback::{self, FallbackAnswer},
    session::Problem,
};

impl Run {
    /// Stops it. Who asked first is who is named.
    pub(crate) async fn cancel(&mut self, by: By) {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Waiting { .. } | Phase::Queued { .. } => self.finish(&by.outcome()),
            Phase::Choosing { call, .. } => {
                call.give_up().await;
                self.finish(&by.outcome());
            }
            Phase::Calling { call, .. } => self.stop(call, Stop::Cancelled(by)).await,
            // Its grace goes on; only what follows is another thing.
            Phase::Stopping { call, until, why: Stop::TimedOut(_) } => {
                self.phase = Phase::Stopping { call, until, why: Stop::Cancelled(by) };
            }
            stopped @ Phase::Stopping { why: Stop::Cancelled(_), .. } => self.phase = stopped,
            Phase::Over => {}
        }
    }

    /// The host goes away: it ends now.
    pub(crate) async fn interrupt(&mut self) {
        if self.is_over() {
            return;
        }
        self.give_up_work().await;
        if let Some(call) = self.call() {
            call.give_up().await;
        }
        self.jobs.clear();
        self.finish(&Outcome::Interrupted);
    }

    /// The last word goes out.
    pub(super) fn finish(&mut self, outcome: &Outcome) {
        self.phase = Phase::Over;
        self.push(match outcome {
            Outcome::Cancelled => RunInput::Cancelled,
            Outcome::Interrupted => RunInput::Interrupted,
            outcome => RunInput::Finished(outcome.clone()),
        });
        // A test's fault: the last word is said twice. The machine must swallow the second.
        if failpoint!("engine.last_word").is_some() {
            self.push(RunInput::Finished(outcome.clone()));
        }
        if let (Outcome::Ok(Reply { ask: Some(_), .. }), Some(target)) = (outcome, &self.responder) {
            self.question = Some(NewQuestion {
                run: self.queued.run.clone(),
                // As `RunMachine` names it.
                interrupt: format!("{}.1", self.queued.run),
                agent: target.plugin.clone(),
            });
        }
        if self.scope().is_self_check() {
            return;
        }
        // Only an answer counts as one: a run that failed was answered by nobody.
        let by = match outcome {
            Outcome::Ok(_) if self.fell_back => "fallback",
            Outcome::Ok(_) => "plugin",
            _ => "none",
        };
        let responder = self.responder.as_ref();
        RunCompleted {
            plugin: match responder {
                _ if self.fell_back => fallback::NAME,
                Some(target) => target.plugin.as_str(),
                None => "host",
            },
            generation: responder.filter(|_| !self.fell_back).map_or(0, |target| target.generation.0),
            run: &self.queued.run,
            thread: &self.key.thread,
            outcome: status_word(outcome, self.fell_back),
            code: outcome.code().map_or("", |code| code.as_str()),
            by,
            seconds: self.queued.accepted.elapsed().as_secs_f64(),
        }
        .emit();
    }

    /// The built-in answers, honestly and at once: nothing in it waits.
    pub(super) fn fall_back(&mut self, reason: &FallbackReason) {
        let status = self.shared.status();
        match fallback::answer(&status, reason) {
            Ok(answer) => self.answer_honestly(answer, reason),
            Err(error) => {
                FallbackFailed { run: self.queued.run.to_string(), reason: error.to_string() }.emit();
                self.shared.fallback_failed();
                let problem = Problem::new(Code::HostInternal).about(&self.queued.message.id);
                self.problems.push(Problem {
                    message:
                        "no agent could answer, and the built-in fallback failed too; the connection stays"
                            .to_owned(),
                    ..problem.retry_after(Duration::from_secs(5))
                });
                self.finish(&Outcome::Refused(Code::HostInternal));
            }
        }
    }

    fn answer_honestly(&mut self, answer: FallbackAnswer, reason: &FallbackReason) {
        self.fell_back = true;
        self.take_over(fallback::responder(), format!("the built-in fallback answers: {reason}"));
        let (kind, payload) = answer.thinking;
        self.push(RunInput::Emitted { within: None, kind, payload });
        let tool_call_id = ToolCallId::random();
        self.push(RunInput::ToolStarted {
            within: None,
            tool_call_id: tool_call_id.clone(),
            tool: fallback::TOOL.to_owned(),
            arguments: json!({}),
        });
        self.push(RunInput::ToolFinished {
            tool_call_id,
            result: Ok(answer.diagnostics),
            duration: Duration::ZERO,
        });
        self.finish(&Outcome::Ok(Reply { text: Some(answer.text), ask: None, usage: None }));
    }
}
