//! A bounded queue that serves everybody in turn: whoever has much in it does not keep those waiting who have little.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// Items by owner: each owner's in the order in which they came, the owners by turns.
#[derive(Debug)]
pub struct FairQueue<K, T> {
    /// Owners with items, the next to be served first. Each is there once.
    turns: VecDeque<K>,
    items: HashMap<K, VecDeque<T>>,
    len: usize,
}

impl<K, T> Default for FairQueue<K, T> {
    fn default() -> Self {
        Self { turns: VecDeque::new(), items: HashMap::new(), len: 0 }
    }
}

impl<K: Clone + Eq + Hash, T> FairQueue<K, T> {
    /// Adds an item at the end of its owner's, and an owner who had none at the end of the turns.
    ///
    /// # Errors
    /// The item, if `most` are in it already.
    pub fn push(&mut self, most: usize, owner: K, item: T) -> Result<(), T> {
        if self.len >= most {
            return Err(item);
        }
        let own = self.items.entry(owner.clone()).or_default();
        if own.is_empty() {
            self.turns.push_back(owner);
        }
        own.push_back(item);
        self.len += 1;
        Ok(())
    }

    /// Takes the first item of the owner whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        let owner = self.turns.pop_front()?;
        let own = self.items.get_mut(&owner)?;
        let item = own.pop_front()?;
        self.len -= 1;
        if own.is_empty() {
            self.items.remove(&owner);
        } else {
            self.turns.push_back(owner);
        }
        Some(item)
    }

    /// Keeps those items only.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        for own in self.items.values_mut() {
            own.retain(&mut keep);
        }
        self.items.retain(|_, own| !own.is_empty());
        self.turns.retain(|owner| self.items.contains_key(owner));
        self.len = self.items.values().map(VecDeque::len).sum();
    }

    /// How many items are in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests;
