//! What the Windows Service Control Manager (SCM) is told and what it says, as values. Pure, so that it is tested
//! on any platform; the calls are made in `agent::host::windows`.
//!
//! The agent alone restarts services (`recovery`): the SCM's own failure actions are set to none.

pub mod accounts;
pub mod codes;
pub mod command_line;
pub mod configuration;
pub mod waiting;
pub mod wrapped;
