//! A Windows machine: directories and files by handle, registry, packages, facts, services, the agent's own folder and pipe.
//! Everything here does IO and blocks. All of the agent's Win32 calls are made in this folder.

mod access;
mod accounts;
mod domain;
mod facts;
mod files;
mod folders;
mod guarded;
mod handles;
mod job;
mod own;
mod packages;
mod pipe;
mod place;
mod privileges;
mod process;
mod protect;
mod registry;
mod restart;
mod security;
mod service_host;
mod services;
mod strings;
mod token;
mod wait;
mod watch;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use files::WindowsHost;
pub use folders::state_dir;
pub use guarded::read_guarded;
pub use own::{create_private_directory, sync_directory, write_private_file};
pub use pipe::{connect, listen, stop_requested};
pub use place::failed_io;
pub use protect::{protect, unprotect};
pub use service_host::service_host;
pub use services::WindowsServices;

use crate::model::Platform;

/// Whose rules paths follow here.
pub const PLATFORM: Platform = Platform::Windows;

/// Where the administrator's policy is unless told otherwise: in the one folder that is open to nobody else.
pub fn policy_file(state_dir: &Path) -> PathBuf {
    state_dir.join("policy.yaml")
}

/// This machine, for an agent that keeps its state there.
pub fn host(state_dir: &Path) -> WindowsHost {
    WindowsHost::new(state_dir)
}

/// The services of this machine, for an agent that keeps its state there.
pub fn services(state_dir: &Path) -> io::Result<WindowsServices> {
    let host = std::env::current_exe()?.with_file_name(crate::agent::scm::wrapped::HOST);
    WindowsServices::new(state_dir, host)
}

/// Programs of services are started by the SCM here.
pub fn launch() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
