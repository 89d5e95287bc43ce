//! Whole protobuf messages over a WebSocket, both directions driven by one task: while a message waits to get
//! out, others still come in. Either direction ends the channel when nothing moves for the given patience.

use std::{
    future::{Future as _, poll_fn},
    io,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures::{Sink as _, SinkExt as _, Stream as _, StreamExt as _};
use prost::Message as Prost;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, Sleep, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        error::ProtocolError,
        protocol::frame::{
            Frame,
            coding::{Data as OpData, OpCode},
        },
    },
};

use super::limits::CLOSE_DEADLINE;

/// A longer message goes out in fragments: tungstenite keeps a buffer as large as the largest frame that was ever
/// sent, for as long as the connection lasts.
const FRAGMENT_BYTES: usize = 4 << 10;

/// Receives `In`, sends `Out`.
pub struct Channel<S, In, Out> {
    socket: WebSocketStream<S>,
    patience: Duration,
    heard: Instant,
    sending_since: Option<Instant>,
    /// What is left of the message that is being sent.
    rest: Bytes,
    ping_due: bool,
    alarm: Pin<Box<Sleep>>,
    messages: PhantomData<fn(Out) -> In>,
}

/// What happened.
#[derive(Debug, PartialEq)]
pub enum Event<In> {
    /// A message came.
    Message(In),
    /// A ping came (and is answered), or the answer to one.
    Heartbeat,
    /// What was handed to [`Channel::send`] is on its way: the next can be sent.
    Sent,
    /// The other side closed, or is gone.
    Closed,
}

/// Why a channel ended.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// No sign of the other side.
    #[error("no sign of the other side for {} s", .0.as_secs())]
    Silent(Duration),
    /// The other side does not read.
    #[error("the other side has not taken a message for {} s", .0.as_secs())]
    Stuck(Duration),
    /// Something that this version cannot take for a message.
    #[error("not a message: {0}")]
    Garbage(String),
    /// What TLS is there to notice.
    #[error("bytes were changed on the way, by a proxy or a bad line: {0}")]
    Altered(String),
    /// Too large, or against the WebSocket protocol.
    #[error("WebSocket: {0}")]
    Socket(Box<tungstenite::Error>),
}

impl ChannelError {
    /// Whether the other side broke the protocol, rather than the line.
    pub fn is_peers_fault(&self) -> bool {
        match self {
            Self::Silent(_) | Self::Stuck(_) | Self::Altered(_) => false,
            Self::Garbage(_) => true,
            Self::Socket(error) => !matches!(**error, tungstenite::Error::Io(_)),
        }
    }
}

impl<S, In, Out> Channel<S, In, Out>
where
    S: AsyncRead + AsyncWrite + Unpin,
    In: Prost + Default,
    Out: Prost,
{
    /// Takes a WebSocket whose other side was heard of just now.
    pub fn new(socket: WebSocketStream<S>, patience: Duration) -> Self {
        let heard = Instant::now();
        let alarm = Box::pin(sleep_until(heard + patience));
        Self {
            socket,
            patience,
            heard,
            sending_since: None,
            rest: Bytes::new(),
            ping_due: false,
            alarm,
            messages: PhantomData,
        }
    }

    /// From now on, gives the other side up after this long.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
        self.heard = Instant::now();
        self.alarm.as_mut().reset(self.heard + patience);
    }

    /// Whether nothing waits to get out.
    pub fn is_idle(&self) -> bool {
        self.sending_since.is_none()
    }

    /// Hands a message over; [`Channel::next`] then gets it out. Only while [`Channel::is_idle`], so that one
    /// message at most is held here.
    pub fn send(&mut self, message: &Out) -> Result<(), ChannelError> {
        let mut bytes = Bytes::from(message.encode_to_vec());
        let first = bytes.split_to(bytes.len().min(FRAGMENT_BYTES));
        self.rest = bytes;
        debug_assert!(self.is_idle(), "a message was sent before the one before it was out");
        let first = fragment(first, OpData::Binary, self.rest.is_empty());
        self.hand_over(first).map_err(|error| ChannelError::Socket(Box::new(error)))
    }

    /// Has a ping sent, also between the fragments of a message.
    pub fn ping(&mut self) {
        self.ping_due = true;
    }

    fn hand_over(&mut self, message: Message) -> Result<(), tungstenite::Error> {
        Pin::new(&mut self.socket).start_send(message)?;
        self.sending_since = Some(Instant::now());
        Ok(())
    }

    /// Waits until something happens, in either direction. Cancel-safe.
    pub async fn next(&mut self) -> Result<Event<In>, ChannelError> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event<In>, ChannelError>> {
        if self.sending_since.is_some() || self.ping_due {
            match self.poll_send(cx) {
                Poll::Ready(Ok(())) => {
                    self.sending_since = None;
                    return Poll::Ready(Ok(Event::Sent));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(closed_or(error)),
                Poll::Pending => {}
            }
        }
        if let Poll::Ready(came) = Pin::new(&mut self.socket).poll_next(cx) {
            self.heard = Instant::now();
            return Poll::Ready(match came {
                Some(Ok(message)) => understand(message),
                Some(Err(error)) => closed_or(error),
                None => Ok(Event::Closed),
            });
        }
        loop {
            // Set once and looked at when it fires, so that a message costs no timer.
            ready!(self.alarm.as_mut().poll(cx));
            let now = Instant::now();
            if let Some(since) = self.sending_since
                && now >= since + self.patience
            {
                return Poll::Ready(Err(ChannelError::Stuck(self.patience)));
            }
            if now >= self.heard + self.patience {
                return Poll::Ready(Err(ChannelError::Silent(self.patience)));
            }
            let due = self.sending_since.map_or(self.heard, |since| since.min(self.heard)) + self.patience;
            self.alarm.as_mut().reset(due);
        }
    }

    /// Gets out what is left, fragment by fragment.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), tungstenite::Error>> {
        loop {
            ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
            if std::mem::take(&mut self.ping_due) {
                self.hand_over(Message::Ping(Bytes::new()))?;
                continue;
            }
            if self.rest.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let next = self.rest.split_to(self.rest.len().min(FRAGMENT_BYTES));
            let last = self.rest.is_empty();
            self.hand_over(fragment(next, OpData::Continue, last))?;
        }
    }

    /// Says a last word, if there is one, then closes; waits for the other side to have it for
    /// [`CLOSE_DEADLINE`] at most.
    pub async fn close(&mut self, last: Option<&Out>) {
        let closing = async {
            poll_fn(|cx| self.poll_send(cx)).await?;
            if let Some(last) = last {
                self.socket.send(Message::Binary(Bytes::from(last.encode_to_vec()))).await?;
            }
            self.socket.close(None).await?;
            // What still comes is not read, up to the other side's close.
            while let Some(Ok(_)) = self.socket.next().await {}
            Ok::<_, tungstenite::Error>(())
        };
        // It is the end either way.
        let _ = timeout(CLOSE_DEADLINE, closing).await;
    }
}

fn fragment(bytes: Bytes, kind: OpData, last: bool) -> Message {
    Message::Frame(Frame::message(bytes, OpCode::Data(kind), last))
}

fn understand<In: Prost + Default>(message: Message) -> Result<Event<In>, ChannelError> {
    match message {
        Message::Binary(bytes) => {
            In::decode(bytes).map(Event::Message).map_err(|error| ChannelError::Garbage(error.to_string()))
        }
        Message::Ping(_) | Message::Pong(_) => Ok(Event::Heartbeat),
        Message::Close(_) => Ok(Event::Closed),
        Message::Text(_) | Message::Frame(_) => Err(ChannelError::Garbage("a text, expected binary".to_owned())),
    }
}

fn closed_or<In>(error: tungstenite::Error) -> Result<Event<In>, ChannelError> {
    use tungstenite::Error;
    match &error {
        Error::ConnectionClosed | Error::AlreadyClosed => Ok(Event::Closed),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake | ProtocolError::SendAfterClosing) => {
            Ok(Event::Closed)
        }
        Error::Io(io) if is_gone(io) => Ok(Event::Closed),
        Error::Io(io) if is_altered(io) => Err(ChannelError::Altered(io.to_string())),
        _ => Err(ChannelError::Socket(Box::new(error))),
    }
}

/// A record of TLS that is not as its sender made it: found here, or by the other side.
fn is_altered(error: &io::Error) -> bool {
    use rustls::{AlertDescription::BadRecordMac, Error};
    let error = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(error, Some(Error::DecryptError | Error::AlertReceived(BadRecordMac)))
}

fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}
