//! Services of a Windows machine, through the Service Control Manager. Does IO.

use std::{io, path::Path};

use async_trait::async_trait;

use crate::{
    agent::host::{Exit, HostError, Journal, ProcessIdentity, Reason, ServiceControl},
    model::{Service, ServiceName},
};

/// Services of this machine.
#[derive(Debug)]
pub struct WindowsServices {}

impl WindowsServices {
    /// For an agent that keeps its state there.
    pub fn new(_: &Path) -> io::Result<Self> {
        Ok(Self {})
    }
}

fn not_yet<T>(what: &str) -> Result<T, HostError> {
    Err(HostError::new(Reason::NotSupportedHere, format!("{what}: not on Windows yet")))
}

#[async_trait]
impl ServiceControl for WindowsServices {
    fn boot_id(&self) -> String {
        String::new()
    }

    fn survivors(&self) -> Result<Vec<(ServiceName, ProcessIdentity)>, HostError> {
        Ok(Vec::new())
    }

    async fn configure(&self, _: &Service) -> Result<(), HostError> {
        not_yet("configure a service")
    }

    async fn delete(&self, _: &ServiceName) -> Result<(), HostError> {
        not_yet("delete a service")
    }

    async fn start(&self, _: &Service, _: Journal<'_>) -> Result<ProcessIdentity, HostError> {
        not_yet("start a service")
    }

    fn is_running(&self, _: &ProcessIdentity) -> bool {
        false
    }

    async fn ended(&self, _: &ProcessIdentity) -> Exit {
        Exit::Unknown
    }

    fn request_stop(&self, _: &ProcessIdentity) -> Result<(), HostError> {
        not_yet("stop a service")
    }

    fn kill(&self, _: &ProcessIdentity) -> Result<(), HostError> {
        not_yet("end a service")
    }

    async fn check(&self, _: &Service, _: &[String]) -> Result<Exit, HostError> {
        not_yet("check a service")
    }

    fn tend(&self, _: &ServiceName) {}
}
