//! What of the services runs when the agent starts, as the store and the machine have it. Does IO.

use std::collections::BTreeSet;

use tracing::warn;

use super::super::step::Found;
use crate::{
    agent::{
        host::{Running, ServiceControl},
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
        let running = running(control, &record)?;
        Ok(Found { id, record, running })
    };
    store.services()?.into_iter().map(found).collect()
}

/// What runs of a service: its process of before, or with a manager of the machine the one that it started.
fn running(control: &dyn ServiceControl, record: &ServiceRecord) -> Result<Option<Running>, StoreError> {
    match ServiceName::parse(&record.name) {
        Ok(name) if control.is_managed() => control.running(&name).map_err(|error| StoreError(error.message)),
        _ => {
            let process = record.process.clone().filter(|process| control.is_running(process));
            Ok(process.map(|process| Running { process, paused: false }))
        }
    }
}

/// A lost store must not have services started beside themselves. What they were started with is lost, so they
/// restart once it is known what they should be.
fn record_survivors(control: &dyn ServiceControl, store: &dyn Store) -> Result<(), StoreError> {
    let known: BTreeSet<String> = store.services()?.into_iter().map(|(id, _)| id).collect();
    let survivors = control.survivors().map_err(|error| StoreError(error.message))?;
    for (name, process) in survivors.into_iter().filter(|(name, _)| !known.contains(&name.identity())) {
        warn!(service = %name, pid = process.pid, "runs, though the store that was lost knew of it alone");
        let record = ServiceRecord {
            name: name.as_str().to_owned(),
            process: Some(process),
            fingerprint: String::new(),
            origin: Origin::Adopted,
            configuration: String::new(),
            outdated: false,
            restarts: 0,
            stop_timeout_seconds: SURVIVORS_STOP_WITHIN,
            stopping: false,
            ready: false,
            unexpected_ends: 0,
            boot_id: control.boot_id(),
        };
        store.set_service(&name.identity(), Some(&record))?;
    }
    Ok(())
}
