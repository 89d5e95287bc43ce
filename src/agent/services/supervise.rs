//! The supervisor's task: carries out what [`super::step`] decides, and tells it what happened.
//! Does IO through `ServiceControl` and the store. Its end stops no service.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{AbortHandle, JoinError, JoinSet, spawn_blocking},
    time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use zeroize::Zeroizing;

use super::{
    Moment, ProbeKind, ServiceInputs, ServiceReports,
    probe::Prober,
    step::{Action, Event, Found, Supervisor},
};
use crate::{
    agent::{
        contents::Contents,
        host::{Credentials, HostError, ProcessIdentity, Reason, Running, ServiceControl},
        store::{Origin, ServiceRecord, Store, StoreError},
    },
    model::{Content, Service, ServiceName},
};

/// Between looks at the size of logs.
const TEND_EVERY: Duration = Duration::from_secs(60);
/// In seconds, for services of which nothing else is known.
const SURVIVORS_STOP_WITHIN: u32 = 30;
/// What is being started when the agent ends gets this long to be journaled and started.
const FINISH_WITHIN: Duration = Duration::from_secs(3);

/// Supervises until `shutdown`, or until all services are stopped once `machine_stops`. Fails only at the start, when the store does not say what runs: starting
/// anything then could start it twice.
pub async fn run(
    control: Arc<dyn ServiceControl>,
    store: Arc<dyn Store>,
    contents: Arc<dyn Contents>,
    mut inputs: watch::Receiver<Arc<ServiceInputs>>,
    reports: watch::Sender<Arc<ServiceReports>>,
    machine_stops: CancellationToken,
    shutdown: CancellationToken,
) -> Result<(), StoreError> {
    let began = Instant::now();
    let found = found(&*control, &*store)?;
    let (mut supervisor, actions) = Supervisor::new(control.boot_id(), control.is_managed(), found, Moment::ZERO);
    let mut hands = Hands::new(control, store, contents);
    hands.carry_out(actions, &supervisor).await;
    // The first inputs count as a change.
    inputs.mark_changed();
    let (mut inputs_live, mut stopping) = (true, false);
    let mut tend = interval_at(began + TEND_EVERY, TEND_EVERY);
    tend.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !(stopping && supervisor.is_at_rest()) {
        let tick = supervisor.next_tick(began.elapsed()).map(|moment| began + moment);
        let event = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            () = machine_stops.cancelled(), if !stopping => {
                info!("the machine shuts down; all services are stopped in order");
                stopping = true;
                Event::MachineStops
            }
            changed = inputs.changed(), if inputs_live => match changed {
                Ok(()) => Event::Inputs(inputs.borrow_and_update().clone()),
                Err(_) => {
                    inputs_live = false;
                    continue;
                }
            },
            event = hands.next_event() => event,
            () = sleep_until(tick.unwrap_or(began)), if tick.is_some() => Event::Tick,
            _ = tend.tick() => {
                hands.tend(supervisor.running());
                continue;
            }
        };
        log(&event);
        let actions = supervisor.step(event, began.elapsed());
        hands.carry_out(actions, &supervisor).await;
        if stopping {
            continue;
        }
        let now_reported = Arc::new(supervisor.reports());
        reports.send_if_modified(|reported| {
            let differs = **reported != *now_reported;
            *reported = now_reported;
            differs
        });
    }
    // A start cut off in the middle would count as a crash when the agent comes back.
    let finish = async {
        while let Some(event) = hands.next_start().await {
            let mut actions = supervisor.step(event, began.elapsed());
            actions.retain(|action| matches!(action, Action::Record(..)));
            hands.carry_out(actions, &supervisor).await;
        }
    };
    if timeout(FINISH_WITHIN, finish).await.is_err() {
        warn!("a service was still being started when the agent ended");
    }
    hands.drop_all().await;
    Ok(())
}

fn found(control: &dyn ServiceControl, store: &dyn Store) -> Result<Vec<Found>, StoreError> {
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

/// Carries actions out, each in a task of its own where it takes time.
struct Hands {
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
    fn new(control: Arc<dyn ServiceControl>, store: Arc<dyn Store>, contents: Arc<dyn Contents>) -> Self {
        let prober = Arc::new(Prober::new(control.clone()));
        let (starts, others, checks) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
        Self { control, store, contents, prober, starts, others, checks, checks_by_service: BTreeMap::new() }
    }

    async fn carry_out(&mut self, actions: Vec<Action>, supervisor: &Supervisor) {
        for action in actions {
            match action {
                Action::Record(id, record) => self.record(id, record).await,
                Action::Start(id, service, record) => {
                    info!(service = %service.name, "starts");
                    self.starts.spawn(start(self.control.clone(), self.store.clone(), id, service, record));
                }
                Action::Configure { id, service, record, anew } => {
                    let (control, store) = (self.control.clone(), self.store.clone());
                    self.others.spawn(configure(control, store, self.contents.clone(), id, service, record, anew));
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
                    warn!(service = id, pid = process.pid, "did not stop in time and is killed");
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

    async fn next_event(&mut self) -> Event {
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

    async fn next_start(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = event_of(self.starts.join_next().await?) {
                return Some(event);
            }
        }
    }

    fn tend(&mut self, names: Vec<ServiceName>) {
        let control = self.control.clone();
        self.others.spawn(async move {
            let tended = spawn_blocking(move || names.iter().for_each(|name| control.tend(name))).await;
            if let Err(error) = tended {
                error!(%error, "logs of services could not be looked at");
            }
            Event::Tick
        });
    }

    async fn drop_all(mut self) {
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

async fn start(
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
async fn configure(
    control: Arc<dyn ServiceControl>,
    store: Arc<dyn Store>,
    contents: Arc<dyn Contents>,
    id: String,
    service: Box<Service>,
    record: Option<Box<ServiceRecord>>,
    anew: bool,
) -> Event {
    let origin = match record {
        None => None,
        Some(record) => match journal_origin(&*control, store, &id, &service.name, *record).await {
            Ok(origin) => Some(origin),
            Err(error) => return Event::Configured(id, None, Err(error)),
        },
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
        let read = contents.open(&digest).map_err(|error| error.to_string());
        match read.and_then(|mut content| content.read_to_string(&mut text).map_err(|error| error.to_string())) {
            Ok(_) => Ok(Some(text)),
            Err(error) => Err(HostError::new(Reason::IoError, format!("read the password of {name}: {error}"))),
        }
    };
    blocking(read).await
}

async fn journal_origin(
    control: &dyn ServiceControl,
    store: Arc<dyn Store>,
    id: &str,
    name: &ServiceName,
    record: ServiceRecord,
) -> Result<Origin, HostError> {
    let origin = if control.exists(name).await? { Origin::Adopted } else { Origin::Created };
    let (id, record) = (id.to_owned(), ServiceRecord { origin, ..record });
    blocking(move || set_service(&*store, &id, Some(&record))).await?;
    Ok(origin)
}

/// `name` is that of a service which the machine is to forget too.
async fn forget(
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

fn set_service(store: &dyn Store, id: &str, record: Option<&ServiceRecord>) -> Result<(), HostError> {
    let not_kept = |StoreError(why): StoreError| HostError {
        reason: Reason::IoError,
        message: format!("keep what is known of the service {id} in the agent's store: {why}"),
    };
    store.set_service(id, record).map_err(not_kept)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HostError> + Send + 'static,
) -> Result<T, HostError> {
    let panicked = |error: JoinError| HostError { reason: Reason::IoError, message: error.to_string() };
    spawn_blocking(work).await.map_err(panicked)?
}

fn log(event: &Event) {
    match event {
        Event::Started(id, Ok(process)) => info!(service = id, pid = process.pid, "started"),
        Event::Started(id, Err(error)) => warn!(service = id, %error, "not started"),
        Event::Ended(id, process, exit) => info!(service = id, pid = process.pid, ?exit, "ended"),
        Event::Cleared(id, Err(error)) => warn!(service = id, %error, "left something that could not be ended"),
        Event::Forgotten(id, Err(error)) => warn!(service = id, %error, "could not be removed"),
        Event::Forgotten(id, Ok(())) => info!(service = id, "removed"),
        Event::Configured(id, Some(origin), Ok(_)) => info!(service = id, ?origin, "configured"),
        Event::Configured(id, _, Err(error)) => warn!(service = id, %error, "not configured"),
        Event::Paused(id, process, Err(error)) => warn!(service = id, pid = process.pid, %error, "refused"),
        Event::StopAsked(id, process, Err(error)) => {
            warn!(service = id, pid = process.pid, %error, "could not be asked to stop");
        }
        Event::Inputs(_)
        | Event::Configured(..)
        | Event::Paused(..)
        | Event::StopAsked(..)
        | Event::Cleared(..)
        | Event::Checked(..)
        | Event::MachineStops
        | Event::Tick => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{super::samples::service, *};
    use crate::{
        agent::{
            host::{Exit, memory_services::MemoryServices},
            store::{MemoryContents, MemoryStore},
        },
        model::ServicePhase,
    };

    struct Agent {
        inputs: watch::Sender<Arc<ServiceInputs>>,
        reports: watch::Receiver<Arc<ServiceReports>>,
        machine_stops: CancellationToken,
        shutdown: CancellationToken,
        task: tokio::task::JoinHandle<Result<(), StoreError>>,
    }

    fn supervise(control: &Arc<MemoryServices>, store: &Arc<MemoryStore>, inputs: ServiceInputs) -> Agent {
        let (inputs, receiver) = watch::channel(Arc::new(inputs));
        let (sender, reports) = watch::channel(Arc::default());
        let (machine_stops, shutdown) = (CancellationToken::new(), CancellationToken::new());
        let task = tokio::spawn(run(
            control.clone(),
            store.clone(),
            Arc::new(MemoryContents::default()),
            receiver,
            sender,
            machine_stops.clone(),
            shutdown.clone(),
        ));
        Agent { inputs, reports, machine_stops, shutdown, task }
    }

    impl Agent {
        async fn until(&mut self, wanted: impl FnMut(&Arc<ServiceReports>) -> bool) -> Arc<ServiceReports> {
            self.reports.wait_for(wanted).await.expect("the supervisor runs").clone()
        }

        async fn stop(self) {
            self.shutdown.cancel();
            self.task.await.expect("no panic").expect("no error");
        }
    }

    fn inputs(number: u64, services: Vec<Service>) -> ServiceInputs {
        ServiceInputs { number, known: true, services, ..ServiceInputs::default() }
    }

    fn db_and_app() -> Vec<Service> {
        let (mut app, db) = (service("app"), service("db"));
        app.depends_on = vec![db.name.clone()];
        vec![app, db]
    }

    #[tokio::test(start_paused = true)]
    async fn services_start_in_order_and_outlive_the_agent() {
        let (control, store) = (Arc::new(MemoryServices::default()), Arc::new(MemoryStore::default()));
        let mut agent = supervise(&control, &store, inputs(1, db_and_app()));
        let reports = agent.until(|reports| reports.services.iter().any(|s| s.ready && s.name == "app")).await;
        assert!(reports.carried_out && reports.answers == 1);
        assert_eq!(control.log(), ["start db", "start app"]);
        agent.stop().await;
        assert_eq!(control.running(), ["app", "db"]);

        let mut agent = supervise(&control, &store, inputs(7, db_and_app()));
        let reports = agent.until(|reports| reports.answers == 7).await;
        assert!(reports.services.iter().all(|s| s.ready && s.restarts == 0), "{reports:?}");
        agent.inputs.send_replace(Arc::new(inputs(8, Vec::new())));
        agent.until(|reports| reports.answers == 8 && reports.carried_out).await;
        agent.stop().await;
        assert_eq!(control.log(), ["start db", "start app", "stop app", "stop db"]);
        assert_eq!(store.services(), Ok(Vec::new()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_crashes_comes_back_after_its_delay() {
        let (control, store) = (Arc::new(MemoryServices::default()), Arc::new(MemoryStore::default()));
        let mut agent = supervise(&control, &store, inputs(1, vec![service("a")]));
        agent.until(|reports| reports.services.iter().any(|s| s.ready)).await;
        let crashed = Instant::now();
        control.crash("a", Exit::Code(3));
        let reports = agent.until(|reports| reports.services.iter().any(|s| !s.ready)).await;
        assert_eq!(reports.services[0].state, ServicePhase::BackingOff);
        assert_eq!(reports.services[0].message, "ended with code 3; is started again after 1 s");
        let reports = agent.until(|reports| reports.services.iter().any(|s| s.ready)).await;
        assert_eq!(reports.services[0].restarts, 1);
        assert_eq!(crashed.elapsed().as_secs(), 1);
        agent.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_store_was_lost_what_runs_is_restarted_and_not_started_twice() {
        let (control, store) = (Arc::new(MemoryServices::default()), Arc::new(MemoryStore::default()));
        let mut agent = supervise(&control, &store, inputs(1, db_and_app()));
        agent.until(|reports| reports.services.iter().any(|s| s.ready && s.name == "app")).await;
        agent.stop().await;
        let store = Arc::new(MemoryStore::damaged("lost"));
        let mut agent = supervise(&control, &store, inputs(1, db_and_app()));
        agent.until(|reports| reports.carried_out && reports.services.iter().all(|s| s.ready)).await;
        agent.stop().await;
        assert_eq!(control.log()[2..], ["stop app", "stop db", "start db", "start app"]);
        assert_eq!(control.running(), ["app", "db"]);
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_machine_stops_all_services_stop_in_order_and_the_agent_ends() {
        let (control, store) = (Arc::new(MemoryServices::default()), Arc::new(MemoryStore::default()));
        let mut agent = supervise(&control, &store, inputs(1, db_and_app()));
        agent.until(|reports| reports.services.iter().any(|s| s.ready && s.name == "app")).await;
        agent.machine_stops.cancel();
        agent.task.await.expect("no panic").expect("no error");
        assert_eq!(control.log()[2..], ["stop app", "stop db"]);
        assert!(agent.reports.borrow().services.iter().all(|s| s.ready), "what was last said stays");
        control.reboot();
        let mut agent = supervise(&control, &store, inputs(1, db_and_app()));
        agent.until(|reports| reports.services.iter().all(|s| s.ready && s.restarts == 0)).await;
        agent.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_does_not_stop_is_killed_in_the_end() {
        let (control, store) = (Arc::new(MemoryServices::default()), Arc::new(MemoryStore::default()));
        control.set_stubborn("a");
        let mut agent = supervise(&control, &store, inputs(1, vec![service("a")]));
        agent.until(|reports| reports.services.iter().any(|s| s.ready)).await;
        let asked = Instant::now();
        agent.inputs.send_replace(Arc::new(inputs(2, Vec::new())));
        agent.until(|reports| reports.answers == 2 && reports.carried_out).await;
        assert_eq!(control.log(), ["start a", "stop a", "kill a"]);
        assert_eq!(asked.elapsed().as_secs(), 30);
        agent.stop().await;
    }
}
