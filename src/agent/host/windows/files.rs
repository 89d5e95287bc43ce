//! Directories and files of a Windows machine. Does IO; knows nothing of documents or of what is owned.

use std::io::Read;

use super::facts;
use crate::{
    agent::host::{Host, HostError, PathState, Reason, Removed},
    model::{Attributes, HostPath, NodeFacts, Salt, features},
};

/// Directories and files of this machine.
#[derive(Debug, Default)]
pub struct WindowsHost {}

fn not_yet<T>(what: &str) -> Result<T, HostError> {
    Err(HostError::new(Reason::NotSupportedHere, format!("{what}: not on Windows yet")))
}

impl Host for WindowsHost {
    fn facts(&self) -> NodeFacts {
        facts::read()
    }

    fn features(&self) -> &'static [&'static str] {
        features::ALL
    }

    fn observe(&self, _: &HostPath, _: Option<&Salt>) -> Result<PathState, HostError> {
        not_yet("observe")
    }

    fn create_directory(&self, _: &HostPath, _: &Attributes) -> Result<(), HostError> {
        not_yet("create a directory")
    }

    fn write_file(&self, _: &HostPath, _: &mut dyn Read, _: &Attributes, _: bool) -> Result<(), HostError> {
        not_yet("write a file")
    }

    fn discard_interrupted(&self, _: &HostPath) -> Result<(), HostError> {
        not_yet("discard")
    }

    fn set_attributes(&self, _: &HostPath, _: &Attributes) -> Result<(), HostError> {
        not_yet("set attributes")
    }

    fn remove_file(&self, _: &HostPath) -> Result<(), HostError> {
        not_yet("remove a file")
    }

    fn remove_directory(&self, _: &HostPath) -> Result<Removed, HostError> {
        not_yet("remove a directory")
    }
}
