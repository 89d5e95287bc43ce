//! Who is connected: one entry per node, with slots for the latest document and the latest report.
//! In: sessions opened, reports, sessions ended; documents to deliver. Out: views for `decide`, and which
//! nodes changed. State in memory only; what was acknowledged is in the EdgeNode's status and on the node.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use super::document::Document;
use crate::model::{NodeId, Report};

/// Namespace and name of an EdgeNode.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl From<&NodeId> for NodeKey {
    fn from(node: &NodeId) -> Self {
        Self { namespace: node.namespace.clone(), name: node.name.clone() }
    }
}

/// Whether a node's session is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Since then.
    Up(Timestamp),
    /// Since then.
    Down(Timestamp),
}

/// What a decision may know of a node's sessions with this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// UID that the node's certificate names.
    pub uid: String,
    /// Number of the latest session.
    pub number: u64,
    /// Whether it is up.
    pub link: Link,
    /// The latest report, of the latest session or of one before it.
    pub report: Option<Arc<Report>>,
    /// Whether the latest session has reported.
    pub has_reported: bool,
}

/// What a session task is to do, latest first: there is no queue.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Orders {
    /// The document that the node should hold.
    pub document: Option<Arc<Document>>,
    /// Why the session must end.
    pub end: Option<End>,
}

/// Why the operator ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A newer session of the same node came.
    Replaced,
    /// The EdgeNode is gone.
    Released,
    /// The operator shuts down.
    Draining,
}

struct Entry {
    view: SessionView,
    /// Whether the agent has said anything since it was welcomed.
    answered: bool,
    orders: watch::Sender<Orders>,
}

/// All sessions of this process.
#[derive(Default)]
pub struct Sessions {
    nodes: Mutex<HashMap<NodeKey, Entry>>,
    dirty: Mutex<HashSet<NodeKey>>,
    changed: Notify,
}

impl Sessions {
    /// Opens a session with this number and ends the one before it. The returned slot holds the document that the
    /// one before it was to deliver, so that a reconnect waits for nothing.
    pub fn open(&self, node: &NodeId, number: u64, now: Timestamp) -> watch::Receiver<Orders> {
        let mut nodes = lock(&self.nodes);
        let key = NodeKey::from(node);
        let (mut report, mut document) = (None, None);
        if let Some(before) = nodes.remove(&key).filter(|before| before.view.uid == node.uid) {
            before.orders.send_modify(|orders| orders.end = Some(End::Replaced));
            document = before.orders.borrow().document.clone();
            report = before.view.report;
        }
        let (orders, slot) = watch::channel(Orders { document, end: None });
        let view = SessionView { uid: node.uid.clone(), number, link: Link::Up(now), report, has_reported: false };
        nodes.insert(key.clone(), Entry { view, answered: false, orders });
        drop(nodes);
        self.mark(key);
        slot
    }

    /// Whether an agent that was welcomed last with this number may open a session now. Not while a session with
    /// another number is up: its holder is another machine with the same identity, and the two would chase each
    /// other away for ever. If it is only half-open, it is found so soon.
    ///
    /// A session whose agent has not said anything yet counts for nothing: its Welcome may have been lost.
    pub fn may_open(&self, node: &NodeId, last_session: u64) -> bool {
        lock(&self.nodes).get(&NodeKey::from(node)).is_none_or(|entry| {
            entry.view.uid != node.uid
                || matches!(entry.view.link, Link::Down(_))
                || !entry.answered
                || entry.view.number == last_session
        })
    }

    /// Notes that the agent has said something since it was welcomed.
    pub fn answered(&self, node: &NodeId, number: u64) {
        let mut nodes = lock(&self.nodes);
        if let Some(entry) = nodes.get_mut(&NodeKey::from(node)).filter(|entry| entry.view.number == number) {
            entry.answered = true;
        }
    }

    /// Takes a report; says nothing to anyone if it is the session's one before it, or of a session that was
    /// replaced.
    pub fn report(&self, node: &NodeId, number: u64, report: Report) {
        let key = NodeKey::from(node);
        let mut nodes = lock(&self.nodes);
        let Some(entry) = nodes.get_mut(&key).filter(|entry| entry.view.number == number) else { return };
        if entry.view.has_reported && entry.view.report.as_deref() == Some(&report) {
            return;
        }
        entry.view.has_reported = true;
        entry.view.report = Some(Arc::new(report));
        drop(nodes);
        self.mark(key);
    }

    /// Notes that a session ended; nothing if another one has replaced it.
    pub fn close(&self, node: &NodeId, number: u64, now: Timestamp) {
        let key = NodeKey::from(node);
        let mut nodes = lock(&self.nodes);
        let Some(entry) = nodes.get_mut(&key).filter(|entry| entry.view.number == number) else { return };
        entry.view.link = Link::Down(now);
        drop(nodes);
        self.mark(key);
    }

    /// What is known of a node; `None` if it was never connected to this process.
    pub fn view(&self, key: &NodeKey) -> Option<SessionView> {
        lock(&self.nodes).get(key).map(|entry| entry.view.clone())
    }

    /// Puts a document into the node's slot, if it has a session and does not have it yet.
    pub fn deliver(&self, key: &NodeKey, document: &Arc<Document>) {
        if let Some(entry) = lock(&self.nodes).get(key) {
            entry.orders.send_if_modified(|orders| {
                let new = orders.document.as_ref() != Some(document);
                orders.document = Some(Arc::clone(document));
                new
            });
        }
    }

    /// Ends the node's session as its EdgeNode is gone, and forgets the node.
    pub fn release(&self, key: &NodeKey) {
        if let Some(entry) = lock(&self.nodes).remove(key) {
            entry.orders.send_modify(|orders| orders.end = Some(End::Released));
        }
    }

    /// Ends all sessions as the operator shuts down.
    pub fn drain(&self) {
        for entry in lock(&self.nodes).values() {
            entry.orders.send_modify(|orders| orders.end = orders.end.or(Some(End::Draining)));
        }
    }

    /// How many sessions are up.
    pub fn connected(&self) -> usize {
        lock(&self.nodes).values().filter(|entry| matches!(entry.view.link, Link::Up(_))).count()
    }

    /// Waits until some nodes' sessions changed, and takes their names.
    pub async fn changes(&self) -> HashSet<NodeKey> {
        loop {
            let changed = self.changed.notified();
            let dirty = std::mem::take(&mut *lock(&self.dirty));
            if !dirty.is_empty() {
                return dirty;
            }
            changed.await;
        }
    }

    fn mark(&self, key: NodeKey) {
        lock(&self.dirty).insert(key);
        self.changed.notify_one();
    }
}

/// A poisoned lock holds whole values here: every change under it is a single assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeId {
        NodeId { namespace: "a".into(), name: "n".into(), uid: "u".into() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn a_second_session_replaces_the_first_whose_words_no_longer_count() {
        let sessions = Sessions::default();
        let first = sessions.open(&node(), 1, at(1));
        let second = sessions.open(&node(), 2, at(2));
        assert_eq!(first.borrow().end, Some(End::Replaced));
        assert_eq!(second.borrow().end, None);
        sessions.report(&node(), 1, Report { progressing: true, ..Report::default() });
        sessions.close(&node(), 1, at(3));
        let view = sessions.view(&NodeKey::from(&node())).expect("known");
        assert_eq!((view.number, view.link, view.report), (2, Link::Up(at(2)), None));
    }

    #[test]
    fn a_new_session_begins_with_the_document_of_the_one_before() {
        let sessions = Sessions::default();
        let _first = sessions.open(&node(), 1, at(1));
        let document = Document::new(vec![1], [].into(), false);
        sessions.deliver(&NodeKey::from(&node()), &document);
        let second = sessions.open(&node(), 2, at(2));
        assert_eq!(second.borrow().document.as_ref(), Some(&document));
        let other = NodeId { uid: "other".into(), ..node() };
        assert_eq!(sessions.open(&other, 1, at(3)).borrow().document, None);
    }

    #[test]
    fn a_machine_with_a_copied_identity_does_not_replace_the_one_that_is_connected() {
        let sessions = Sessions::default();
        assert!(sessions.may_open(&node(), 0), "the first");
        let _slot = sessions.open(&node(), 7, at(1));
        assert!(sessions.may_open(&node(), 6), "the Welcome may have been lost");
        sessions.answered(&node(), 7);
        assert!(!sessions.may_open(&node(), 6), "another machine");
        assert!(!sessions.may_open(&node(), 0), "another machine");
        assert!(sessions.may_open(&node(), 7), "the same agent, after its connection broke");
        assert!(sessions.may_open(&NodeId { uid: "other".into(), ..node() }, 0), "the EdgeNode was made anew");
        sessions.close(&node(), 7, at(2));
        assert!(sessions.may_open(&node(), 6), "nobody is connected");
    }

    #[tokio::test]
    async fn an_identical_report_is_no_change() {
        let sessions = Sessions::default();
        let _slot = sessions.open(&node(), 1, at(1));
        sessions.report(&node(), 1, Report::default());
        assert_eq!(sessions.changes().await.len(), 1);
        sessions.report(&node(), 1, Report::default());
        assert!(lock(&sessions.dirty).is_empty());
    }
}
