//! Carries out the supervisor's actions, and tells as an event how each ended. Does IO; decides nothing.

use std::{collections::BTreeMap, sync::Arc};

use tokio::task::{AbortHandle, JoinError, JoinSet, spawn_blocking};
use tracing::{error, info, warn};

use super::{
    super::{
        ProbeKind,
        probe::Prober,
        step::{Action, Event, Supervisor},
    },
    deeds::{blocking, configure, forget, set_service, start},
};
use crate::{
    agent::{
        contents::Contents,
        host::ServiceControl,
        store::{ServiceRecord, Store},
    },
    model::ServiceName,
};

/// Carries actions out, each in a task of its own where it takes time.
pub(super) struct Hands {
    control: Arc<dyn ServiceControl>,
    store: Arc<dyn Store>,
    contents: Arc<dyn Contents>,
    prober: Arc<Prober>,
    starts: JoinSet<Event>,
    others: JoinSet<Event>,
    /// At most two for each service.
    checks: JoinSet<Event>,
    checks_by_service: BTreeMap<(String, ProbeKind), AbortHandle>,
}

impl Hands {
    pub(super) fn new(control: Arc<dyn ServiceControl>, store: Arc<dyn Store>, contents: Arc<dyn Contents>) -> Self {
        let prober = Arc::new(Prober::new(control.clone()));
        let (starts, others, checks) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
        Self { control, store, contents, prober, starts, others, checks, checks_by_service: BTreeMap::new() }
    }

    /// Begins each, in this order; what is recorded is kept before the next begins.
    pub(super) async fn carry_out(&mut self, actions: Vec<Action>, supervisor: &Supervisor) {
        for action in actions {
            match action {
                Action::Record(id, record) => self.record(id, record).await,
                Action::Start(id, service, record) => {
                    info!(service = %service.name, "starts");
                    self.starts.spawn(start(self.control.clone(), self.store.clone(), id, service, record));
                }
                Action::Configure { id, service, record, anew, not_adopted } => {
                    let (control, store) = (self.control.clone(), self.store.clone());
                    let new = record.map(|record| (record, not_adopted));
                    self.others.spawn(configure(control, store, self.contents.clone(), id, service, new, anew));
                }
                Action::Watch(id, process) => {
                    let Some(name) = supervisor.name(&id) else { continue };
                    let control = self.control.clone();
                    self.others.spawn(async move {
                        let exit = control.ended(&name, &process).await;
                        Event::Ended(id, process, exit)
                    });
                }
                Action::Pause(id, process, paused) => {
                    info!(service = id, pid = process.pid, paused, "is asked to pause or go on");
                    let Some(name) = supervisor.name(&id) else { continue };
                    let control = self.control.clone();
                    self.others.spawn(async move {
                        let outcome = control.pause(&name, &process, paused).await;
                        Event::Paused(id, process, outcome)
                    });
                }
                Action::RequestStop(id, process) => {
                    info!(service = id, pid = process.pid, "is asked to stop");
                    let Some(name) = supervisor.name(&id) else { continue };
                    let (control, of) = (self.control.clone(), process.clone());
                    self.others.spawn(async move {
                        let asked = blocking(move || control.request_stop(&name, &of)).await;
                        Event::StopAsked(id, process, asked)
                    });
                }
                Action::Kill(id, process) => {
                    warn!(service = id, pid = process.pid, "does not stop and is killed");
                    let Some(name) = supervisor.name(&id) else { continue };
                    let control = self.control.clone();
                    self.others.spawn(async move {
                        if let Err(error) = blocking(move || control.kill(&name, &process)).await {
                            warn!(service = id, %error, "could not be killed");
                        }
                        Event::Tick
                    });
                }
                Action::Clear(id, process) => {
                    let Some(name) = supervisor.name(&id) else { continue };
                    let control = self.control.clone();
                    self.others.spawn(async move {
                        Event::Cleared(id, blocking(move || control.kill(&name, &process)).await)
                    });
                }
                Action::Check(id, kind, number, service, probe) => {
                    let (prober, key) = (self.prober.clone(), (id.clone(), kind));
                    let task = self.checks.spawn(async move {
                        let outcome = prober.check(&service, &probe).await;
                        Event::Checked(id, kind, number, outcome)
                    });
                    self.checks_by_service.insert(key, task);
                }
                Action::CancelChecks(id) => {
                    for kind in [ProbeKind::Readiness, ProbeKind::Liveness] {
                        if let Some(task) = self.checks_by_service.remove(&(id.clone(), kind)) {
                            task.abort();
                        }
                    }
                }
                Action::Forget { id, name, keep } => {
                    let name = ServiceName::parse(&name).ok().filter(|_| !keep);
                    self.others.spawn(forget(self.control.clone(), self.store.clone(), id, name));
                }
            }
        }
    }

    async fn record(&self, id: String, record: ServiceRecord) {
        let (store, name) = (self.store.clone(), record.name.clone());
        if let Err(error) = blocking(move || set_service(&*store, &id, Some(&record))).await {
            error!(service = name, %error, "what is known of it could not be kept");
        }
    }

    /// Pending while nothing is under way.
    pub(super) async fn next_event(&mut self) -> Event {
        loop {
            let ended = tokio::select! {
                Some(ended) = self.starts.join_next() => ended,
                Some(ended) = self.others.join_next() => ended,
                Some(ended) = self.checks.join_next() => ended,
                else => std::future::pending().await,
            };
            if let Some(event) = event_of(ended) {
                return event;
            }
        }
    }

    /// `None` when nothing is being started.
    pub(super) async fn next_start(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = event_of(self.starts.join_next().await?) {
                return Some(event);
            }
        }
    }

    /// Keeps logs of these services from growing without end.
    pub(super) fn tend(&mut self, names: Vec<ServiceName>) {
        let control = self.control.clone();
        self.others.spawn(async move {
            let tended = spawn_blocking(move || names.iter().for_each(|name| control.tend(name))).await;
            if let Err(error) = tended {
                error!(%error, "logs of services could not be looked at");
            }
            Event::Tick
        });
    }

    /// Leaves what is under way as it is.
    pub(super) async fn drop_all(mut self) {
        self.starts.shutdown().await;
        self.checks.shutdown().await;
        self.others.shutdown().await;
    }
}

/// `None` for a check that was cancelled.
fn event_of(ended: Result<Event, JoinError>) -> Option<Event> {
    ended
        .inspect_err(|error| {
            if !error.is_cancelled() {
                error!(%error, "a task of the supervisor panicked")
            }
        })
        .ok()
}
