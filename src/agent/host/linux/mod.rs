//! A Linux machine: directories and files by handle, facts, the agent's own folder and socket.
//! Everything here does IO and blocks.

mod accounts;
mod facts;
mod files;
mod hashes;
mod launch;
mod launcher;
mod own;
mod process_table;
mod processes;
mod service_logs;
mod socket;

pub use files::LinuxHost;
pub use launcher::launch;
pub use own::{create_private_directory, sync_directory, write_private_file};
pub use processes::LinuxServices;
pub use socket::{connect, listen, stop_requested};
