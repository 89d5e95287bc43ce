//! What is done to one service in several steps: started, configured, forgotten, each with its journal. Does IO.

use std::sync::Arc;

use tokio::task::{JoinError, spawn_blocking};
use zeroize::Zeroizing;

use super::super::step::Event;
use crate::{
    agent::{
        contents::Contents,
        host::{Credentials, HostError, ProcessIdentity, Reason, ServiceControl},
        store::{Origin, ServiceRecord, Store, StoreError},
    },
    model::{Content, Service, ServiceName},
};

/// The process is journaled before anything of it runs.
pub(super) async fn start(
    control: Arc<dyn ServiceControl>,
    store: Arc<dyn Store>,
    id: String,
    service: Box<Service>,
    record: Box<ServiceRecord>,
) -> Event {
    let journal = |process: &ProcessIdentity| {
        let record = ServiceRecord { process: Some(process.clone()), ..(*record).clone() };
        set_service(&*store, &id, Some(&record))
    };
    let started = control.start(&service, &journal).await;
    Event::Started(id, started)
}

/// A service is the agent's only if the journal said before that there was none.
pub(super) async fn configure(
    control: Arc<dyn ServiceControl>,
    store: Arc<dyn Store>,
    contents: Arc<dyn Contents>,
    id: String,
    service: Box<Service>,
    new: Option<(Box<ServiceRecord>, Option<HostError>)>,
    anew: bool,
) -> Event {
    let origin = match new {
        None => None,
        Some((record, not_adopted)) => {
            match journal_origin(&*control, store, &service.name, *record, not_adopted).await {
                Ok(origin) => Some(origin),
                Err(error) => return Event::Configured(id, None, Err(error)),
            }
        }
    };
    let configured = match password(contents, &service).await {
        Ok(password) => control.configure(&service, &Credentials { password, anew }).await,
        Err(error) => Err(error),
    };
    Event::Configured(id, origin, configured)
}

/// Of the service's account, if it has one.
async fn password(contents: Arc<dyn Contents>, service: &Service) -> Result<Option<Zeroizing<String>>, HostError> {
    let Some(Content { digest, .. }) = service.password else { return Ok(None) };
    let name = service.name.clone();
    let read = move || {
        if !contents.has(&digest) {
            let message = format!("the password of {name} has not come yet");
            return Err(HostError::new(Reason::AwaitsPassword, message));
        }
        let mut text = Zeroizing::new(String::new());
        let failed = |reason, error: &dyn std::fmt::Display| {
            HostError::new(reason, format!("read the password of {name}: {error}"))
        };
        let mut content = contents.open(&digest).map_err(|error| failed(error.reason, &error.message))?;
        content.read_to_string(&mut text).map_err(|error| failed(Reason::IoError, &error))?;
        Ok(Some(text))
    };
    blocking(read).await
}

async fn journal_origin(
    control: &dyn ServiceControl,
    store: Arc<dyn Store>,
    name: &ServiceName,
    record: ServiceRecord,
    not_adopted: Option<HostError>,
) -> Result<Origin, HostError> {
    let origin = if control.exists(name).await? { Origin::Adopted } else { Origin::Created };
    if let (Origin::Adopted, Some(refusal)) = (origin, not_adopted) {
        return Err(refusal);
    }
    let (id, record) = (name.identity(), ServiceRecord { origin, ..record });
    blocking(move || set_service(&*store, &id, Some(&record))).await?;
    Ok(origin)
}

/// `name` is that of a service which the machine is to forget too.
pub(super) async fn forget(
    control: Arc<dyn ServiceControl>,
    store: Arc<dyn Store>,
    id: String,
    name: Option<ServiceName>,
) -> Event {
    let deleted = match name {
        Some(name) => control.delete(&name).await,
        None => Ok(()),
    };
    let forgotten = match deleted {
        Ok(()) => {
            let key = id.clone();
            blocking(move || set_service(&*store, &key, None)).await
        }
        Err(error) => Err(error),
    };
    Event::Forgotten(id, forgotten)
}

pub(super) fn set_service(store: &dyn Store, id: &str, record: Option<&ServiceRecord>) -> Result<(), HostError> {
    let not_kept = |StoreError(why): StoreError| HostError {
        reason: Reason::IoError,
        message: format!("keep what is known of the service {id} in the agent's store: {why}"),
    };
    store.set_service(id, record).map_err(not_kept)
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HostError> + Send + 'static,
) -> Result<T, HostError> {
    let panicked = |error: JoinError| HostError { reason: Reason::IoError, message: error.to_string() };
    spawn_blocking(work).await.map_err(panicked)?
}
