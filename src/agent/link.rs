//! Keeps the agent connected: enrolls, dials, holds a conversation, and dials again, for as long as it runs.
//! In: identity and enrollment file, reports, contents that are lacking. Out: documents, contents, its own state.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use tokio::{
    net::TcpStream,
    sync::{Notify, watch},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    contents::Contents,
    conversation::{self, Ended},
    enroll::enroll,
    enrollment_file::{self, EnrollmentFile, EnrollmentFileError},
    held::Held,
    identity::{Identity, IdentityError, IdentityFolder},
    proxies::Way,
    store::{Store, StoreError},
    trust::Believed,
};
use crate::{
    model::{Content, Digest, Nonce, Report},
    trust::KeyError,
    tunnel::{
        TUNNEL_PATH, TUNNEL_SUBPROTOCOL,
        backoff::Backoff,
        dial::{DialError, Dialled, Target, dial},
        line::Line,
        tls,
    },
    wire::tunnel_v1::go_away::Reason,
};

/// A session of at least this length counts as stable: the next attempt is an early one.
const STABLE: Duration = Duration::from_secs(30);
/// How often a new enrollment file is looked for, where only that can help.
const LOOK_FOR_FILE: Duration = Duration::from_secs(10);
/// After a refusal that only a new enrollment file is expected to mend, the old one is tried again after this.
const REFUSED_RETRY_AFTER: Duration = Duration::from_secs(300);

/// What the link works with.
pub struct LinkSettings {
    identity: IdentityFolder,
    enrollment: Option<PathBuf>,
    /// What was said last of why it cannot be read.
    unreadable: Option<String>,
    way: Way,
    /// Wall clock, for people.
    clock: fn() -> SystemTime,
    /// Uniform in `0.0..1.0`, for jitter.
    random: fn() -> f64,
    /// Of the machine's random generator, one for each connection.
    nonce: fn() -> Result<Nonce, KeyError>,
}

/// Why the agent cannot begin. The network being down is none of these.
#[derive(Debug, thiserror::Error)]
pub enum LinkStartError {
    /// The folder of the identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The enrollment file, where there is no identity yet.
    #[error(transparent)]
    File(#[from] EnrollmentFileError),
    /// Neither is there.
    #[error("there is no identity in {0} yet and no enrollment file was given; expected --enrollment FILE")]
    Nothing(String),
}

/// What the agent does while there is neither an identity nor an enrollment file that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unenrolled {
    /// It does not begin: a person is there to read why.
    Fails,
    /// It waits for such a file to appear, and looks after the machine meanwhile.
    Waits,
}

impl LinkSettings {
    /// Opens `<state_dir>/identity` and sees to it that there is an identity or an enrollment file, unless
    /// the agent is to wait for one.
    pub fn prepare(
        state_dir: &Path,
        enrollment: Option<PathBuf>,
        unenrolled: Unenrolled,
        way: Way,
        clock: fn() -> SystemTime,
        random: fn() -> f64,
        nonce: fn() -> Result<Nonce, KeyError>,
    ) -> Result<Self, LinkStartError> {
        let folder = state_dir.join("identity");
        let identity = IdentityFolder::open(folder.clone())?;
        let present = identity.load();
        let file = enrollment.as_deref().map(enrollment_file::read).transpose();
        match (&present, file) {
            // The file may have been deleted once it was used.
            (Ok(Some(_)), Err(EnrollmentFileError::Io { .. })) | (_, Ok(Some(_))) => {}
            (Ok(Some(_)), Ok(None)) => {}
            (Ok(Some(_)), _) if unenrolled == Unenrolled::Waits => {}
            _ if unenrolled == Unenrolled::Waits => {
                let path = enrollment.as_deref().unwrap_or(Path::new("")).display();
                warn!(%path, "there is no identity yet; waits for an enrollment file");
            }
            (_, Err(error)) => return Err(error.into()),
            (Ok(None), Ok(None)) => return Err(LinkStartError::Nothing(folder.display().to_string())),
            (Err(_), Ok(None)) => {
                present?;
            }
        }
        Ok(Self { identity, enrollment, unreadable: None, way, clock, random, nonce })
    }

    /// What documents of the store are held against.
    pub fn believed(&self) -> Option<Believed> {
        self.identity.believed()
    }
}

/// Where the link meets the agent's other loops.
pub struct LinkEnds {
    /// The document in force; begins with the one in the store.
    pub desired: watch::Sender<Option<Arc<Held>>>,
    /// Contents that the document in force names and the agent lacks.
    pub wanted: watch::Receiver<Vec<Content>>,
    /// Told when one of them has come.
    pub arrived: Arc<Notify>,
    /// The present report.
    pub report: watch::Receiver<Arc<Report>>,
    /// What the link is doing.
    pub state: watch::Sender<LinkState>,
    /// Why the document that came last, or the one in the store, is not in force, for a person.
    pub refused: watch::Sender<Option<String>>,
    /// Features of documents that this machine can carry out.
    pub features: &'static [&'static str],
}

/// What the link is doing. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all_fields = "camelCase")]
pub enum LinkState {
    /// On the way to a first connection, or to the next one.
    Connecting {
        /// Where to.
        url: String,
    },
    /// In a session.
    Connected {
        /// Its number.
        session: u64,
        /// Since when.
        since: u64,
    },
    /// Not in a session.
    Disconnected {
        /// Since when; the agent's start where it has not been connected yet.
        since: u64,
        /// Why.
        error: String,
        /// When the next attempt is due.
        retry_at: u64,
    },
    /// The EdgeNode is gone; only a new enrollment file changes that.
    Released,
}

impl LinkState {
    /// Where a link says what it is doing, before it does anything.
    pub fn channel() -> watch::Sender<Self> {
        watch::Sender::new(Self::Connecting { url: String::new() })
    }
}

/// Runs until `shutdown`, and closes the session it is in then.
pub async fn run(
    settings: LinkSettings,
    store: Arc<dyn Store>,
    contents: Arc<dyn Contents>,
    ends: LinkEnds,
    shutdown: CancellationToken,
) {
    let disconnected_since = seconds((settings.clock)());
    let link = Link { settings, store, contents, ends, shutdown, backoff: Backoff::default(), disconnected_since };
    link.run().await;
}

struct Link {
    settings: LinkSettings,
    store: Arc<dyn Store>,
    contents: Arc<dyn Contents>,
    ends: LinkEnds,
    shutdown: CancellationToken,
    backoff: Backoff,
    disconnected_since: u64,
}

/// What an attempt came to.
enum Attempt {
    /// Try again, as the backoff says and not before the operator does.
    Again { error: String, retry_after: Option<Duration> },
    /// Try again when the enrollment file holds another token than this, or after a while.
    NewFile { error: String, token: Option<Digest> },
    /// The EdgeNode is gone.
    Released,
}

impl Link {
    async fn run(mut self) {
        let shutdown = self.shutdown.clone();
        while !shutdown.is_cancelled() {
            // Boxed: what is in it is needed for a short time of a long life.
            let attempt = Box::pin(self.attempt()).await;
            if shutdown.is_cancelled() {
                return;
            }
            let random = (self.settings.random)();
            match attempt {
                Attempt::Again { error, retry_after } => {
                    let wait = self.backoff.next(retry_after, random);
                    self.say_disconnected(error, wait);
                    shutdown.run_until_cancelled(sleep(wait)).await;
                }
                Attempt::NewFile { error, token } => {
                    let wait = REFUSED_RETRY_AFTER.mul_f64(1.0 + random / 2.0);
                    self.say_disconnected(error, wait);
                    shutdown.run_until_cancelled(self.new_file(token, Some(wait))).await;
                }
                Attempt::Released => {
                    info!("released: the EdgeNode is gone, the machine is left as it is");
                    self.ends.state.send_replace(LinkState::Released);
                    let token = self.settings.identity.load().ok().flatten().map(|identity| identity.token_digest);
                    shutdown.run_until_cancelled(self.new_file(token, None)).await;
                }
            }
        }
    }

    /// Waits for an enrollment file with another token than this, for so long at most.
    async fn new_file(&mut self, token: Option<Digest>, at_most: Option<Duration>) {
        let start = Instant::now();
        loop {
            let left = at_most.map(|most| most.saturating_sub(start.elapsed()));
            if left == Some(Duration::ZERO) {
                return;
            }
            sleep(left.unwrap_or(LOOK_FOR_FILE).min(LOOK_FOR_FILE)).await;
            if let Some(file) = self.file()
                && Some(file.token_digest()) != token
            {
                return;
            }
        }
    }

    /// The enrollment file, if there is one that can be used. Why one cannot be is said once.
    fn file(&mut self) -> Option<EnrollmentFile> {
        let read = enrollment_file::read(self.settings.enrollment.as_deref()?);
        let why = match &read {
            Err(EnrollmentFileError::Io { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => Some(error.to_string()),
            Ok(_) => None,
        };
        if let Some(error) = &why
            && why != self.settings.unreadable
        {
            error!(error, "the enrollment file cannot be used");
        }
        self.settings.unreadable = why;
        read.ok()
    }

    async fn attempt(&mut self) -> Attempt {
        let again = |error: String| Attempt::Again { error, retry_after: None };
        let released = match self.store.released() {
            Ok(released) => released,
            Err(error) => return again(error.to_string()),
        };
        let identity = self.settings.identity.load().unwrap_or_else(|error| {
            error!(%error, "the identity cannot be used");
            None
        });
        let file = self.file();
        let refused = match (&identity, &file) {
            (Some(identity), Some(file)) if identity.token_digest == file.token_digest() => None,
            (_, Some(file)) => match self.enroll(file).await {
                Ok(identity) => return self.connect(identity, None).await,
                Err(attempt) => Some(attempt),
            },
            (_, None) => None,
        };
        match (identity, refused) {
            (Some(_), None) if released => Attempt::Released,
            (Some(identity), Some(Attempt::NewFile { error, .. })) if !released => {
                warn!(error, "the enrollment file is of no use; the identity there is goes on");
                self.connect(identity, file).await
            }
            (_, Some(attempt)) => attempt,
            (Some(identity), None) => self.connect(identity, file).await,
            (None, None) => Attempt::NewFile {
                error: "there is neither an identity nor an enrollment file".to_owned(),
                token: None,
            },
        }
    }

    async fn enroll(&mut self, file: &EnrollmentFile) -> Result<Identity, Attempt> {
        self.say_connecting(&file.endpoint.to_string());
        let enrolling = enroll(&self.settings.identity, file, &self.settings.way);
        let Some(result) = self.shutdown.run_until_cancelled(Box::pin(enrolling)).await else {
            return Err(Attempt::Again { error: "the agent ends".to_owned(), retry_after: None });
        };
        match result {
            Ok(identity) => {
                info!(node = %identity.node, uid = identity.node.uid, "enrolled");
                self.store.set_released(false).map_err(store_failed)?;
                self.backoff.reset();
                Ok(identity)
            }
            Err(error) if error.is_final() => {
                error!(%error, node = format!("{}/{}", file.namespace, file.name), "not enrolled");
                Err(Attempt::NewFile { error: error.to_string(), token: Some(file.token_digest()) })
            }
            Err(error) => {
                warn!(%error, "not enrolled yet");
                let retry_after =
                    if let super::enroll::EnrollError::Dial(dial) = &error { dial.retry_after() } else { None };
                Err(Attempt::Again { error: error.to_string(), retry_after })
            }
        }
    }

    /// Dials and talks. The file's word on where the operator is counts where it is of the same token.
    async fn connect(&mut self, identity: Identity, file: Option<EnrollmentFile>) -> Attempt {
        let newer = file.filter(|file| file.token_digest() == identity.token_digest);
        let (endpoint, authority_pem) = match newer {
            Some(file) => (file.endpoint, file.authority_pem),
            None => (identity.endpoint.clone(), identity.authority_pem.clone()),
        };
        self.say_connecting(&endpoint.to_string());
        let tls = match tls::client(&authority_pem, Some(identity.credentials())) {
            Ok(tls) => tls,
            Err(error) => return Attempt::Again { error: error.to_string(), retry_after: None },
        };
        let proxy = self.settings.way.proxies.to(&endpoint);
        let target = Target {
            endpoint: &endpoint,
            proxy: proxy.as_ref(),
            tls,
            path: TUNNEL_PATH,
            subprotocol: TUNNEL_SUBPROTOCOL,
        };
        match self.shutdown.run_until_cancelled(dial(target, self.settings.way.additional_ca.as_ref())).await {
            Some(Ok(socket)) => self.talk(socket, &identity.node.uid).await,
            Some(Err(error)) => {
                log_dial(&error);
                Attempt::Again { retry_after: error.retry_after(), error: error.to_string() }
            }
            None => Attempt::Again { error: "the agent ends".to_owned(), retry_after: None },
        }
    }

    async fn talk(&mut self, socket: Dialled<TcpStream>, uid: &str) -> Attempt {
        let nonce = match (self.settings.nonce)() {
            Ok(nonce) => nonce,
            Err(error) => return Attempt::Again { error: error.to_string(), retry_after: None },
        };
        let since = seconds((self.settings.clock)());
        let start = Instant::now();
        let inner_tls = matches!(socket.get_ref().get_ref().0, Line::Inside(_));
        let welcomed = move |session, ends: &LinkEnds| {
            info!(session, inner_tls, "connected");
            ends.state.send_replace(LinkState::Connected { session, since });
        };
        let talk = conversation::Parties {
            store: &self.store,
            contents: &self.contents,
            ends: &mut self.ends,
            identity: &self.settings.identity,
            uid,
            nonce,
        };
        let ended = conversation::hold(socket, talk, welcomed, &self.shutdown).await;
        if matches!(*self.ends.state.borrow(), LinkState::Connected { .. }) {
            self.disconnected_since = seconds((self.settings.clock)());
            if start.elapsed() >= STABLE {
                self.backoff.reset();
            }
        }
        match ended {
            Ended::Shutdown => Attempt::Again { error: "the agent ends".to_owned(), retry_after: None },
            Ended::Lost(error) => {
                warn!(error, "connection lost");
                Attempt::Again { error, retry_after: None }
            }
            Ended::GoAway { reason: Reason::Released, .. } => match self.release() {
                Ok(()) => Attempt::Released,
                Err(attempt) => attempt,
            },
            Ended::GoAway { reason, retry_after, message } => {
                let message: String = message.chars().take(500).collect();
                warn!(reason = reason.as_str_name(), message, ?retry_after, "sent away");
                if reason == Reason::Revoked {
                    // A new enrollment file may be the way in again, or a person who calls it off.
                    let token = self.settings.identity.load().ok().flatten().map(|identity| identity.token_digest);
                    return Attempt::NewFile { error: message, token };
                }
                Attempt::Again { error: message, retry_after: Some(retry_after) }
            }
        }
    }

    /// The EdgeNode is gone: stop enforcing, leave the machine as it is.
    fn release(&mut self) -> Result<(), Attempt> {
        self.store.set_released(true).map_err(store_failed)?;
        self.store.set_desired(None).map_err(store_failed)?;
        self.ends.desired.send_replace(None);
        self.ends.refused.send_replace(None);
        Ok(())
    }

    fn say_connecting(&self, url: &str) {
        self.ends.state.send_if_modified(|state| {
            // While it is tried again, why it failed last is of more use.
            let first = !matches!(state, LinkState::Disconnected { .. });
            if first {
                *state = LinkState::Connecting { url: url.to_owned() };
            }
            first
        });
    }

    fn say_disconnected(&self, error: String, wait: Duration) {
        let retry_at = seconds((self.settings.clock)() + wait);
        let since = self.disconnected_since;
        self.ends.state.send_replace(LinkState::Disconnected { since, error, retry_at });
    }
}

fn store_failed(error: StoreError) -> Attempt {
    error!(%error, "the store refuses");
    Attempt::Again { error: error.to_string(), retry_after: None }
}

fn log_dial(error: &DialError) {
    match error {
        DialError::Unreachable(..) | DialError::Timeout { .. } => info!(%error, "not connected"),
        _ => warn!(%error, "not connected"),
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
