//! One agent's session: Hello, Welcome, then the latest document to it, ranges of contents as it asks, and its
//! reports from it. In: a WebSocket of a node that proved its identity. Out: what [`Sessions`] is told.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::{Instant, timeout},
};
use tracing::{debug, info, warn};

use super::{
    accept::{Found, Gate},
    delivery::{Delivery, Pen},
    sessions::{Arrival, End, NodeKey, Opened, Orders, Sessions},
};
use crate::{
    model::{NodeId, Nonce, Report, Revision},
    tunnel::{
        accept::{Accepted, Secured},
        channel::{Channel, ChannelError, Event},
        limits::{HELLO_DEADLINE, MAX_OUTSTANDING_WANTS},
    },
    wire::{
        messages,
        tunnel_v1::{
            AgentMessage, EnrollRequest, EnrollResponse, GoAway, Hello, OperatorMessage, Welcome, agent_message,
            enroll_response::{Refused, Result as Outcome},
            go_away::Reason,
            operator_message,
        },
    },
};

type AgentChannel<S> = Channel<Secured<S>, AgentMessage, OperatorMessage>;

/// An agent whose session was replaced comes back after this long. If it is another machine than the one that
/// replaced it, that is known then.
const REPLACED_RETRY_AFTER: Duration = Duration::from_secs(5);
/// And after this long where it is: two machines with one identity do not chase each other away.
const DUPLICATE_RETRY_AFTER: Duration = Duration::from_secs(300);
/// With a revoked identity.
const REVOKED_RETRY_AFTER: Duration = Duration::from_secs(300);
/// Agents come back after a shutdown from here on, at the pace of their own jitter.
const DRAINING_RETRY_AFTER: Duration = Duration::from_secs(1);
/// When the API server's word on a node is not to be had.
const UNSURE_RETRY_AFTER: Duration = Duration::from_secs(10);
/// What an agent with a revoked identity is told.
const REVOKED: &str =
    "the identity is revoked (spec.identity.revoked); nobody is let in as this node until a person changes that";
/// Highest number that an agent may claim to have been welcomed with.
const MAX_SESSION: u64 = 1 << 62;

/// What came of a Hello.
pub enum Greeting<S> {
    /// A session, to be run.
    Welcomed {
        /// The session.
        session: Box<Session<S>>,
        /// Whether the node's token may not yet be marked as used.
        first: bool,
    },
    /// None; the agent was told why, where that was possible.
    SentAway,
}

/// A session that is up.
pub struct Session<S> {
    channel: AgentChannel<S>,
    slot: watch::Receiver<Orders>,
    open: Open,
    delivery: Delivery,
    answered: bool,
}

/// Tells [`Sessions`] when the session ends, however it ends.
struct Open {
    sessions: Arc<Sessions>,
    node: NodeId,
    number: u64,
    clock: fn() -> Timestamp,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.sessions.close(&self.node, self.number, (self.clock)());
    }
}

/// Answers one enrollment.
pub async fn enroll<S>(socket: Accepted<S>, peer: SocketAddr, gate: &Gate)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut channel: Channel<_, EnrollRequest, EnrollResponse> = Channel::new(socket, HELLO_DEADLINE);
    let exchange = async {
        let request = loop {
            match channel.next().await? {
                Event::Message(request) => break request,
                Event::Heartbeat | Event::Sent => {}
                Event::Closed => return Ok(None),
            }
        };
        let response = gate.registrar.enroll(request, peer).await;
        if let Some(Outcome::Refused(Refused { retry: false, .. })) = response.result {
            gate.admission.enrollment_refused(peer.ip(), Instant::now());
        }
        Ok::<_, ChannelError>(Some(response))
    };
    match timeout(HELLO_DEADLINE * 2, exchange).await {
        Ok(Ok(Some(response))) => channel.close(Some(&response)).await,
        Ok(Ok(None)) | Err(_) => debug!(%peer, "enrollment was not gone through with"),
        Ok(Err(error)) => info!(%peer, %error, "enrollment ended"),
    }
}

/// Takes the Hello and opens a session. The deadline is the caller's.
pub async fn greet<S>(
    socket: Accepted<S>,
    (node, peer): (NodeId, SocketAddr),
    gate: &Gate,
    sessions: Arc<Sessions>,
) -> Greeting<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut channel: AgentChannel<S> = Channel::new(socket, gate.heartbeat.patience());
    let found = gate.directory.find(&NodeKey::from(&node));
    let (status_session, enrolled) = match found {
        Found::Known { uid, revoked: true, .. } if uid == node.uid => {
            warn!(%node, %peer, "agent sent away: {REVOKED}");
            channel.close(Some(&go_away(Reason::Revoked, REVOKED_RETRY_AFTER, REVOKED))).await;
            return Greeting::SentAway;
        }
        Found::Known { uid, session, enrolled, .. } if uid == node.uid => (session.map(|(id, _)| id), enrolled),
        Found::NotSynced | Found::Known { .. } | Found::Absent => {
            let gone = found != Found::NotSynced && gate.directory.confirm_gone(&node).await;
            let (reason, wait, message) = if gone {
                (Reason::Released, Duration::ZERO, "the EdgeNode that this agent was enrolled for is gone")
            } else {
                (Reason::Busy, UNSURE_RETRY_AFTER, "the EdgeNode is not known yet")
            };
            info!(%node, uid = node.uid, reason = reason.as_str_name(), "agent sent away: {message}");
            channel.close(Some(&go_away(reason, wait, message))).await;
            return Greeting::SentAway;
        }
    };
    let hello = match hello(&mut channel).await {
        Ok(Some(hello)) => hello,
        Ok(None) => return Greeting::SentAway,
        Err(error) => {
            warn!(%node, %error, "no Hello");
            let message = error.to_string();
            channel.close(Some(&go_away(Reason::ProtocolError, Duration::ZERO, &message))).await;
            return Greeting::SentAway;
        }
    };
    let status_session = status_session.and_then(|id| u64::try_from(id).ok()).unwrap_or(0);
    let arrival = Arrival { last_session: hello.last_session, status_session, peer };
    let Some(Opened { number, highest, slot }) = sessions.open(&node, arrival, (gate.clock)()) else {
        let message = "another machine took over with the same identity; one of the two must be enrolled anew";
        warn!(%node, %peer, last_session = hello.last_session, "agent sent away: {message}");
        channel.close(Some(&go_away(Reason::Replaced, DUPLICATE_RETRY_AFTER, message))).await;
        return Greeting::SentAway;
    };
    let open = Open { sessions, node, number, clock: gate.clock };
    let Open { node, .. } = &open;
    info!(%node, %peer, session = number, version = hello.agent_version, "session opened");
    let welcome = Welcome {
        session: number,
        heartbeat_seconds: gate.heartbeat.seconds(),
        max_outstanding_wants: MAX_OUTSTANDING_WANTS,
        highest_session: highest,
    };
    if let Err(error) = channel.send(&operator_message::Body::Welcome(welcome).into()) {
        info!(%node, session = number, %error, "session ended");
        return Greeting::SentAway;
    }
    let Greeted { nonce, trust_serial, held_revision, .. } = hello;
    let pen = Pen { signer: Arc::clone(&gate.signer), node_uid: node.uid.clone(), nonce, counter: 0, trust_serial };
    let delivery = Delivery::new(held_revision, pen);
    Greeting::Welcomed {
        session: Box::new(Session { channel, slot, open, delivery, answered: false }),
        first: !enrolled,
    }
}

/// What a Hello says that counts here.
struct Greeted {
    last_session: u64,
    agent_version: String,
    held_revision: Option<Revision>,
    nonce: Nonce,
    trust_serial: u64,
}

async fn hello<S>(channel: &mut AgentChannel<S>) -> Result<Option<Greeted>, ChannelError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let garbage = |why: String| ChannelError::Garbage(why);
    loop {
        let message = match channel.next().await? {
            Event::Message(message) => message,
            Event::Heartbeat | Event::Sent => continue,
            Event::Closed => return Ok(None),
        };
        let Some(agent_message::Body::Hello(hello)) = message.body else {
            return Err(garbage("expected Hello".to_owned()));
        };
        let Hello {
            last_session,
            nonce,
            agent_version,
            features: _,
            facts: _,
            held_revision,
            applied_revision: _,
            trust_serial,
        } = hello;
        if last_session > MAX_SESSION {
            return Err(garbage(format!("last_session {last_session} is out of range")));
        }
        let held_revision =
            messages::revision("held_revision", &held_revision).map_err(|error| garbage(error.to_string()))?;
        let nonce = Nonce::try_from(&nonce[..]).map_err(|error| garbage(error.to_string()))?;
        return Ok(Some(Greeted {
            last_session,
            agent_version: agent_version.chars().take(64).collect(),
            held_revision,
            nonce,
            trust_serial,
        }));
    }
}

/// Why a session ended.
enum Ended {
    /// The other side closed, or is gone.
    Closed,
    /// By order.
    Ordered(End),
    /// The line, or the other side's fault.
    Error(ChannelError),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Runs until either side ends it.
    pub async fn run(mut self: Box<Self>) {
        let ended = self.steady().await;
        // Boxed: it is needed once, at the end of a long wait.
        Box::pin(self.end(ended)).await;
    }

    async fn end(&mut self, ended: Ended) {
        let Self { channel, open, .. } = self;
        let Open { node, number, .. } = open;
        match ended {
            Ended::Closed => info!(%node, session = number, "session ended: the agent closed"),
            Ended::Ordered(end) => {
                let (reason, wait, message) = match end {
                    End::Replaced => {
                        let message = "another session with the same identity replaced this one; if that was another \
                                       machine, one of the two must be enrolled anew";
                        (Reason::Replaced, REPLACED_RETRY_AFTER, message)
                    }
                    End::Revoked => (Reason::Revoked, REVOKED_RETRY_AFTER, REVOKED),
                    End::Released => (Reason::Released, Duration::ZERO, "the EdgeNode is gone"),
                    End::Draining => (Reason::Draining, DRAINING_RETRY_AFTER, "the operator shuts down"),
                };
                info!(%node, session = number, reason = reason.as_str_name(), "session ended: {message}");
                channel.close(Some(&go_away(reason, wait, message))).await;
            }
            Ended::Error(error) if error.is_peers_fault() => {
                warn!(%node, session = number, %error, "session ended");
                let message = error.to_string();
                channel.close(Some(&go_away(Reason::ProtocolError, Duration::ZERO, &message))).await;
            }
            Ended::Error(error) => info!(%node, session = number, %error, "session ended"),
        }
    }

    async fn steady(&mut self) -> Ended {
        self.slot.mark_changed();
        loop {
            if self.channel.is_idle()
                && let Some(message) = self.delivery.next()
            {
                self.open.sessions.sent(prost::Message::encoded_len(&message));
                if let Err(error) = self.channel.send(&message) {
                    return Ended::Error(error);
                }
            }
            let ended = tokio::select! {
                event = self.channel.next() => self.take(event),
                changed = self.slot.changed() => self.obey(changed.is_ok()),
            };
            if let Err(ended) = ended {
                return ended;
            }
        }
    }

    /// Takes what came from the agent.
    fn take(&mut self, event: Result<Event<AgentMessage>, ChannelError>) -> Result<(), Ended> {
        let Self { open, delivery, answered, .. } = self;
        let message = match event.map_err(Ended::Error)? {
            Event::Message(message) => Some(message),
            Event::Heartbeat => None,
            Event::Sent => return Ok(()),
            Event::Closed => return Err(Ended::Closed),
        };
        if !std::mem::replace(answered, true) {
            open.sessions.answered(&open.node, open.number);
        }
        let garbage = |why: String| Ended::Error(ChannelError::Garbage(why));
        match message.and_then(|message| message.body) {
            Some(agent_message::Body::Report(report)) => {
                let report = Report::try_from(report).map_err(|error| garbage(error.to_string()))?;
                delivery.holds(report.held_revision.clone());
                open.sessions.report(&open.node, open.number, report);
                Ok(())
            }
            Some(agent_message::Body::Want(want)) => delivery.want(want).map_err(garbage),
            Some(agent_message::Body::Hello(_)) => Err(garbage("a second Hello".to_owned())),
            // A ping, or a message of a later version.
            None => Ok(()),
        }
    }

    /// Takes what is in the slot.
    fn obey(&mut self, slot_is_kept: bool) -> Result<(), Ended> {
        let orders = self.slot.borrow_and_update().clone();
        if let Some(end) = orders.end {
            return Err(Ended::Ordered(end));
        }
        if let Some(document) = orders.document {
            self.delivery.order(document);
        }
        if slot_is_kept { Ok(()) } else { Err(Ended::Closed) }
    }
}

fn go_away(reason: Reason, retry_after: Duration, message: &str) -> OperatorMessage {
    let retry_after_seconds = u32::try_from(retry_after.as_secs()).unwrap_or(u32::MAX);
    operator_message::Body::GoAway(GoAway { reason: reason.into(), retry_after_seconds, message: message.to_owned() })
        .into()
}

impl From<operator_message::Body> for OperatorMessage {
    fn from(body: operator_message::Body) -> Self {
        Self { body: Some(body) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, F>(_: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_session_at_rest_takes_little_memory() {
        use tokio::net::TcpStream;
        let (task, session) = (size_of_future(Session::<TcpStream>::run), size_of::<Session<TcpStream>>());
        // As measured, with some room. Beside it: TLS and WebSocket buffers, and the kernel's.
        assert!(task <= 256, "{task} bytes");
        assert!(session <= 2048, "{session} bytes");
    }
}
