//! Lets agents in: from the listener through TLS, upgrade and admission to a session or an enrollment.
//! Owns every connection's task. Knows who may come; what is said then is [`super::session`]'s business.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use http::StatusCode;
use jiff::Timestamp;
use rustls::ServerConfig;
use tokio::{
    net::TcpListener,
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};

use super::{
    admission::{Admission, TurnedAway},
    authority::Authority,
    enroll::Registrar,
    session::{self, Greeting},
    sessions::{NodeKey, Sessions},
    signing::Signer,
};
use crate::{
    model::NodeId,
    tunnel::{
        accept::{AcceptError, Refusal, Road, accept},
        endpoint::Endpoint,
        keepalive::Heartbeat,
        limits,
        line::Duplex,
        tls,
    },
};

/// Handshakes at a time. Where there are more, the oldest gives way: a handshake that is in earnest takes a
/// fraction of a second, one that stalls only takes room.
const MAX_HANDSHAKES: usize = 512;
/// How long sessions have to say goodbye when the operator ends.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// Which EdgeNodes there are, as the operator's watch and the API server say.
pub trait Directory: Send + Sync + 'static {
    /// Looks into the watch's store.
    fn find(&self, key: &NodeKey) -> Found;

    /// Asks the API server itself: true only if it says that there is no such EdgeNode, or one with another UID.
    fn confirm_gone<'a>(&'a self, node: &'a NodeId) -> BoxFuture<'a, bool>;
}

/// What a [`Directory`] knows of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is there.
    Known {
        /// Its UID.
        uid: String,
        /// `status.session`: number and replica.
        session: Option<(i64, String)>,
        /// Whether its condition Enrolled is True.
        enrolled: bool,
        /// Whether nobody is to be let in as this node.
        revoked: bool,
    },
    /// It is not there.
    Absent,
    /// The first list has not come yet.
    NotSynced,
}

/// What is needed to let an agent in.
pub struct Gate {
    pub(super) tls: Arc<ServerConfig>,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) registrar: Arc<dyn Registrar>,
    pub(super) signer: Arc<Signer>,
    pub(super) admission: Admission,
    pub(super) heartbeat: Heartbeat,
    pub(super) clock: fn() -> Timestamp,
}

/// Why there is no gate.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The operator's own certificate.
    #[error(transparent)]
    Authority(#[from] super::authority::AuthorityError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
}

impl Gate {
    /// Makes the operator's certificate for the host in `url`. What goes to nodes is signed by `signer`.
    pub fn new(
        (authority, signer): (&Authority, Arc<Signer>),
        url: &Endpoint,
        directory: Arc<dyn Directory>,
        registrar: Arc<dyn Registrar>,
        heartbeat: Heartbeat,
        clock: fn() -> Timestamp,
    ) -> Result<Arc<Self>, GateError> {
        let tls = tls::server(authority.server(url.host())?, authority.certificate())?;
        let admission = Admission::new(Instant::now());
        Ok(Arc::new(Self { tls, directory, registrar, signer, admission, heartbeat, clock }))
    }

    /// When an agent was turned away last for want of room: until it came back, its node may seem offline.
    pub fn last_refusal(&self) -> Option<Timestamp> {
        self.admission.last_refusal()
    }

    /// Has the node's token marked as used. Where that does not succeed, the next session tries again: its node's
    /// Enrolled condition tells.
    async fn first_connection(&self, node: &NodeId) {
        for wait in [1, 2, 4, 8, 16] {
            if self.registrar.connected(node).await {
                return;
            }
            sleep(Duration::from_secs(wait)).await;
        }
    }

    fn admit(&self, road: &Road, peer: SocketAddr) -> Result<(), Refusal> {
        let later = |status, reason, message: &str, wait| Refusal {
            retry_after: Some(wait),
            ..Refusal::new(status, reason, message)
        };
        self.admission.admit(road, peer.ip(), Instant::now(), (self.clock)()).map_err(|away| match away {
            TurnedAway::Busy(wait) => later(StatusCode::SERVICE_UNAVAILABLE, "Busy", "too many agents at once", wait),
            TurnedAway::WrongTokens(wait) => {
                let message = "too many enrollments from this address were refused";
                later(StatusCode::TOO_MANY_REQUESTS, "TooManyRefusals", message, wait)
            }
        })?;
        if let Road::Tunnel(node) = road
            && self.directory.find(&NodeKey::from(node)) == Found::NotSynced
        {
            self.admission.turned_away((self.clock)());
            let message = "the list of EdgeNodes is not there yet";
            return Err(later(StatusCode::SERVICE_UNAVAILABLE, "NotReady", message, Duration::from_secs(2)));
        }
        Ok(())
    }
}

/// Accepts until `shutdown`, then tells every agent, and returns when their sessions have ended.
pub async fn serve(listener: TcpListener, gate: Arc<Gate>, sessions: Arc<Sessions>, shutdown: CancellationToken) {
    let (handshakes, steady) = (TaskTracker::new(), TaskTracker::new());
    let mut pending: VecDeque<AbortHandle> = VecDeque::new();
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Such as too many open files: what would help takes time.
                warn!(%error, "cannot accept");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Messages are written whole: waiting for more of them to come would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "connection lost");
            continue;
        }
        pending.retain(|handshake| !handshake.is_finished());
        if pending.len() >= MAX_HANDSHAKES
            && let Some(oldest) = pending.pop_front()
        {
            oldest.abort();
            gate.admission.turned_away((gate.clock)());
        }
        let one = handshake(stream, peer, Arc::clone(&gate), Arc::clone(&sessions), steady.clone());
        pending.push_back(handshakes.spawn(one).abort_handle());
    }
    drop(listener);
    // First those who are not in yet, so that whoever is in is told.
    pending.iter().for_each(AbortHandle::abort);
    handshakes.close();
    handshakes.wait().await;
    sessions.drain();
    steady.close();
    if timeout(DRAIN_DEADLINE, steady.wait()).await.is_err() {
        warn!(left = steady.len(), "sessions did not end in time");
    }
}

/// From a connection to what came of it. A task is as large as its largest future: this one is short-lived, and
/// the session that stays is a task of its own.
pub async fn handshake<S>(stream: S, peer: SocketAddr, gate: Arc<Gate>, sessions: Arc<Sessions>, steady: TaskTracker)
where
    S: Duplex + 'static,
{
    let accepting = accept(stream, Arc::clone(&gate.tls), |road| gate.admit(road, peer));
    let (socket, road) = match timeout(limits::HANDSHAKE_DEADLINE, accepting).await {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(AcceptError::Tls(error))) if !crate::tunnel::dial::is_tls(&error) => {
            // Health checks and port scans.
            debug!(%peer, %error, "connection ended before TLS was up");
            return;
        }
        Ok(Err(AcceptError::Refused(refusal))) => {
            warn!(%peer, reason = refusal.reason, message = refusal.message, "agent refused");
            return;
        }
        Ok(Err(error)) => {
            warn!(%peer, %error, "agent refused");
            return;
        }
        Err(_) => {
            info!(%peer, "handshake not done in time");
            return;
        }
    };
    match road {
        Road::Enroll => session::enroll(socket, peer, &gate).await,
        Road::Tunnel(node) => {
            let greeting = session::greet(socket, (node.clone(), peer), &gate, sessions);
            match timeout(limits::HELLO_DEADLINE, greeting).await {
                Ok(Greeting::Welcomed { session, first }) => {
                    steady.spawn(session.run());
                    if first {
                        // In this task, which is bounded and short-lived, so that the agent waits for nothing.
                        gate.first_connection(&node).await;
                    }
                }
                Ok(Greeting::SentAway) => {}
                Err(_) => info!(%peer, "no Hello in time"),
            }
        }
    }
}
