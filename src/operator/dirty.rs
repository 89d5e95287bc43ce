//! Which nodes are to be looked at: a set, not a queue, so that it holds each node once at most.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use futures::{Stream, stream};
use tokio::sync::Notify;

use super::sessions::NodeKey;

/// The set.
#[derive(Debug, Default)]
pub struct Dirty {
    nodes: Mutex<HashSet<NodeKey>>,
    changed: Notify,
}

impl Dirty {
    /// Notes nodes.
    pub fn mark(&self, nodes: impl IntoIterator<Item = NodeKey>) {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).extend(nodes);
        self.changed.notify_one();
    }

    /// Takes nodes as they are noted, for one reader.
    pub fn stream(&self) -> impl Stream<Item = NodeKey> + Send + '_ {
        stream::unfold(Vec::new(), move |mut taken: Vec<NodeKey>| async move {
            loop {
                if let Some(node) = taken.pop() {
                    return Some((node, taken));
                }
                let changed = self.changed.notified();
                taken.extend(self.nodes.lock().unwrap_or_else(PoisonError::into_inner).drain());
                if taken.is_empty() {
                    changed.await;
                }
            }
        })
    }
}
