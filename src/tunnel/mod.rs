//! Messages over a secure WebSocket: dial, accept, keepalive, backoff.
