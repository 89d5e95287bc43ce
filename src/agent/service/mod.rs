//! The agent as a service of Windows: the verbs that install, start, stop and remove it, and its program.
//! What is decided is pure and stands in this folder; what is done, in `windows`. On Linux, systemd does all this.

pub mod intake;
#[cfg(unix)]
mod linux;
pub mod parameters;
pub mod phase;
pub mod verbs;
#[cfg(windows)]
mod windows;

use std::{path::PathBuf, time::Duration};

#[cfg(unix)]
pub use linux::{AVAILABLE, event_log, install, parameters, run, start, stop, take_enrollment, uninstall};
#[cfg(windows)]
pub use windows::{AVAILABLE, event_log, install, parameters, run, start, stop, take_enrollment, uninstall};

use super::serve::Stops;

/// Name of the service and of its source in the event log.
pub const NAME: &str = "windlass-agent";
/// As lists of services show it.
pub const DISPLAY_NAME: &str = "windlass agent";
/// As the service's properties show it.
pub const DESCRIPTION: &str = "Makes this machine what its EdgeNode says and keeps it so, with or without a network. \
                               Stopping it stops no other service.";
/// After its first, second and every later end that nobody asked for, the service is started again after this.
pub const RESTART_AFTER: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(60)];
/// After so long without such an end, the next one is a first one.
pub const RESTARTS_FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the machine waits, when it goes down, for the agent to stop the node's services. Windows 10 1703 and
/// later wait 10 s unless told otherwise.
pub const PRESHUTDOWN_TIMEOUT: Duration = Duration::from_secs(180);

/// How the service is installed.
#[derive(Debug, Clone, Default)]
pub struct Install {
    /// Copied to where the service looks for it.
    pub enrollment: Option<PathBuf>,
    /// Where the agent keeps its state.
    pub state_dir: PathBuf,
    /// Whether the service's command names that directory: where it is not the one of this machine.
    pub names_state_dir: bool,
    /// Whether it is started as well.
    pub start: bool,
}

/// Where the service looks for its enrollment file.
pub fn enrollment_path(state_dir: &std::path::Path) -> PathBuf {
    state_dir.join("enrollment.yaml")
}

/// What runs as the service. Given how it is asked to stop, and whom to tell that it runs; says why it ended
/// where nobody asked it to.
pub type Program = Box<dyn FnOnce(Stops, Box<dyn FnOnce() + Send>) -> Result<(), String> + Send>;
