//! Passes one instance's orders on, but for the runs that a fault hits: those fail here, or are held for a while.
//!
//! The order of what concerns one call is kept: what is said about a call that is held lets it go first. Whatever
//! becomes of the instance, each call that was not passed on hears of its end.

use std::{collections::BTreeMap, sync::Arc};

use agent_host_core::{
    chaos::Kind,
    outcome::ExitReport,
    ports::instance::{CallOutput, InstanceCommand, Invocation},
};
use agent_plugin_protocol::{CallId, PluginId, call::Completion};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use crate::board::Board;

/// Orders that may wait here. Full: senders wait, as they do before an instance.
pub(crate) const ORDERS: usize = 256;

/// Stands before one instance.
pub(crate) struct Relay {
    board: Arc<Board>,
    plugin: PluginId,
    instance: mpsc::Sender<InstanceCommand>,
    exit: watch::Receiver<Option<Arc<ExitReport>>>,
    /// Runs that begin late, by when they do; as many as the instance may have at once.
    held: BTreeMap<(Instant, u64), Invocation>,
    number: u64,
}

/// The instance takes no orders any more.
struct Over;

impl Relay {
    pub(crate) fn new(
        board: Arc<Board>,
        plugin: PluginId,
        instance: mpsc::Sender<InstanceCommand>,
        exit: watch::Receiver<Option<Arc<ExitReport>>>,
    ) -> Self {
        Self { board, plugin, instance, exit, held: BTreeMap::new(), number: 0 }
    }

    /// Until the instance's end, or until nobody can order it any more: that ends it.
    pub(crate) async fn run(mut self, mut orders: mpsc::Receiver<InstanceCommand>) {
        while self.step(&mut orders).await.is_ok() {}
        let Self { instance, mut exit, held, .. } = self;
        drop(instance);
        let Ok(report) = exit.wait_for(Option::is_some).await.map(|report| report.clone()) else { return };
        let Some(report) = report else { return };
        orders.close();
        let mut lost: Vec<Invocation> = held.into_values().collect();
        while let Ok(order) = orders.try_recv() {
            lost.extend(invocation_of(order));
        }
        for Invocation { call, outputs, .. } in lost {
            // Nobody to hear it has given the call up.
            let _ = outputs.try_send((call, CallOutput::Lost(Arc::clone(&report))));
        }
    }

    async fn step(&mut self, orders: &mut mpsc::Receiver<InstanceCommand>) -> Result<(), Over> {
        let due = self.held.first_key_value().map(|((due, _), _)| *due);
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => self.take(order).await,
                None => Err(Over),
            },
            () = self.instance.closed() => Err(Over),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.let_go(1).await,
        }
    }

    async fn take(&mut self, order: InstanceCommand) -> Result<(), Over> {
        match order {
            InstanceCommand::Invoke(invocation) if invocation.run.is_some() => self.invoke(invocation).await,
            InstanceCommand::Cancel { call } | InstanceCommand::Abandon { call } => {
                self.let_go_of(call).await?;
                self.pass(order).await
            }
            InstanceCommand::Drain | InstanceCommand::Stop { .. } | InstanceCommand::Kill(_) => {
                self.let_go(usize::MAX).await?;
                self.pass(order).await
            }
            // About a call that has said something, and so is not held; or no call's.
            InstanceCommand::Invoke(_)
            | InstanceCommand::Respond { .. }
            | InstanceCommand::Credit { .. }
            | InstanceCommand::Strike(_) => self.pass(order).await,
        }
    }

    async fn invoke(&mut self, invocation: Invocation) -> Result<(), Over> {
        let plugin = self.plugin.clone();
        let is_its = |fault: &agent_host_core::chaos::Fault| fault.plugin.as_ref() == Some(&plugin);
        if self.board.hit(Kind::RunsFail, is_its).is_some() {
            fail(&invocation);
            return Ok(());
        }
        match self.board.hit(Kind::RunsSlow, is_its) {
            Some(delay) => {
                self.number += 1;
                self.held.insert((Instant::now() + delay, self.number), invocation);
                Ok(())
            }
            None => self.pass(InstanceCommand::Invoke(invocation)).await,
        }
    }

    /// Passes on the first ones that are held, at most so many.
    async fn let_go(&mut self, most: usize) -> Result<(), Over> {
        for _ in 0..most {
            let Some((_, invocation)) = self.held.pop_first() else { break };
            self.pass(InstanceCommand::Invoke(invocation)).await?;
        }
        Ok(())
    }

    async fn let_go_of(&mut self, call: CallId) -> Result<(), Over> {
        let place = self.held.iter().find(|(_, held)| held.call == call).map(|(place, _)| *place);
        match place.and_then(|place| self.held.remove(&place)) {
            Some(invocation) => self.pass(InstanceCommand::Invoke(invocation)).await,
            None => Ok(()),
        }
    }

    async fn pass(&mut self, order: InstanceCommand) -> Result<(), Over> {
        match self.instance.send(order).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendError(order)) => {
                if let Some(invocation) = invocation_of(order) {
                    self.number += 1;
                    self.held.insert((Instant::now(), self.number), invocation);
                }
                Err(Over)
            }
        }
    }
}

fn invocation_of(order: InstanceCommand) -> Option<Invocation> {
    match order {
        InstanceCommand::Invoke(invocation) => Some(invocation),
        _ => None,
    }
}

/// What a plugin says that panics.
fn fail(Invocation { call, outputs, .. }: &Invocation) {
    let completion = Completion::Panicked { message: "an injected fault (runs-fail)".to_owned() };
    let completion = serde_json::to_vec(&completion).unwrap_or_default();
    // A call has room for its last word; nobody to hear it has given it up.
    let _ = outputs.try_send((*call, CallOutput::Completed(completion.into())));
}
