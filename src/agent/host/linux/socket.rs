//! The agent's local socket on Linux, and the signals that ask it to stop. Does IO.

use std::{
    fs::{Permissions, remove_file, set_permissions},
    io::{self, ErrorKind},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use futures::{StreamExt, stream};
use tokio::{
    net::{UnixListener, UnixStream},
    signal::unix::{SignalKind, signal},
};

use crate::agent::local::{Connection, Incoming};

/// Listens in a directory that only the agent's user can enter. One that an earlier agent left is replaced: the
/// state directory's lock says that there is no other.
pub fn listen(path: &Path) -> io::Result<Incoming> {
    match remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    set_permissions(path, Permissions::from_mode(0o600))?;
    let accept = |listener: UnixListener| async {
        let accepted = listener.accept().await.map(|(socket, _)| Connection::new(socket));
        Some((accepted, listener))
    };
    Ok(stream::unfold(listener, accept).boxed())
}

/// Connects to a running agent.
pub async fn connect(path: &Path) -> io::Result<Connection> {
    UnixStream::connect(path).await.map(Connection::new)
}

/// Completes when the process is asked to stop (SIGTERM or SIGINT).
pub async fn stop_requested() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_is_closed_to_others() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("agent.sock");
        std::fs::write(&path, b"left of an earlier agent").expect("left");
        let _incoming = listen(&path).expect("listen");
        assert_eq!(std::fs::metadata(&path).expect("socket").permissions().mode() & 0o777, 0o600);
    }
}
