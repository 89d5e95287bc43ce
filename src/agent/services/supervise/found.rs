//! What of the services runs when the agent starts, as the store and the machine have it. Does IO.

use std::collections::BTreeSet;

use tracing::warn;

use super::super::step::Found;
use crate::{
    agent::{
        host::{ProcessIdentity, Running, ServiceControl},
        store::{Origin, ServiceRecord, Store, StoreError},
    },
    model::ServiceName,
};

/// In seconds, for services of which nothing else is known.
const SURVIVORS_STOP_WITHIN: u32 = 30;

/// Every service that the store knows.
pub(super) fn found(control: &dyn ServiceControl, store: &dyn Store) -> Result<Vec<Found>, StoreError> {
    if store.damage().is_some() {
        record_survivors(control, store)?;
    }
    let found = |(id, record): (String, ServiceRecord)| {
        let running = running(control, &record);
        Found { id, record, running }
    };
    Ok(store.services()?.into_iter().map(found).collect())
}

/// What runs of a service: its process of before, or with a manager of the machine the one that it started. A manager
/// that does not say is asked again when the service is configured, and starts none twice; until then what was known
/// to run is taken to.
fn running(control: &dyn ServiceControl, record: &ServiceRecord) -> Option<Running> {
    let of_before = || record.process.clone().filter(|process| control.is_running(process));
    let of_before = || of_before().map(|process| Running { process, paused: false });
    match ServiceName::parse(&record.name) {
        Ok(name) if control.is_managed() => control.running(&name).unwrap_or_else(|error| {
            warn!(service = record.name, %error, "whether it runs is not known");
            of_before()
        }),
        _ => of_before(),
    }
}

/// A lost store must not have services started beside themselves. What they were started with is lost, so they
/// restart once it is known what they should be.
fn record_survivors(control: &dyn ServiceControl, store: &dyn Store) -> Result<(), StoreError> {
    let known: BTreeSet<String> = store.services()?.into_iter().map(|(id, _)| id).collect();
    let survivors = control.survivors().map_err(|error| StoreError(error.message))?;
    for (name, process) in survivors.into_iter().filter(|(name, _)| !known.contains(&name.identity())) {
        warn!(service = %name, pid = process.pid, "runs, though the store that was lost knew of it alone");
        let record = survivor(name.as_str().to_owned(), Some(process), control.boot_id());
        store.set_service(&name.identity(), Some(&record))?;
    }
    Ok(())
}

/// Of which nothing else is known.
fn survivor(name: String, process: Option<ProcessIdentity>, boot_id: String) -> ServiceRecord {
    ServiceRecord {
        name,
        process,
        fingerprint: String::new(),
        origin: Origin::Adopted,
        configuration: String::new(),
        outdated: false,
        restarts: 0,
        stop_timeout_seconds: SURVIVORS_STOP_WITHIN,
        stopping: false,
        ready: false,
        unexpected_ends: 0,
        boot_id,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;

    use super::*;
    use crate::{
        agent::{
            host::{Exit, HostError, Journal, Reason},
            store::MemoryStore,
        },
        model::Service,
    };

    /// A manager that says nothing of its services.
    struct Silent;

    fn silent<T>() -> Result<T, HostError> {
        Err(HostError::new(Reason::PermissionDenied, "look whether it runs: access is denied (error 5)"))
    }

    #[async_trait]
    impl ServiceControl for Silent {
        fn boot_id(&self) -> String {
            "boot-0".to_owned()
        }
        fn survivors(&self) -> Result<Vec<(ServiceName, ProcessIdentity)>, HostError> {
            Ok(Vec::new())
        }
        fn is_managed(&self) -> bool {
            true
        }
        fn running(&self, _: &ServiceName) -> Result<Option<Running>, HostError> {
            silent()
        }
        async fn delete(&self, _: &ServiceName) -> Result<(), HostError> {
            silent()
        }
        async fn start(&self, _: &Service, _: Journal<'_>) -> Result<ProcessIdentity, HostError> {
            silent()
        }
        fn is_running(&self, process: &ProcessIdentity) -> bool {
            process.pid == 7
        }
        async fn ended(&self, _: &ServiceName, _: &ProcessIdentity) -> Exit {
            Exit::Unknown
        }
        fn request_stop(&self, _: &ServiceName, _: &ProcessIdentity) -> Result<(), HostError> {
            silent()
        }
        fn kill(&self, _: &ServiceName, _: &ProcessIdentity) -> Result<(), HostError> {
            silent()
        }
        async fn check(&self, _: &Service, _: &[String]) -> Result<Exit, HostError> {
            silent()
        }
        fn tend(&self, _: &ServiceName) {}
    }

    #[test]
    fn services_that_the_manager_says_nothing_of_are_what_the_store_knows() {
        let store = Arc::new(MemoryStore::default());
        let process = |pid| ProcessIdentity { pid, boot_id: "boot-0".into(), start_time: 1 };
        for (name, pid) in [("runs", 7), ("ended", 8)] {
            let record = ServiceRecord { process: Some(process(pid)), ..survivor(name.into(), None, "boot-0".into()) };
            store.set_service(name, Some(&record)).expect("kept");
        }
        let found = found(&Silent, &*store).expect("no error of the store's");
        let running: Vec<(&str, bool)> = found.iter().map(|f| (f.id.as_str(), f.running.is_some())).collect();
        assert_eq!(running, [("ended", false), ("runs", true)]);
    }
}
