//! Services of Linux are systemd's to install, start and stop: the verbs say so.

use std::{path::Path, sync::Arc};

use super::{
    Install, Program,
    verbs::{NOT_SUPPORTED, VerbError},
};
use crate::agent::events::EventLog;

/// Whether this program can be a service of this machine by its own verbs.
pub const AVAILABLE: bool = false;

/// Refused.
pub fn install(_: &Install) -> Result<(), VerbError> {
    refused("install")
}

/// Refused.
pub fn uninstall(_: &Path, _: bool) -> Result<(), VerbError> {
    refused("uninstall")
}

/// Refused.
pub fn start() -> Result<(), VerbError> {
    refused("start")
}

/// Refused.
pub fn stop() -> Result<(), VerbError> {
    refused("stop")
}

/// Refused.
pub fn run(_: Program) -> Result<(), VerbError> {
    refused("run --service")
}

/// There is no registry.
pub fn parameters(_: &str) -> Option<String> {
    None
}

/// There is none; the journal has the log.
pub fn event_log() -> Option<Arc<dyn EventLog>> {
    None
}

/// No installer of this machine is given one.
pub fn take_enrollment(_: &Path) {}

fn refused(verb: &str) -> Result<(), VerbError> {
    let said = "this verb is for Windows; expected a unit of systemd whose ExecStart is: windlass-agent run";
    Err(VerbError::new(verb, NOT_SUPPORTED, said))
}
