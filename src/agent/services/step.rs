//! The supervisor as a pure machine: events and the time come in, actions go out.
//! Every event ends in one settling of all services, so that nothing depends on what came before.
//! Does no IO and knows neither processes nor the store.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Moment, ProbeKind, ServiceInputs,
    order::{self, Units},
    settle,
    thresholds::Watcher,
    unit::{Cause, Down, Ended, HeldUp, Recorded, Retry, Run, Start, Target, Unit, Up, describe},
};
use crate::{
    agent::{
        host::{Configured, Exit, HostError, ProcessIdentity, Reason, Running},
        store::{Origin, ServiceRecord},
    },
    model::{Probe, Service, ServiceName, ServiceState},
};

/// Between tries to end what a process left, and to forget a service.
const RETRY: Moment = Moment::from_secs(5);
/// Longest wait between tries to start a service that cannot be started.
const LONGEST_RETRY: Moment = Moment::from_secs(60);

/// How long after the machine's start its manager gets for the services that it starts late: Windows takes two minutes
/// from the last that starts at once.
const LATE_START: Moment = Moment::from_secs(300);

/// All services and what they should be.
#[derive(Debug)]
pub struct Supervisor {
    pub(super) inputs: Arc<ServiceInputs>,
    pub(super) units: Units,
    pub(super) boot_id: String,
    /// Whether a manager of the machine keeps the services.
    pub(super) managed: bool,
    /// The machine shuts down: everything stops, and nothing else is done.
    pub(super) machine_stops: bool,
    late_start: Moment,
    watchers: u64,
}

/// A record of the store, as the agent starts.
#[derive(Debug, Clone)]
pub struct Found {
    /// `ServiceName::identity`.
    pub id: String,
    /// What the store says.
    pub record: ServiceRecord,
    /// Its process, if it runs: the one of the record, or with a manager of the machine maybe another.
    pub running: Option<Running>,
}

/// Something that happened. Services are named by `ServiceName::identity`.
#[derive(Debug, Clone)]
pub enum Event {
    /// What the services should be has changed.
    Inputs(Arc<ServiceInputs>),
    /// An [`Action::Configure`] ended; with it, who made the service, as far as the journal says.
    Configured(String, Option<Origin>, Result<Configured, HostError>),
    /// An [`Action::Start`] ended.
    Started(String, Result<ProcessIdentity, HostError>),
    /// An [`Action::Pause`] ended.
    Paused(String, ProcessIdentity, Result<(), HostError>),
    /// An [`Action::RequestStop`] was delivered, or not.
    StopAsked(String, ProcessIdentity, Result<(), HostError>),
    /// A process that was watched ended.
    Ended(String, ProcessIdentity, Exit),
    /// An [`Action::Clear`] ended.
    Cleared(String, Result<(), HostError>),
    /// An [`Action::Check`] ended, in failure with the problem. The number is its watcher's.
    Checked(String, ProbeKind, u64, Result<(), String>),
    /// An [`Action::Forget`] ended.
    Forgotten(String, Result<(), HostError>),
    /// The machine shuts down.
    MachineStops,
    /// Time has passed.
    Tick,
}

/// Something to do. Each is begun in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Keep what is known of a service. Being unable to is no reason to stop.
    Record(String, ServiceRecord),
    /// Tell the manager of the machine what the service should be. Answered by [`Event::Configured`].
    Configure {
        /// `ServiceName::identity`.
        id: String,
        /// What it should be.
        service: Box<Service>,
        /// Of a service that the store does not know: kept first, with who made it.
        record: Option<Box<ServiceRecord>>,
        /// Whether something of it changed since it was told last: then also what cannot be read back.
        anew: bool,
        /// Why it may not be taken over, should somebody else have made it.
        not_adopted: Option<HostError>,
    },
    /// Start it; the record, with the process filled in, is the journal's. Answered by [`Event::Started`].
    Start(String, Box<Service>, Box<ServiceRecord>),
    /// Wait for its end. Answered by [`Event::Ended`].
    Watch(String, ProcessIdentity),
    /// Pause it, or let it go on. Answered by [`Event::Paused`].
    Pause(String, ProcessIdentity, bool),
    /// Ask it to stop. Answered by [`Event::StopAsked`].
    RequestStop(String, ProcessIdentity),
    /// Kill it and what it started.
    Kill(String, ProcessIdentity),
    /// It has ended: kill what it started. Answered by [`Event::Cleared`].
    Clear(String, ProcessIdentity),
    /// Try a probe once. Answered by [`Event::Checked`].
    Check(String, ProbeKind, u64, Box<Service>, Box<Probe>),
    /// No check of this service matters any more.
    CancelChecks(String),
    /// Remove it from the store, and from the machine unless it is to be kept there. Answered by
    /// [`Event::Forgotten`].
    Forget {
        /// `ServiceName::identity`.
        id: String,
        /// As written.
        name: String,
        /// Whether the machine keeps it: the agent did not make it.
        keep: bool,
    },
}

impl Supervisor {
    /// Takes up what ran before.
    pub fn new(boot_id: String, managed: bool, found: Vec<Found>, now: Moment) -> (Self, Vec<Action>) {
        let (inputs, units) = (Arc::default(), Units::new());
        let late_start = Moment::ZERO;
        let mut supervisor = Self { inputs, units, boot_id, managed, machine_stops: false, late_start, watchers: 0 };
        let mut actions = Vec::new();
        for Found { id, record, running } in found {
            let unit = supervisor.take_up(&id, record, running, now, &mut actions);
            supervisor.units.insert(id, unit);
        }
        settle::settle(&mut supervisor, now, &mut actions);
        (supervisor, actions)
    }

    /// For a manager that starts some services late after the machine's start, which was this long ago: it comes first.
    pub fn machine_started(&mut self, ago: Moment, now: Moment) {
        self.late_start = if self.managed { now + LATE_START.saturating_sub(ago) } else { Moment::ZERO };
    }

    /// Takes an event, and says what is to be done.
    pub fn step(&mut self, event: Event, now: Moment) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Inputs(inputs) => self.take_inputs(inputs, now),
            Event::Configured(id, origin, outcome) => self.configured(&id, origin, outcome, now, &mut actions),
            Event::Started(id, outcome) => self.started(&id, outcome, now, &mut actions),
            Event::Paused(id, process, outcome) => self.paused(&id, &process, outcome, now),
            Event::StopAsked(id, process, outcome) => self.stop_asked(&id, &process, outcome, now),
            Event::Ended(id, process, exit) => self.ended(&id, &process, &exit, now, &mut actions),
            Event::Cleared(id, outcome) => self.cleared(&id, outcome, now),
            Event::Checked(id, kind, number, outcome) => self.checked(&id, kind, number, outcome, now),
            Event::Forgotten(id, outcome) => self.forgotten(&id, outcome, now),
            Event::MachineStops => self.machine_stops = true,
            Event::Tick => {}
        }
        settle::settle(self, now, &mut actions);
        actions
    }

    /// When the next [`Event::Tick`] is due; always after `now`.
    pub fn next_tick(&self, now: Moment) -> Option<Moment> {
        let of = |unit: &Unit| match &unit.run {
            Run::Up(up) => up.watchers().filter_map(Watcher::due).chain(up.pause_again_at()).min(),
            Run::Stopping { held_up: Some(HeldUp { again_at, .. }), .. } => Some(*again_at),
            Run::Stopping { kill_at, .. } => Some(*kill_at),
            Run::Clearing { retry: Retry::At(at, _), .. } | Run::Forgetting(Retry::At(at, _)) => Some(*at),
            Run::Down(down) => settle::start_time(unit, down),
            Run::Starting(_) | Run::Clearing { .. } | Run::Forgetting(_) => None,
        };
        let of = |unit: &Unit| of(unit).into_iter().chain(unit.configure_at().filter(|_| self.acts()));
        self.units.values().flat_map(of).filter(|moment| *moment > now).min()
    }

    /// Services that run as far as is known.
    pub fn running(&self) -> Vec<ServiceName> {
        let running = self.units.values().filter(|unit| unit.process().is_some());
        running.filter_map(|unit| ServiceName::parse(&unit.name).ok()).collect()
    }

    /// The name of a service as written.
    pub fn name(&self, id: &str) -> Option<ServiceName> {
        ServiceName::parse(&self.units.get(id)?.name).ok()
    }

    /// Whether no service runs any more, but for those that the machine's shutdown finds held up.
    pub fn is_at_rest(&self) -> bool {
        let held = if self.machine_stops { order::held_up(&self.units) } else { BTreeSet::new() };
        !self.units.iter().any(|(id, unit)| unit.is_alive() && !held.contains(id))
    }

    /// Whether anything may be started, stopped or removed.
    pub(super) fn acts(&self) -> bool {
        self.inputs.known && !self.inputs.changes_nothing() && !self.machine_stops
    }

    fn take_up(
        &mut self,
        id: &str,
        record: ServiceRecord,
        running: Option<Running>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) -> Unit {
        let mut unit = Unit::new(&record.name);
        let same_boot = record.boot_id == self.boot_id;
        unit.stop_timeout_seconds = record.stop_timeout_seconds;
        unit.fingerprint.clone_from(&record.fingerprint);
        unit.origin = Some(record.origin);
        unit.configuration.clone_from(&record.configuration);
        unit.outdated = record.outdated;
        unit.restarts = record.restarts;
        unit.unexpected_ends = if same_boot { record.unexpected_ends } else { 0 };
        if let Some(Running { process, .. }) = &running {
            actions.push(Action::Watch(id.to_owned(), process.clone()));
        }
        let is_that = running.as_ref().map(|running| &running.process) == record.process.as_ref();
        unit.run = match (running, record.process.clone()) {
            (Some(Running { process, .. }), _) if is_that && record.stopping => {
                actions.push(Action::RequestStop(id.to_owned(), process.clone()));
                let kill_at = now + Moment::from_secs(record.stop_timeout_seconds.into());
                Run::Stopping { process, kill_at, killed: false, cause: Cause::Asked, held_up: None }
            }
            (Some(Running { process, paused }), _) => {
                if !is_that && record.outdated {
                    // Its manager started it, with what is not known.
                    unit.fingerprint.clear();
                }
                Run::Up(Box::new(Up::new(process, paused, is_that && record.ready, now)))
            }
            (None, Some(process)) if process.boot_id == self.boot_id => {
                let why = "ended while the agent did not run".to_owned();
                let unexpectedly = Ended::Unexpectedly { why, at: now, lasted: Moment::ZERO };
                let ended = if record.stopping { Ended::AsAsked } else { unexpectedly };
                Run::Clearing { process, ended, retry: Retry::NotBegun }
            }
            (None, None) if unit.unexpected_ends > 0 => Run::Down(Down::Ended { at: now, why: "ended".to_owned() }),
            (None, _) => Run::Down(Down::AtRest),
        };
        unit.recorded = Recorded::As(Box::new(record));
        unit
    }

    fn take_inputs(&mut self, inputs: Arc<ServiceInputs>, now: Moment) {
        self.inputs = inputs.clone();
        let mut named = BTreeSet::new();
        let is_usable = inputs.policy.unusable().is_none();
        if inputs.known && !is_usable {
            // Its probes are those of before: what a document says anew may not be what is allowed.
            for service in &inputs.services {
                let unit = || Unit::new(service.name.as_str());
                self.units.entry(service.name.identity()).or_insert_with(unit);
            }
            self.units.values_mut().for_each(|unit| unit.target = Target::Unknown);
            return;
        }
        if inputs.known {
            for service in &inputs.services {
                let id = service.name.identity();
                let unit = self.units.entry(id.clone()).or_insert_with(|| Unit::new(service.name.as_str()));
                unit.wish(service, &inputs, self.managed);
                unit.not_before = if unit.starts_late() { self.late_start } else { Moment::ZERO };
                named.insert(id);
            }
        }
        for (id, unit) in &mut self.units {
            match named.contains(id) {
                true => {}
                false if inputs.known => unit.go(&inputs),
                false => unit.target = Target::Unknown,
            }
            watch(unit, &mut self.watchers, now);
        }
    }

    fn started(
        &mut self,
        id: &str,
        outcome: Result<ProcessIdentity, HostError>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(unit) = self.units.get_mut(id) else { return };
        let Run::Starting(Start { record, tries, after_end }) = unit.run.clone() else { return };
        match outcome {
            Ok(process) => {
                actions.push(Action::Watch(id.to_owned(), process.clone()));
                unit.fingerprint.clone_from(&record.fingerprint);
                unit.restarts = record.restarts;
                unit.outdated = false;
                unit.recorded = Recorded::As(Box::new(ServiceRecord { process: Some(process.clone()), ..*record }));
                unit.run = Run::Up(Box::new(Up::new(process, false, false, now)));
                watch(unit, &mut self.watchers, now);
            }
            Err(error) => {
                unit.recorded = Recorded::Unsure;
                let delay = Moment::from_secs(1 << tries.min(6)).min(LONGEST_RETRY);
                let start = Start { record, tries: tries.saturating_add(1), after_end };
                unit.run = Run::Down(Down::NotStarted { start, error, again_at: now + delay });
            }
        }
    }

    fn ended(&mut self, id: &str, process: &ProcessIdentity, exit: &Exit, now: Moment, actions: &mut Vec<Action>) {
        let Some(unit) = self.units.get_mut(id).filter(|unit| unit.process() == Some(process)) else { return };
        let ended = match &unit.run {
            Run::Up(up) => Ended::Unexpectedly { why: describe(exit), at: now, lasted: now.saturating_sub(up.since) },
            Run::Stopping { cause: Cause::Unhealthy { problem, lasted }, .. } => {
                let why = format!("was stopped as its liveness probe failed: {problem}");
                Ended::Unexpectedly { why, at: now, lasted: *lasted }
            }
            Run::Stopping { cause: Cause::Asked, .. } => Ended::AsAsked,
            Run::Down(_) | Run::Starting(_) | Run::Clearing { .. } | Run::Forgetting(_) => return,
        };
        actions.push(Action::CancelChecks(id.to_owned()));
        unit.run = Run::Clearing { process: process.clone(), ended, retry: Retry::NotBegun };
    }

    fn cleared(&mut self, id: &str, outcome: Result<(), HostError>, now: Moment) {
        let Some(unit) = self.units.get_mut(id) else { return };
        let Run::Clearing { ended, retry, .. } = &mut unit.run else { return };
        match (outcome, ended.clone()) {
            (Err(error), _) => *retry = Retry::At(now + RETRY, error),
            (Ok(()), Ended::AsAsked) => unit.run = Run::Down(Down::AtRest),
            (Ok(()), Ended::Unexpectedly { why, at, lasted }) => {
                let reset_after = unit.entry.as_ref().map(|service| service.recovery.reset_after_seconds);
                if reset_after.is_some_and(|seconds| lasted >= Moment::from_secs(seconds.into())) {
                    unit.unexpected_ends = 0;
                }
                unit.unexpected_ends = unit.unexpected_ends.saturating_add(1);
                unit.run = Run::Down(Down::Ended { at, why });
            }
        }
    }

    fn stop_asked(&mut self, id: &str, process: &ProcessIdentity, outcome: Result<(), HostError>, now: Moment) {
        let is_unmanaged = order::dependents_are_down(&self.units, id);
        let goes_on = self.acts() && !order::to_stop(&self.units).contains(id);
        let Some(unit) = self.units.get_mut(id) else { return };
        let Run::Stopping { process: stopping, kill_at, killed: false, cause, held_up } = &mut unit.run else { return };
        if stopping != process {
            return;
        }
        match outcome {
            // Those that depend on it go on: it ends alone, as by itself.
            Err(error) if error.reason == Reason::DependentServicesRunning && *cause != Cause::Asked => *kill_at = now,
            Err(error) if error.reason == Reason::DependentServicesRunning && goes_on => {
                unit.run = Run::Up(Box::new(Up::new(process.clone(), false, false, now)));
                self.watch(id, now);
            }
            Err(mut error) if error.reason == Reason::DependentServicesRunning => {
                if is_unmanaged {
                    error.message.push_str("; nothing of that is managed here");
                }
                *held_up = Some(HeldUp { error, again_at: now + RETRY });
            }
            // Killing is what is left, in its time.
            Ok(()) | Err(_) => {
                if held_up.take().is_some() {
                    *kill_at = now + Moment::from_secs(unit.stop_timeout_seconds.into());
                }
            }
        }
    }

    fn checked(&mut self, id: &str, kind: ProbeKind, number: u64, outcome: Result<(), String>, now: Moment) {
        let Some(Unit { run: Run::Up(up), .. }) = self.units.get_mut(id) else { return };
        let watcher = match kind {
            ProbeKind::Readiness => &mut up.readiness,
            ProbeKind::Liveness => &mut up.liveness,
        };
        if let Some(watcher) = watcher.as_mut().filter(|watcher| watcher.number == number) {
            watcher.take(outcome, now);
            up.was_ready |= up.is_ready();
        }
    }

    fn forgotten(&mut self, id: &str, outcome: Result<(), HostError>, now: Moment) {
        let Some(unit) = self.units.get_mut(id).filter(|unit| matches!(unit.run, Run::Forgetting(_))) else { return };
        match outcome {
            Err(error) => unit.run = Run::Forgetting(Retry::At(now + RETRY, error)),
            Ok(()) if unit.target == Target::Gone => {
                self.units.remove(id);
            }
            // Its entry came back meanwhile: it begins anew.
            Ok(()) => {
                let fresh = Unit::new(&unit.name);
                *unit = Unit {
                    entry: unit.entry.take(),
                    target: unit.target.clone(),
                    not_before: unit.not_before,
                    stop_timeout_seconds: unit.stop_timeout_seconds,
                    wanted_configuration: unit.wanted_configuration.clone(),
                    ..fresh
                };
            }
        }
    }
}

impl Supervisor {
    pub(super) fn watch(&mut self, id: &str, now: Moment) {
        if let Some(unit) = self.units.get_mut(id) {
            watch(unit, &mut self.watchers, now);
        }
    }
}

/// Gives a running service the watchers that its entry asks for; those of the same probe go on.
fn watch(unit: &mut Unit, watchers: &mut u64, now: Moment) {
    let Run::Up(up) = &mut unit.run else { return };
    let is_known = !matches!(unit.target, Target::Unknown | Target::Gone | Target::Refused(_));
    // One that is paused answers no probe.
    let entry = unit.entry.as_ref().filter(|service| is_known && service.state != ServiceState::Paused);
    let mut watcher = |current: &Option<Watcher>, probe: Option<&Probe>, passing: bool| match (current, probe) {
        (Some(current), Some(probe)) if current.probe == *probe => Some(current.clone()),
        (_, Some(probe)) => {
            *watchers += 1;
            Some(Watcher::new(probe.clone(), *watchers, passing, now))
        }
        (_, None) => None,
    };
    let was_ready = up.is_ready();
    let readiness = watcher(&up.readiness, entry.and_then(|e| e.readiness_probe.as_ref()), was_ready);
    let liveness = watcher(&up.liveness, entry.and_then(|e| e.liveness_probe.as_ref()), true);
    // Without a document nothing is known of its probes, and what was known stays.
    up.otherwise_ready = was_ready || entry.is_some_and(|e| e.readiness_probe.is_none());
    (up.readiness, up.liveness) = (readiness, liveness);
    up.was_ready |= up.is_ready();
}
