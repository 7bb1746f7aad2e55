//! A store that fails, has no room, or takes its time.

use std::sync::Arc;

use agent_host_core::{
    chaos::Kind,
    ports::{
        BoxFuture,
        store::{Around, Room, Store, StoreError},
    },
};
use agent_plugin_protocol::{Code, Epoch};

use crate::board::Board;

/// Stands before the log.
pub struct FaultyStore {
    board: Arc<Board>,
    store: Arc<dyn Store>,
}

impl FaultyStore {
    /// Stands before that one.
    pub fn new(board: Arc<Board>, store: Arc<dyn Store>) -> Self {
        Self { board, store }
    }

    /// Before anything that is asked. Nothing has reached the log where it fails.
    async fn reached(&self, room: Room) -> Result<(), StoreError> {
        self.board.pause(Kind::StoreSlow, |_| true).await;
        if self.board.hit(Kind::StoreFail, |_| true).is_some() {
            return Err(StoreError::unavailable("an injected fault (store-fail)"));
        }
        if room == Room::Taken && self.board.hit(Kind::StoreFull, |_| true).is_some() {
            let reason = "an injected fault (store-full)".to_owned();
            return Err(StoreError { code: Code::StoreFull, reason });
        }
        Ok(())
    }
}

impl Around for FaultyStore {
    fn ask<'a, T, F, A>(&'a self, room: Room, asking: F) -> BoxFuture<'a, Result<T, StoreError>>
    where
        T: Send + 'a,
        F: FnOnce(Arc<dyn Store>) -> A + Send + 'a,
        A: Future<Output = Result<T, StoreError>> + Send + 'a,
    {
        Box::pin(async move {
            self.reached(room).await?;
            asking(Arc::clone(&self.store)).await
        })
    }

    fn epoch_behind(&self) -> Epoch {
        self.store.epoch()
    }

    fn damage_behind(&self) -> Option<Code> {
        self.store.damage()
    }

    /// No fault is about the end.
    fn close_behind(&self) -> BoxFuture<'_, ()> {
        self.store.close()
    }
}
