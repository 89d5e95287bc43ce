//! How large and how long anything in a tunnel may be. Pure.

use std::time::Duration;

use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// Largest message in either direction, in bytes. A report of 64 services and 64 failures with a kilobyte of
/// text each fits, and so does a chunk or an inline document.
pub const MAX_MESSAGE_BYTES: usize = 256 << 10;
/// Most bytes of a `Chunk`, and of a document that rides along with its `Desired`.
pub const MAX_CHUNK_BYTES: u32 = 64 << 10;
/// Most `Want` that an agent may have unanswered: enough to hide a round trip.
pub const MAX_OUTSTANDING_WANTS: u32 = 4;
/// Largest document, in bytes: an EdgeNode is at most 1.5 MiB in etcd, and contents travel apart.
pub const MAX_DOCUMENT_BYTES: u64 = 4 << 20;
/// One deadline over TCP, TLS and upgrade, on both sides.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// From the upgrade to the first message, and from there to the answer.
pub const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// How long a close waits for the other side's.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// Buffers and caps of every WebSocket here. The request's head is capped by tungstenite (64 KiB, 124 headers).
pub fn websocket() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4 << 10)
        .write_buffer_size(0)
        // One fragment and a good number of pongs; what does not fit ends the connection.
        .max_write_buffer_size(64 << 10)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES))
}
