//! One session, from the agent's side: Hello, Welcome, then reports and pings out, documents and contents in.
//! Sending, receiving and writing to disk never wait for each other. Knows nothing of dialling again.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::{JoinHandle, spawn_blocking},
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_tungstenite::WebSocketStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{
    contents::Contents,
    fetch::{Fetch, Taken, Target},
    held::Held,
    identity::IdentityFolder,
    link::LinkEnds,
    receipt::Receipt,
    store::{KeptDocument, Store, StoreError, Voucher},
};
use crate::{
    model::{Content, Digest, MAX_CONTENT_BYTES, Nonce, Report},
    tunnel::{
        channel::{Channel, ChannelError, Event},
        keepalive::Heartbeat,
        limits::{HELLO_DEADLINE, MAX_DOCUMENT_BYTES, MAX_MESSAGE_BYTES},
    },
    wire::tunnel_v1::{
        self as pb, AgentMessage, Chunk, Desired, GoAway, Hello, OperatorMessage, Want, Welcome, agent_message,
        go_away::Reason, operator_message,
    },
};

/// What a conversation is between, and about.
pub struct Parties<'a> {
    /// What is kept.
    pub store: &'a Arc<dyn Store>,
    /// What is fetched.
    pub contents: &'a Arc<dyn Contents>,
    /// The agent's other loops.
    pub ends: &'a mut LinkEnds,
    /// Where it is kept whom the agent believes.
    pub identity: &'a IdentityFolder,
    /// UID of the EdgeNode that the agent's certificate names.
    pub uid: &'a str,
    /// Of this connection alone.
    pub nonce: Nonce,
}

/// How a conversation ended.
#[derive(Debug)]
pub enum Ended {
    /// The line, or something that the operator should not have said.
    Lost(String),
    /// The operator ended it.
    GoAway {
        /// Why.
        reason: Reason,
        /// When to come back at the earliest.
        retry_after: Duration,
        /// For a person.
        message: String,
    },
    /// The agent ends.
    Shutdown,
}

impl From<ChannelError> for Ended {
    fn from(error: ChannelError) -> Self {
        Self::Lost(error.to_string())
    }
}

/// Talks until either side ends it. `welcomed` is told the session's number once it is up.
pub async fn hold<S>(
    socket: WebSocketStream<S>,
    parties: Parties<'_>,
    welcomed: impl FnOnce(u64, &LinkEnds),
    shutdown: &CancellationToken,
) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut channel: Channel<S, OperatorMessage, AgentMessage> = Channel::new(socket, HELLO_DEADLINE);
    let receipt = Receipt::begin(parties.identity, parties.uid, parties.nonce);
    let welcome = async {
        channel.send(&agent_message::Body::Hello(hello(&parties, &receipt)?).into())?;
        loop {
            match channel.next().await? {
                Event::Message(message) => match message.body {
                    Some(operator_message::Body::Welcome(welcome)) => return Ok(welcome),
                    Some(operator_message::Body::GoAway(go_away)) => return Err(go_away.into()),
                    _ => return Err(Ended::Lost("expected Welcome".to_owned())),
                },
                Event::Sent | Event::Heartbeat => {}
                Event::Closed => return Err(Ended::Lost("the operator closed".to_owned())),
            }
        }
    };
    let welcome = tokio::select! {
        welcome = timeout(HELLO_DEADLINE, welcome) => welcome,
        () = shutdown.cancelled() => return Ended::Shutdown,
    };
    let Welcome { session, heartbeat_seconds, max_outstanding_wants, highest_session } = match welcome {
        Ok(Ok(welcome)) => welcome,
        Ok(Err(ended)) => return ended,
        Err(_) => return Ended::Lost(format!("no Welcome within {} s", HELLO_DEADLINE.as_secs())),
    };
    // Durable before the session counts: the next one's number must be above it.
    let kept = parties.store.last_session().and_then(|remembered| {
        if highest_session > remembered {
            warn!(
                remembered,
                highest_session,
                "the operator knows of later sessions than this machine remembers; was its disk restored or copied?"
            );
        }
        parties.store.set_last_session(session)
    });
    if let Err(error) = kept {
        return Ended::Lost(error.to_string());
    }
    let heartbeat = Heartbeat::from_seconds(heartbeat_seconds);
    channel.set_patience(heartbeat.patience());
    welcomed(session, parties.ends);
    let conversation = Conversation {
        channel,
        parties,
        receipt,
        fetch: Fetch::new(max_outstanding_wants),
        document: None,
        work: VecDeque::new(),
        working: None,
        look_again: false,
        report_due: true,
    };
    conversation.go_on(heartbeat, shutdown).await
}

fn hello(parties: &Parties<'_>, receipt: &Receipt<'_>) -> Result<Hello, Ended> {
    let failed = |error: StoreError| Ended::Lost(error.to_string());
    let facts = parties.ends.report.borrow().facts.clone();
    let held_revision = parties.ends.desired.borrow().as_ref().map(|held| held.revision.to_string());
    Ok(Hello {
        last_session: parties.store.last_session().map_err(failed)?,
        nonce: receipt.nonce().as_bytes().to_vec().into(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        features: parties.ends.features.iter().map(|feature| (*feature).to_owned()).collect(),
        facts: Some((&facts).into()),
        held_revision: held_revision.unwrap_or_default(),
        applied_revision: parties.store.applied().map_err(failed)?.unwrap_or_default(),
        trust_serial: receipt.serial(),
    })
}

/// A document that is being fetched.
struct Incoming {
    digest: Digest,
    size: u64,
    bytes: Vec<u8>,
    voucher: Option<Voucher>,
}

/// Something to be done on disk, one after the other.
enum Work {
    Append { digest: Digest, offset: u64, bytes: Bytes },
    Finish(Content),
}

impl Work {
    fn digest(&self) -> Digest {
        match self {
            Self::Append { digest, .. } => *digest,
            Self::Finish(content) => content.digest,
        }
    }

    fn run(self, contents: &dyn Contents) -> Done {
        let digest = self.digest();
        match self {
            Self::Append { offset, bytes, .. } => match contents.append(&digest, offset, &bytes) {
                Ok(()) => Done::Appended,
                Err(error) => Done::Failed(digest, error.to_string()),
            },
            Self::Finish(content) => match contents.finish(&digest, content.salt.as_ref()) {
                Ok(Ok(())) => Done::Finished(digest),
                Ok(Err(_)) => Done::Failed(digest, "what came digests to something else".to_owned()),
                Err(error) => Done::Failed(digest, error.to_string()),
            },
        }
    }
}

enum Done {
    Appended,
    Finished(Digest),
    Failed(Digest, String),
}

struct Conversation<'a, S> {
    channel: Channel<S, OperatorMessage, AgentMessage>,
    parties: Parties<'a>,
    receipt: Receipt<'a>,
    fetch: Fetch,
    document: Option<Incoming>,
    /// At most as many ranges as may be unanswered, and one `Finish` for each content.
    work: VecDeque<Work>,
    working: Option<(Digest, JoinHandle<Done>)>,
    /// Some content did not come though it is wanted: look again at the next heartbeat.
    look_again: bool,
    report_due: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<'_, S> {
    async fn go_on(mut self, heartbeat: Heartbeat, shutdown: &CancellationToken) -> Ended {
        let mut beat = interval(heartbeat.period());
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.parties.ends.report.mark_unchanged();
        self.parties.ends.wanted.mark_unchanged();
        self.set_targets();
        let ended = loop {
            self.start_work();
            if self.channel.is_idle()
                && let Err(error) = self.send_next()
            {
                break error.into();
            }
            let working = async {
                match &mut self.working {
                    Some((_, handle)) => handle.await,
                    None => std::future::pending().await,
                }
            };
            let result = tokio::select! {
                event = self.channel.next() => match event {
                    Ok(Event::Message(message)) => self.receive(message).await,
                    Ok(Event::Sent | Event::Heartbeat) => Ok(()),
                    Ok(Event::Closed) => Err(Ended::Lost("the operator closed".to_owned())),
                    Err(error) => Err(error.into()),
                },
                done = working => {
                    let digest = self.working.take().map(|(digest, _)| digest);
                    self.done(done.unwrap_or_else(|error| match digest {
                        Some(digest) => Done::Failed(digest, error.to_string()),
                        None => Done::Appended,
                    }));
                    Ok(())
                }
                Ok(()) = self.parties.ends.report.changed() => { self.report_due = true; Ok(()) }
                Ok(()) = self.parties.ends.wanted.changed() => { self.set_targets(); Ok(()) }
                _ = beat.tick() => {
                    self.channel.ping();
                    if self.look_again { self.set_targets() }
                    Ok(())
                }
                () = shutdown.cancelled() => Err(Ended::Shutdown),
            };
            if let Err(ended) = result {
                break ended;
            }
        };
        let Self { mut channel, working, .. } = self;
        if !matches!(ended, Ended::Lost(_)) {
            channel.close(None).await;
        }
        // What was begun on disk ends before the next session asks what is there.
        if let Some((_, handle)) = working {
            let _ = handle.await;
        }
        ended
    }

    /// The next message, the most urgent first.
    fn send_next(&mut self) -> Result<(), ChannelError> {
        if std::mem::take(&mut self.report_due) {
            let report = Arc::clone(&self.parties.ends.report.borrow_and_update());
            return self.channel.send(&agent_message::Body::Report(fit(&report)).into());
        }
        // What has come and is not on disk yet counts as well: memory is bounded by what is asked for.
        if self.work.len() < 4
            && let Some(want) = self.fetch.next_want(Instant::now().into_std())
        {
            let want =
                Want { digest: want.digest.as_bytes().to_vec().into(), offset: want.offset, length: want.length };
            return self.channel.send(&agent_message::Body::Want(want).into());
        }
        Ok(())
    }

    async fn receive(&mut self, message: OperatorMessage) -> Result<(), Ended> {
        match message.body {
            Some(operator_message::Body::Desired(desired)) => self.desired(desired).await,
            Some(operator_message::Body::Chunk(chunk)) => self.chunk(chunk).await,
            Some(operator_message::Body::Trust(chain)) => {
                self.receipt.follow(&chain).map_err(|error| Ended::Lost(error.to_string()))
            }
            Some(operator_message::Body::GoAway(go_away)) => Err(go_away.into()),
            Some(operator_message::Body::Welcome(_)) => Err(Ended::Lost("a second Welcome".to_owned())),
            // Of a later version.
            None => Ok(()),
        }
    }

    async fn desired(&mut self, desired: Desired) -> Result<(), Ended> {
        let digest = Digest::try_from(&desired.digest[..]).map_err(|e| Ended::Lost(format!("Desired: {e}")))?;
        let voucher = match self.receipt.check(&desired, &digest) {
            Ok(voucher) => voucher,
            Err(untrusted) => {
                let (revision, reason) = (&desired.revision, untrusted.reason());
                warn!(revision, reason, error = %untrusted, "a desired document is refused; the one before it stays in force");
                self.parties.ends.refused.send_replace(Some(self.receipt.explain(&untrusted)));
                return Ok(());
            }
        };
        self.document = None;
        if self.parties.ends.desired.borrow().as_ref().is_some_and(|held| held.digest == digest) {
            debug!(revision = desired.revision, "the desired document is held already");
            if let Some(voucher) = voucher {
                self.store(move |store| store.set_voucher(&voucher)).await?;
            }
            self.in_force();
        } else if let Some(document) = desired.document {
            self.accept(&digest, &document, voucher).await?;
        } else if desired.size > MAX_DOCUMENT_BYTES {
            return Err(Ended::Lost(format!("a document of {} bytes", desired.size)));
        } else {
            info!(revision = desired.revision, bytes = desired.size, "fetching the desired document");
            self.document = Some(Incoming { digest, size: desired.size, bytes: Vec::new(), voucher });
        }
        self.set_targets();
        Ok(())
    }

    /// Takes a document into force: durable first, then told.
    async fn accept(&mut self, digest: &Digest, bytes: &[u8], voucher: Option<Voucher>) -> Result<(), Ended> {
        if Digest::of(bytes) != *digest {
            return Err(Ended::Lost("a document that does not digest to its name".to_owned()));
        }
        let held = Held::decode(bytes, self.parties.ends.features)
            .map_err(|error| Ended::Lost(format!("the desired document: {error}")))?;
        if held.document.node_uid != self.parties.uid {
            return Err(Ended::Lost("a document that is for another EdgeNode".to_owned()));
        }
        let kept = KeptDocument { bytes: bytes.to_vec(), voucher };
        self.store(move |store| store.set_desired(Some(&kept))).await?;
        info!(revision = %held.revision, "desired document received");
        self.parties.ends.desired.send_replace(Some(Arc::new(held)));
        self.in_force();
        Ok(())
    }

    /// The document that came last is in force.
    fn in_force(&self) {
        self.parties.ends.refused.send_if_modified(|refused| refused.take().is_some());
    }

    async fn store(
        &self,
        write: impl FnOnce(&dyn Store) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), Ended> {
        let store = Arc::clone(self.parties.store);
        match spawn_blocking(move || write(&*store)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Ended::Lost(error.to_string())),
            Err(error) => Err(Ended::Lost(error.to_string())),
        }
    }

    async fn chunk(&mut self, chunk: Chunk) -> Result<(), Ended> {
        let Chunk { digest, offset, data, gone } = chunk;
        let digest = Digest::try_from(&digest[..]).map_err(|e| Ended::Lost(format!("Chunk: {e}")))?;
        let now = Instant::now().into_std();
        match self.fetch.take(digest, offset, data, gone, now).map_err(Ended::Lost)? {
            Taken::Nothing => {}
            Taken::Gone(digest) => {
                debug!(%digest, "the operator does not hold this content");
                self.look_again = true;
            }
            Taken::Bytes { digest, offset, bytes, complete } => {
                if let Some(document) = self.document.as_mut().filter(|document| document.digest == digest) {
                    document.bytes.extend_from_slice(&bytes);
                    if complete && let Some(Incoming { digest, bytes, voucher, .. }) = self.document.take() {
                        self.accept(&digest, &bytes, voucher).await?;
                    }
                    return Ok(());
                }
                self.work.push_back(Work::Append { digest, offset, bytes });
                if complete && let Some(content) = self.wanted(&digest) {
                    self.work.push_back(Work::Finish(content));
                }
            }
        }
        Ok(())
    }

    fn wanted(&self, digest: &Digest) -> Option<Content> {
        self.parties.ends.wanted.borrow().iter().find(|content| content.digest == *digest).cloned()
    }

    /// Sets what is to be fetched: the document first, then what it names and the agent lacks.
    fn set_targets(&mut self) {
        self.look_again = false;
        let wanted = self.parties.ends.wanted.borrow_and_update().clone();
        let mut targets = Vec::new();
        if let Some(document) = &self.document {
            let have = document.bytes.len() as u64;
            targets.push(Target { digest: document.digest, size: document.size, have });
        }
        for content in wanted {
            let Content { digest, size, .. } = content;
            if size > MAX_CONTENT_BYTES {
                error!(%digest, size, "a content is larger than {MAX_CONTENT_BYTES} bytes, and is not fetched");
                continue;
            }
            let in_hand = self.work.iter().any(|work| work.digest() == digest)
                || self.working.as_ref().is_some_and(|(working, _)| *working == digest);
            if in_hand && !self.fetch.is_fetching(&digest) {
                continue;
            }
            let have = self.parties.contents.partial_length(&digest);
            if have >= size && !self.fetch.is_fetching(&digest) {
                self.work.push_back(Work::Finish(content));
            } else {
                targets.push(Target { digest, size, have });
            }
        }
        self.fetch.set(targets);
    }

    fn start_work(&mut self) {
        if self.working.is_none()
            && let Some(work) = self.work.pop_front()
        {
            let contents = Arc::clone(self.parties.contents);
            self.working = Some((work.digest(), spawn_blocking(move || work.run(&*contents))));
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Appended => {}
            Done::Finished(digest) => {
                debug!(%digest, "content received");
                self.parties.ends.arrived.notify_one();
            }
            Done::Failed(digest, error) => {
                warn!(%digest, error, "content not kept, to be fetched again");
                self.work.retain(|work| work.digest() != digest);
                self.fetch.forget(&digest);
                self.look_again = true;
            }
        }
    }
}

/// The report as a message that fits: texts are cut where they are too long.
fn fit(report: &Report) -> pb::Report {
    let mut message = pb::Report::from(report);
    for longest in [1024, 256, 64, 16] {
        if message.encoded_len() + 64 <= MAX_MESSAGE_BYTES {
            break;
        }
        let texts = message.failures.iter_mut().flat_map(|f| [&mut f.resource, &mut f.message]);
        let texts = texts.chain(message.services.iter_mut().map(|s| &mut s.message));
        for text in texts.chain([&mut message.notice_message]) {
            if let Some((at, _)) = text.char_indices().nth(longest) {
                text.truncate(at);
            }
        }
    }
    message
}

impl From<GoAway> for Ended {
    fn from(go_away: GoAway) -> Self {
        Self::GoAway {
            reason: go_away.reason(),
            retry_after: Duration::from_secs(go_away.retry_after_seconds.into()),
            message: go_away.message,
        }
    }
}

impl From<agent_message::Body> for AgentMessage {
    fn from(body: agent_message::Body) -> Self {
        Self { body: Some(body) }
    }
}
