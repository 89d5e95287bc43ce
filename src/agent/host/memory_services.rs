//! Services of a machine in memory, for tests and simulations: processes are numbers that run until they are
//! told to stop. Held against the real machine's by one suite of behaviours.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio::sync::watch;

use super::{Exit, HostError, Journal, ProcessIdentity, ServiceControl};
use crate::model::{Service, ServiceName};

/// Processes in memory. They outlive the agent as long as this does.
#[derive(Debug)]
pub struct MemoryServices {
    state: Mutex<State>,
    /// Counts ends up.
    ends: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    boot: u32,
    last_pid: u32,
    running: BTreeMap<u32, String>,
    exits: BTreeMap<u32, Exit>,
    unstartable: BTreeMap<String, HostError>,
    stubborn: BTreeSet<String>,
    failing_checks: BTreeSet<String>,
    log: Vec<String>,
}

impl Default for MemoryServices {
    fn default() -> Self {
        Self { state: Mutex::default(), ends: watch::Sender::new(0) }
    }
}

impl MemoryServices {
    /// Names of the services that run, one for each process, sorted.
    pub fn running(&self) -> Vec<String> {
        let mut names: Vec<String> = self.state().running.values().cloned().collect();
        names.sort();
        names
    }

    /// What was done, in order: `start a`, `stop a`, `kill a`.
    pub fn log(&self) -> Vec<String> {
        self.state().log.clone()
    }

    /// Ends a service's processes by itself, as a crash does.
    pub fn crash(&self, name: &str, exit: Exit) {
        let pids: Vec<u32> = {
            let state = self.state();
            state.running.iter().filter(|(_, running)| *running == name).map(|(pid, _)| *pid).collect()
        };
        pids.into_iter().for_each(|pid| self.end(pid, exit.clone()));
    }

    /// Ends everything and begins another start of the machine.
    pub fn reboot(&self) {
        let mut state = self.state();
        state.boot += 1;
        state.running.clear();
        state.exits.clear();
        drop(state);
        self.ends.send_modify(|ends| *ends += 1);
    }

    /// From now on starting this service fails so; `None`: works.
    pub fn set_unstartable(&self, name: &str, error: Option<HostError>) {
        match error {
            Some(error) => self.state().unstartable.insert(name.to_owned(), error),
            None => self.state().unstartable.remove(name),
        };
    }

    /// From now on this service does not stop when asked to.
    pub fn set_stubborn(&self, name: &str) {
        self.state().stubborn.insert(name.to_owned());
    }

    /// Whether checks by a program end with 1 for this service.
    pub fn set_failing_checks(&self, name: &str, failing: bool) {
        let mut state = self.state();
        if failing {
            state.failing_checks.insert(name.to_owned());
        } else {
            state.failing_checks.remove(name);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, pid: u32, exit: Exit) {
        let mut state = self.state();
        if state.running.remove(&pid).is_some() {
            state.exits.insert(pid, exit);
        }
        drop(state);
        self.ends.send_modify(|ends| *ends += 1);
    }
}

impl State {
    fn boot_id(&self) -> String {
        format!("boot-{}", self.boot)
    }

    /// Whether it was started here in this start of the machine: each pid is its own start time.
    fn is_that(&self, process: &ProcessIdentity) -> bool {
        process.boot_id == self.boot_id() && process.start_time == u64::from(process.pid)
    }

    fn name_of(&self, process: &ProcessIdentity) -> Option<&String> {
        self.running.get(&process.pid).filter(|_| self.is_that(process))
    }
}

#[async_trait]
impl ServiceControl for MemoryServices {
    fn boot_id(&self) -> String {
        self.state().boot_id()
    }

    fn survivors(&self) -> Result<Vec<(ServiceName, ProcessIdentity)>, HostError> {
        let state = self.state();
        let identity = |pid: u32| ProcessIdentity { pid, boot_id: state.boot_id(), start_time: pid.into() };
        let running = state.running.iter();
        Ok(running.filter_map(|(pid, name)| Some((ServiceName::parse(name).ok()?, identity(*pid)))).collect())
    }

    async fn delete(&self, _: &ServiceName) -> Result<(), HostError> {
        Ok(())
    }

    async fn start(&self, service: &Service, journal: Journal<'_>) -> Result<ProcessIdentity, HostError> {
        let name = service.name.as_str();
        let process = {
            let mut state = self.state();
            if let Some(error) = state.unstartable.get(name) {
                return Err(error.clone());
            }
            state.last_pid += 1;
            ProcessIdentity { pid: state.last_pid, boot_id: state.boot_id(), start_time: state.last_pid.into() }
        };
        journal(&process)?;
        let mut state = self.state();
        state.running.insert(process.pid, name.to_owned());
        state.log.push(format!("start {name}"));
        Ok(process)
    }

    fn is_running(&self, process: &ProcessIdentity) -> bool {
        self.state().name_of(process).is_some()
    }

    async fn ended(&self, _: &ServiceName, process: &ProcessIdentity) -> Exit {
        let mut ends = self.ends.subscribe();
        while self.is_running(process) {
            // The sender lives as long as `self`.
            let _ = ends.changed().await;
        }
        let state = self.state();
        state.exits.get(&process.pid).filter(|_| state.is_that(process)).cloned().unwrap_or(Exit::Unknown)
    }

    fn request_stop(&self, _: &ServiceName, process: &ProcessIdentity) -> Result<(), HostError> {
        let obeys = {
            let mut state = self.state();
            let Some(name) = state.name_of(process).cloned() else { return Ok(()) };
            state.log.push(format!("stop {name}"));
            !state.stubborn.contains(&name)
        };
        if obeys {
            self.end(process.pid, Exit::Signal(15));
        }
        Ok(())
    }

    fn kill(&self, _: &ServiceName, process: &ProcessIdentity) -> Result<(), HostError> {
        {
            let mut state = self.state();
            let Some(name) = state.name_of(process).cloned() else { return Ok(()) };
            state.log.push(format!("kill {name}"));
        }
        self.end(process.pid, Exit::Signal(9));
        Ok(())
    }

    async fn check(&self, service: &Service, _: &[String]) -> Result<Exit, HostError> {
        Ok(Exit::Code(self.state().failing_checks.contains(service.name.as_str()).into()))
    }

    fn tend(&self, _: &ServiceName) {}
}
