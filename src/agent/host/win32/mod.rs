//! What is known of Windows without asking it: codes, encodings, command lines. Pure, and built on every platform, so
//! that it is tested there.

pub mod errors;
pub mod found_folder;
pub mod installer_log;
pub mod installers;
pub mod registry_data;
pub mod registry_key;
pub mod versions;
pub mod waits;
