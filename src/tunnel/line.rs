//! What a TLS connection of windlass runs over: a stream, or the messages of a WebSocket inside somebody else's TLS.
//! A WebSocket's binary messages are one stream of bytes here: how they are cut says nothing.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use futures::{Sink as _, Stream as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message},
};

/// Largest message that is sent, in bytes: a record of TLS is hardly larger, and tungstenite keeps a buffer as large
/// as the largest for as long as the connection lasts.
const MAX_PIECE_BYTES: usize = 16 << 10;

/// What TLS runs over.
pub enum Line<S> {
    /// The connection itself.
    Direct(S),
    /// A WebSocket whose TLS a proxy may have ended.
    Inside(Box<dyn Duplex>),
}

impl<S> Line<S> {
    /// Through the messages of this WebSocket.
    pub fn inside<T: Duplex + 'static>(outer: WebSocketStream<T>) -> Self {
        Self::Inside(Box::new(Messages { socket: outer, left: Bytes::new() }))
    }
}

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

impl<S: AsyncRead + Unpin> AsyncRead for Line<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Direct(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Inside(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Line<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Direct(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Inside(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Direct(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Inside(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Direct(stream) => stream.is_write_vectored(),
            Self::Inside(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Direct(stream) => Pin::new(stream).poll_flush(cx),
            Self::Inside(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Direct(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Inside(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// The binary messages of a WebSocket as a stream of bytes.
struct Messages<T> {
    socket: WebSocketStream<T>,
    /// What is not read yet of the last message.
    left: Bytes,
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Messages<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.left.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.left = bytes,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Ok(Message::Text(_) | Message::Frame(_))) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "a text, expected binary")));
                }
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
            }
        }
        let n = self.left.len().min(buf.remaining());
        buf.put_slice(&self.left[..n]);
        self.left.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Messages<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let piece = &buf[..buf.len().min(MAX_PIECE_BYTES)];
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(broken)?;
        let message = Message::Binary(Bytes::copy_from_slice(piece));
        Pin::new(&mut self.socket).start_send(message).map_err(broken)?;
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(broken)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(broken)
    }
}

/// The end of the outer connection is, to what runs inside of it, what the end of a TCP connection is.
fn broken(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            io::ErrorKind::ConnectionAborted.into()
        }
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use futures::SinkExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;
    use crate::tunnel::limits;

    async fn ends() -> (WebSocketStream<DuplexStream>, Line<DuplexStream>) {
        let (near, far) = duplex(1 << 10);
        let config = Some(limits::websocket());
        let near = WebSocketStream::from_raw_socket(near, Role::Client, config).await;
        let far = WebSocketStream::from_raw_socket(far, Role::Server, config).await;
        (near, Line::inside(far))
    }

    #[tokio::test]
    async fn bytes_arrive_whole_and_in_order_however_they_are_cut() {
        let (near, mut far) = ends().await;
        let mut near = Line::<DuplexStream>::inside(near);
        let sent: Vec<u8> = (0..200_000_u32).map(|n| (n / 3) as u8).collect();
        let copy = sent.clone();
        let sending = tokio::spawn(async move {
            near.write_all(&copy).await.expect("written");
            near.shutdown().await.expect("closed");
        });
        let mut came = Vec::new();
        far.read_to_end(&mut came).await.expect("read");
        assert!(came == sent);
        sending.await.expect("no panic");
    }

    #[tokio::test]
    async fn pings_and_empty_messages_are_no_bytes_and_a_text_ends_it() {
        let (mut near, mut far) = ends().await;
        for message in [Message::Ping(Bytes::new()), Message::Binary(Bytes::new()), Message::binary(&b"ab"[..])] {
            near.send(message).await.expect("sent");
        }
        let mut two = [0; 2];
        far.read_exact(&mut two).await.expect("read");
        assert_eq!(&two, b"ab");
        near.send(Message::text("ab")).await.expect("sent");
        assert_eq!(far.read_exact(&mut two).await.expect_err("a text").kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn an_outer_connection_that_breaks_breaks_what_is_inside() {
        let (near, mut far) = ends().await;
        drop(near);
        assert!(far.read_u8().await.is_err());
    }
}
