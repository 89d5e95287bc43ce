//! The agent's local pipe on Windows, and the console's events that ask it to stop. Does IO.

use std::{io, path::Path, time::Duration};

use futures::{StreamExt as _, stream};
use tokio::{
    net::windows::named_pipe::{ClientOptions, NamedPipeServer, ServerOptions},
    signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown},
    time::sleep,
};
use windows_sys::Win32::Foundation::ERROR_PIPE_BUSY;

use super::security::Descriptor;
use crate::{
    agent::local::{Connection, Incoming},
    model::Revision,
};

/// SYSTEM and administrators, and nobody else.
const PRIVATE: &str = "D:P(A;;GA;;;SY)(A;;GA;;;BA)";
/// While all instances of the pipe are taken.
const BUSY_RETRY: Duration = Duration::from_millis(50);
/// So often is it tried then: the agent accepts within this or hangs.
const BUSY_TRIES: usize = 100;

/// The pipe of the agent that keeps its state where this path lies.
fn name(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    format!(r"\\.\pipe\windlass-agent-{}", Revision::of(path.to_string_lossy().to_lowercase().as_bytes()))
}

/// Listens where SYSTEM and administrators of this machine alone can connect.
pub fn listen(path: &Path) -> io::Result<Incoming> {
    let name = name(path);
    let first = instance(&name, true)?;
    let accept = |(name, waiting): (String, NamedPipeServer)| async move {
        if let Err(error) = waiting.connect().await {
            return Some((Err(error), (name, waiting)));
        }
        // The next one is there before this one is handed on, so that nobody finds no pipe.
        match instance(&name, false) {
            Ok(next) => Some((Ok(Connection::new(waiting)), (name, next))),
            Err(error) => Some((Err(error), (name, waiting))),
        }
    };
    Ok(stream::unfold((name, first), accept).boxed())
}

fn instance(name: &str, first: bool) -> io::Result<NamedPipeServer> {
    let descriptor = Descriptor::parse(PRIVATE)?;
    let mut attributes = descriptor.attributes();
    let mut options = ServerOptions::new();
    options.first_pipe_instance(first).reject_remote_clients(true);
    // SAFETY: it points to a whole SECURITY_ATTRIBUTES, whose descriptor lives until the call has returned.
    #[allow(unsafe_code)]
    unsafe {
        options.create_with_security_attributes_raw(name, (&raw mut attributes).cast())
    }
}

/// Connects to a running agent.
pub async fn connect(path: &Path) -> io::Result<Connection> {
    let name = name(path);
    for _ in 0..BUSY_TRIES {
        match ClientOptions::new().open(&name) {
            Ok(client) => return Ok(Connection::new(client)),
            Err(error) if error.raw_os_error() == i32::try_from(ERROR_PIPE_BUSY).ok() => sleep(BUSY_RETRY).await,
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("all instances of {name} stay busy")))
}

/// Completes when the process is asked to stop from its console: Ctrl-C, Ctrl-Break, the window closed, or the end
/// of the session.
pub async fn stop_requested() -> io::Result<()> {
    let (mut c, mut break_, mut close, mut shutdown) = (ctrl_c()?, ctrl_break()?, ctrl_close()?, ctrl_shutdown()?);
    tokio::select! {
        _ = c.recv() => {}
        _ = break_.recv() => {}
        _ = close.recv() => {}
        _ = shutdown.recv() => {}
    }
    Ok(())
}
