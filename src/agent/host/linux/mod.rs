//! A Linux machine: directories and files by handle, facts, the agent's own folder and socket.
//! Everything here does IO and blocks.

mod accounts;
mod facts;
mod files;
mod guarded;
mod launch;
mod launcher;
mod own;
mod process_table;
mod processes;
mod service_logs;
mod socket;

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

pub use files::{LinuxHost, failed_io};
pub use guarded::read_guarded;
pub use launcher::launch;
pub use own::{create_private_directory, protect, sync_directory, unprotect, write_private_file};
pub use processes::LinuxServices;
pub use socket::{connect, listen, stop_requested};

use crate::model::Platform;

/// Whose rules paths follow here.
pub const PLATFORM: Platform = Platform::Posix;

/// This machine, for an agent that keeps its state there.
pub fn host(_: &Path) -> LinuxHost {
    LinuxHost::default()
}

/// Where the agent keeps its state unless told otherwise.
pub fn state_dir() -> PathBuf {
    PathBuf::from("/var/lib/windlass")
}

/// Where the administrator's policy is unless told otherwise.
pub fn policy_file(_: &Path) -> PathBuf {
    PathBuf::from("/etc/windlass/policy.yaml")
}

/// Programs need nobody to stand in for them here.
pub fn service_host() -> ExitCode {
    eprintln!("windlass-service-host: this is for Windows");
    ExitCode::FAILURE
}

/// The services of this machine, for an agent that keeps its state there.
pub fn services(state_dir: &Path) -> io::Result<LinuxServices> {
    LinuxServices::launched_by_this_program(state_dir.join("logs"))
}
