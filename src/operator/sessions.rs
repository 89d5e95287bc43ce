//! Who is connected: one entry per node, with slots for the latest document and the latest report.
//! In: sessions opened, reports, sessions ended; documents to deliver. Out: views for `decide`, and which
//! nodes changed. State in memory only; what was acknowledged is in the EdgeNode's status and on the node.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
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

/// Who asks for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Number of the session that it was welcomed to last, 0 for none.
    pub last_session: u64,
    /// Number in the EdgeNode's status, 0 for none.
    pub status_session: u64,
    /// Where it comes from.
    pub peer: SocketAddr,
}

/// A session that was opened.
pub struct Opened {
    /// Its number.
    pub number: u64,
    /// Highest number of a session before it in which the node was heard of, 0 for none.
    pub highest: u64,
    /// What is to be done.
    pub slot: watch::Receiver<Orders>,
}

/// Another machine with the same identity, which was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rival {
    /// Where it came from.
    pub peer: SocketAddr,
    /// When it came last.
    pub at: Timestamp,
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
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Who else came with its identity.
    pub rival: Option<Rival>,
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
    /// The identity is revoked.
    Revoked,
    /// The operator shuts down.
    Draining,
}

struct Entry {
    view: SessionView,
    /// Whether the agent has said anything since it was welcomed.
    answered: bool,
    /// Highest number of a session of this node in which the agent has said anything.
    heard: u64,
    /// Highest number of a session that was replaced while it was up.
    replaced: Option<u64>,
    orders: watch::Sender<Orders>,
}

/// All sessions of this process.
#[derive(Default)]
pub struct Sessions {
    nodes: Mutex<HashMap<NodeKey, Entry>>,
    dirty: Mutex<HashSet<NodeKey>>,
    changed: Notify,
    opened: AtomicU64,
    sent_bytes: AtomicU64,
}

/// What went over all sessions since this process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Sessions opened.
    pub opened: u64,
    /// Bytes of messages sent to agents.
    pub sent_bytes: u64,
}

impl Sessions {
    /// Opens a session, and ends the one before it. Its number is above all that anybody remembers. The returned slot
    /// holds the document that the session before it was to deliver, so that a reconnect waits for nothing.
    ///
    /// `None` for who held a session that was replaced while it was up, as long as what replaced it is up: an agent
    /// whose connection only broke has been welcomed with a later number since, so these are two machines with one
    /// identity, which would chase each other away for ever.
    pub fn open(&self, node: &NodeId, arrival: Arrival, now: Timestamp) -> Option<Opened> {
        let Arrival { last_session, status_session, peer } = arrival;
        let mut nodes = lock(&self.nodes);
        let key = NodeKey::from(node);
        let (mut report, mut document, mut replaced, mut rival) = (None, None, None, None);
        let mut number = last_session.max(status_session);
        let mut highest = status_session;
        if let Some(before) = nodes.get_mut(&key).filter(|before| before.view.uid == node.uid) {
            // One whose agent has not said anything may be one whose Welcome was lost: nobody holds it.
            let held = matches!(before.view.link, Link::Up(_)) && before.answered;
            if held && before.replaced.is_some_and(|replaced| last_session <= replaced) {
                before.view.rival = Some(Rival { peer, at: now });
                drop(nodes);
                self.mark(key);
                return None;
            }
            rival = before.view.rival;
            replaced = if held { Some(before.view.number) } else { before.replaced };
            number = number.max(before.view.number);
            highest = highest.max(before.heard);
            document = before.orders.borrow().document.clone();
            report = before.view.report.clone();
        }
        number += 1;
        if let Some(before) = nodes.remove(&key) {
            before.orders.send_modify(|orders| orders.end = Some(End::Replaced));
        }
        let (orders, slot) = watch::channel(Orders { document, end: None });
        let (uid, link) = (node.uid.clone(), Link::Up(now));
        let view = SessionView { uid, number, link, peer, rival, report, has_reported: false };
        nodes.insert(key.clone(), Entry { view, answered: false, heard: highest, replaced, orders });
        drop(nodes);
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.mark(key);
        Some(Opened { number, highest, slot })
    }

    /// Notes that the agent has said something since it was welcomed.
    pub fn answered(&self, node: &NodeId, number: u64) {
        let mut nodes = lock(&self.nodes);
        if let Some(entry) = nodes.get_mut(&NodeKey::from(node)).filter(|entry| entry.view.number == number) {
            entry.answered = true;
            entry.heard = number;
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

    /// Ends the node's session, if it has one, as its identity is revoked.
    pub fn revoke(&self, key: &NodeKey) {
        if let Some(entry) = lock(&self.nodes).get(key).filter(|entry| matches!(entry.view.link, Link::Up(_))) {
            entry.orders.send_modify(|orders| orders.end = orders.end.or(Some(End::Revoked)));
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

    /// Counts a message that was sent to an agent.
    pub fn sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// What went over all sessions.
    pub fn traffic(&self) -> Traffic {
        Traffic { opened: self.opened.load(Ordering::Relaxed), sent_bytes: self.sent_bytes.load(Ordering::Relaxed) }
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

    fn arrival(last_session: u64, status_session: u64) -> Arrival {
        Arrival { last_session, status_session, peer: peer(1) }
    }

    fn peer(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    fn opened(sessions: &Sessions, last: u64, number: u64) -> watch::Receiver<Orders> {
        let opened = sessions.open(&node(), arrival(last, 0), at(1)).expect("opened");
        assert_eq!(opened.number, number);
        opened.slot
    }

    #[test]
    fn a_second_session_replaces_the_first_whose_words_no_longer_count() {
        let sessions = Sessions::default();
        let first = opened(&sessions, 0, 1);
        let second = opened(&sessions, 1, 2);
        assert_eq!(first.borrow().end, Some(End::Replaced));
        assert_eq!(second.borrow().end, None);
        sessions.report(&node(), 1, Report { progressing: true, ..Report::default() });
        sessions.close(&node(), 1, at(3));
        let view = sessions.view(&NodeKey::from(&node())).expect("known");
        assert_eq!((view.number, view.link, view.report), (2, Link::Up(at(1)), None));
    }

    #[test]
    fn a_new_session_begins_with_the_document_of_the_one_before() {
        let sessions = Sessions::default();
        let _first = opened(&sessions, 0, 1);
        let document = Document::new(vec![1], [].into(), false);
        sessions.deliver(&NodeKey::from(&node()), &document);
        let second = opened(&sessions, 1, 2);
        assert_eq!(second.borrow().document.as_ref(), Some(&document));
        let other = NodeId { uid: "other".into(), ..node() };
        let third = sessions.open(&other, arrival(0, 0), at(3)).expect("opened");
        assert_eq!(third.slot.borrow().document, None);
    }

    #[test]
    fn numbers_go_up_whoever_remembers_the_highest() {
        let sessions = Sessions::default();
        let number = |last, status| sessions.open(&node(), arrival(last, status), at(1)).expect("opened").number;
        assert_eq!([number(0, 0), number(0, 0), number(7, 3), number(0, 20), number(0, 0)], [1, 2, 8, 21, 22]);
    }

    #[test]
    fn an_agent_is_told_the_highest_session_in_which_it_was_heard_and_not_those_whose_welcome_was_lost() {
        let sessions = Sessions::default();
        let highest = |last, status| {
            let opened = sessions.open(&node(), arrival(last, status), at(1)).expect("opened");
            (opened.number, opened.highest)
        };
        assert_eq!(highest(0, 0), (1, 0));
        assert_eq!(highest(0, 0), (2, 0), "the first Welcome was lost");
        sessions.answered(&node(), 2);
        assert_eq!(highest(2, 0), (3, 2));
        assert_eq!(highest(3, 9), (10, 9));
        assert_eq!(highest(1, 0), (11, 9), "a disk of long ago");
    }

    #[test]
    fn of_two_machines_with_one_identity_the_second_stays() {
        for copied_at in [6, 7] {
            the_second_stays(copied_at);
        }
    }

    fn the_second_stays(copied_at: u64) {
        let sessions = Sessions::default();
        let open = |last| {
            let number = sessions.open(&node(), arrival(last, 0), at(1))?.number;
            sessions.answered(&node(), number);
            Some(number)
        };
        assert_eq!(open(6), Some(7), "the first machine");
        assert_eq!(open(copied_at), Some(8), "a copy of it");
        assert_eq!(open(7), None, "the first machine comes back");
        assert_eq!(open(8), Some(9), "the copy, after its connection broke");
        assert_eq!(open(7), None, "the first machine still");
        assert_eq!(open(3), None, "another copy");
        sessions.close(&node(), 9, at(2));
        assert_eq!(open(7), Some(10), "the first machine, when nobody is connected");
    }

    #[test]
    fn who_was_turned_away_is_remembered_with_the_one_who_stays() {
        let sessions = Sessions::default();
        let open = |last_session, port, second| {
            let arrival = Arrival { last_session, status_session: 0, peer: peer(port) };
            let number = sessions.open(&node(), arrival, at(second)).map(|opened| opened.number);
            number.inspect(|number| sessions.answered(&node(), *number))
        };
        let rival = || sessions.view(&NodeKey::from(&node())).expect("known").rival;
        assert_eq!([open(6, 1, 1), open(6, 2, 2)], [Some(7), Some(8)]);
        assert_eq!(rival(), None, "it may be the same machine, whose connection broke");
        assert_eq!(open(7, 1, 3), None);
        assert_eq!(rival(), Some(Rival { peer: peer(1), at: at(3) }));
        assert_eq!(open(8, 2, 4), Some(9));
        assert_eq!(rival(), Some(Rival { peer: peer(1), at: at(3) }), "a reconnect forgets nothing");
    }

    #[test]
    fn a_revoked_session_ends_and_its_view_stays() {
        let sessions = Sessions::default();
        let key = NodeKey::from(&node());
        let slot = opened(&sessions, 0, 1);
        sessions.revoke(&key);
        assert_eq!(slot.borrow().end, Some(End::Revoked));
        sessions.close(&node(), 1, at(2));
        assert_eq!(sessions.view(&key).expect("known").link, Link::Down(at(2)));
    }

    #[test]
    fn an_agent_whose_welcome_was_lost_is_no_other_machine() {
        let sessions = Sessions::default();
        let _lost = opened(&sessions, 5, 6);
        let _lost_again = opened(&sessions, 5, 7);
        let _slot = opened(&sessions, 5, 8);
        sessions.answered(&node(), 8);
        let _later = opened(&sessions, 8, 9);
    }

    #[tokio::test]
    async fn an_identical_report_is_no_change() {
        let sessions = Sessions::default();
        let _slot = opened(&sessions, 0, 1);
        sessions.report(&node(), 1, Report::default());
        assert_eq!(sessions.changes().await.len(), 1);
        sessions.report(&node(), 1, Report::default());
        assert!(lock(&sessions.dirty).is_empty());
    }
}
