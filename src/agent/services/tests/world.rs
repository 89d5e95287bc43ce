//! A machine and a store as the supervisor's actions meet them, one small step at a time, so that an agent can
//! be cut off between any two. Asserts at every step what must never happen.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::super::{
    Moment, ProbeKind, ServiceInputs,
    step::{Action, Event, Found, Supervisor},
};
use crate::{
    agent::{
        host::{Configured, Exit, HostError, ProcessIdentity, Reason, Running},
        store::{Origin, ServiceRecord},
    },
    model::{Service, StartMode},
};

pub(super) struct World {
    agent: Option<Supervisor>,
    /// What a manager of the machine keeps, where there is one.
    pub(super) managed: Option<BTreeMap<String, Kept>>,
    /// Services that cannot be paused.
    pub(super) refusing: BTreeSet<String>,
    /// Services that others keep from stopping.
    pub(super) held_up: BTreeSet<String>,
    /// Services that the manager takes no configuration of.
    pub(super) unconfigurable: BTreeSet<String>,
    inputs: Arc<ServiceInputs>,
    pub(super) now: Moment,
    /// Since the machine's start, when the agent starts.
    pub(super) up_for: Moment,
    pub(super) store: BTreeMap<String, ServiceRecord>,
    processes: BTreeMap<u32, Process>,
    boot: u32,
    last_pid: u32,
    pending: Vec<Pending>,
    /// Actions until the agent is cut off.
    fuse: Option<usize>,
    /// What was done, in words.
    pub(super) log: Vec<String>,
}

/// A service as its manager has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) command: Vec<String>,
    pub(super) display_name: String,
    /// As its manager was told: it stops none of these while this runs.
    depends_on: BTreeSet<String>,
    starts_by_itself: bool,
    /// Whether the agent made it.
    is_ours: bool,
}

#[derive(Debug, Clone)]
struct Process {
    id: String,
    command: Vec<String>,
    state: State,
    asked: bool,
    stubborn: bool,
    has_been_ready: bool,
    is_unhealthy: bool,
    paused: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The launcher waits.
    Launching,
    Running,
    /// Ended, with something left of it.
    Ended,
}

#[derive(Debug, Clone)]
enum Pending {
    Configure(String, Box<Service>, Option<Box<ServiceRecord>>, Option<HostError>),
    Told(String, Box<Service>, Option<Origin>),
    Answer(String, Option<Origin>, Configured),
    Pause(String, ProcessIdentity, bool),
    Asked(String, ProcessIdentity, Result<(), HostError>),
    Launch(String, Box<Service>, Box<ServiceRecord>),
    Journal(String, Box<ServiceRecord>, u32),
    Go(String, ProcessIdentity),
    Watch(String, ProcessIdentity),
    Kill(ProcessIdentity),
    Clear(String, ProcessIdentity),
    Check(String, ProbeKind, u64, u32),
    Forget(String, bool),
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(None)
    }

    /// A machine whose manager keeps services.
    pub(super) fn managed() -> Self {
        Self::with(Some(BTreeMap::new()))
    }

    fn with(managed: Option<BTreeMap<String, Kept>>) -> Self {
        let mut world = Self {
            agent: None,
            managed,
            refusing: BTreeSet::new(),
            held_up: BTreeSet::new(),
            unconfigurable: BTreeSet::new(),
            inputs: Arc::default(),
            now: Moment::ZERO,
            up_for: Moment::MAX,
            store: BTreeMap::new(),
            processes: BTreeMap::new(),
            boot: 0,
            last_pid: 0,
            pending: Vec::new(),
            fuse: None,
            log: Vec::new(),
        };
        world.begin();
        world
    }

    pub(super) fn agent(&self) -> &Supervisor {
        self.agent.as_ref().expect("an agent")
    }

    pub(super) fn set(&mut self, inputs: ServiceInputs) {
        self.inputs = Arc::new(ServiceInputs { number: self.inputs.number + 1, ..inputs });
        self.tell(Event::Inputs(self.inputs.clone()));
    }

    pub(super) fn advance(&mut self, by: Moment) {
        self.now += by;
        self.tell(Event::Tick);
    }

    /// Cuts the agent off after this many more actions.
    pub(super) fn light_fuse(&mut self, actions: usize) {
        self.fuse = Some(actions);
    }

    pub(super) fn put_out_fuse(&mut self) {
        self.fuse = None;
    }

    /// Kill -9 of the agent, and its next start.
    pub(super) fn crash(&mut self) {
        self.pending.clear();
        // A launcher whose agent is gone ends, and nothing ran.
        self.processes.retain(|_, process| process.state != State::Launching);
        self.log.push("crash".into());
        self.begin();
    }

    pub(super) fn reboot(&mut self) {
        self.boot += 1;
        self.processes.clear();
        let kept = self.managed.clone().unwrap_or_default();
        for (id, kept) in kept.into_iter().filter(|(_, kept)| kept.starts_by_itself) {
            self.run(&id, kept.command);
        }
        self.crash();
    }

    /// Somebody else makes a service, before the agent does.
    pub(super) fn install(&mut self, id: &str, command: &[&str]) {
        let command: Vec<String> = command.iter().map(ToString::to_string).collect();
        let (display_name, depends_on) = (id.to_owned(), BTreeSet::new());
        let kept = Kept { command, display_name, depends_on, starts_by_itself: false, is_ours: false };
        self.managed.as_mut().expect("a manager").insert(id.to_owned(), kept);
    }

    /// Somebody else changes a service.
    pub(super) fn tamper(&mut self, id: &str, command: &[&str]) {
        let kept = self.managed.as_mut().and_then(|kept| kept.get_mut(id)).expect("known to the manager");
        kept.command = command.iter().map(ToString::to_string).collect();
    }

    /// Somebody else, or the manager, starts a service.
    pub(super) fn start_by_hand(&mut self, id: &str) {
        let command = self.kept(id).command;
        self.run(id, command);
    }

    pub(super) fn kept(&self, id: &str) -> Kept {
        self.managed.as_ref().and_then(|kept| kept.get(id)).cloned().expect("known to the manager")
    }

    pub(super) fn is_kept(&self, id: &str) -> bool {
        self.managed.as_ref().is_some_and(|kept| kept.contains_key(id))
    }

    /// Whether it was there before the agent.
    pub(super) fn is_foreign(&self, id: &str) -> bool {
        self.managed.as_ref().and_then(|kept| kept.get(id)).is_some_and(|kept| !kept.is_ours)
    }

    /// What its manager does not stop it for: somebody else's service, or one that it was told of.
    pub(super) fn is_held_up_by(&self, id: &str) -> Option<String> {
        let depends = |(other, kept): (&String, &Kept)| {
            (kept.depends_on.contains(id) && self.running_now(other).is_some()).then(|| other.clone())
        };
        let known = self.managed.as_ref().and_then(|kept| kept.iter().find_map(depends));
        self.held_up.contains(id).then(|| "x".to_owned()).or(known)
    }

    pub(super) fn is_paused(&self, id: &str) -> bool {
        self.processes.values().any(|process| process.id == id && process.paused)
    }

    fn run(&mut self, id: &str, command: Vec<String>) -> u32 {
        self.last_pid += 1;
        let unprobed = self.inputs.services.iter().any(|s| s.name.identity() == id && s.readiness_probe.is_none());
        let running = Process {
            id: id.to_owned(),
            command,
            state: State::Running,
            asked: false,
            stubborn: false,
            has_been_ready: unprobed,
            is_unhealthy: false,
            paused: false,
        };
        self.processes.insert(self.last_pid, running);
        self.last_pid
    }

    fn running_now(&self, id: &str) -> Option<Running> {
        let (pid, process) = self.processes.iter().find(|(_, p)| p.id == id && p.state == State::Running)?;
        let identity = ProcessIdentity { pid: *pid, boot_id: self.boot_id(), start_time: u64::from(*pid) };
        Some(Running { process: identity, paused: process.paused })
    }

    /// A process of this service ends by itself.
    pub(super) fn exit(&mut self, id: &str) {
        let running = |process: &&mut Process| process.id == id && process.state == State::Running;
        if let Some(process) = self.processes.values_mut().find(running) {
            process.state = State::Ended;
        }
    }

    pub(super) fn make_stubborn(&mut self, id: &str) {
        self.processes.values_mut().filter(|process| process.id == id).for_each(|process| process.stubborn = true);
    }

    /// Commands of the processes of a service.
    pub(super) fn running(&self, id: &str) -> Vec<&[String]> {
        let of = |process: &&Process| process.id == id && process.state == State::Running;
        self.processes.values().filter(of).map(|process| process.command.as_slice()).collect()
    }

    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Does one step of something that is under way. `passes` is what a check comes to. False if it waits.
    pub(super) fn deliver(&mut self, index: usize, passes: impl Fn(&str, ProbeKind) -> bool) -> bool {
        let Some(pending) = self.pending.get(index).cloned() else { return false };
        if let Pending::Watch(_, process) = &pending
            && self.is_running(process)
        {
            return false;
        }
        self.pending.remove(index);
        match pending {
            Pending::Configure(id, service, record, not_adopted) => {
                let origin = if self.is_kept(&id) { Origin::Adopted } else { Origin::Created };
                if let (Some(_), Origin::Adopted, Some(refusal)) = (&record, origin, not_adopted) {
                    self.tell(Event::Configured(id, None, Err(refusal)));
                    return true;
                }
                let origin = record.map(|record| {
                    self.store.insert(id.clone(), ServiceRecord { origin, ..*record });
                    origin
                });
                self.pending.push(Pending::Told(id, service, origin));
            }
            Pending::Told(id, service, origin) => {
                if self.unconfigurable.contains(&id) {
                    let error = HostError::new(Reason::UnknownAccount, format!("configure {id}: no such account"));
                    self.tell(Event::Configured(id, origin, Err(error)));
                    return true;
                }
                let running = self.running_now(&id);
                let starts_by_itself = service.start_mode == StartMode::Automatic && service.depends_on.is_empty();
                let is_ours = self.store[&id].origin == Origin::Created;
                let (command, display_name) = (service.command.clone(), service.display_name.clone());
                let depends_on = service.depends_on.iter().map(|name| name.identity()).collect();
                let kept = Kept { command, display_name, depends_on, starts_by_itself, is_ours };
                let before = self.managed.as_mut().expect("a manager").insert(id.clone(), kept);
                let changed = before.is_some_and(|before| before.command != service.command);
                self.pending.push(Pending::Answer(id, origin, Configured { changed, running }));
            }
            Pending::Answer(id, origin, configured) => self.tell(Event::Configured(id, origin, Ok(configured))),
            Pending::Asked(id, process, outcome) => self.tell(Event::StopAsked(id, process, outcome)),
            Pending::Pause(id, process, paused) => {
                let refused =
                    || HostError::new(Reason::Refused, format!("pause {id}: it does not accept being paused"));
                let outcome = if paused && self.refusing.contains(&id) { Err(refused()) } else { Ok(()) };
                if let Some(running) = self.processes.get_mut(&process.pid).filter(|_| outcome.is_ok()) {
                    running.paused = paused;
                    self.log.push(format!("{} {id}", if paused { "pause" } else { "continue" }));
                }
                self.tell(Event::Paused(id, process, outcome));
            }
            Pending::Launch(id, service, record) if self.managed.is_some() => {
                assert!(self.is_kept(&id), "{id} starts unknown to its manager");
                let pid = match self.running_now(&id) {
                    Some(running) => running.process.pid,
                    None => {
                        self.log.push(format!("start {id}"));
                        let command = self.kept(&id).command;
                        assert_eq!(command, service.command, "{id} starts with an old configuration");
                        self.run(&id, command)
                    }
                };
                self.pending.push(Pending::Journal(id, record, pid));
            }
            Pending::Launch(id, service, record) => {
                self.last_pid += 1;
                let launching = Process {
                    id: id.clone(),
                    command: service.command.clone(),
                    state: State::Launching,
                    asked: false,
                    stubborn: false,
                    has_been_ready: service.readiness_probe.is_none(),
                    is_unhealthy: false,
                    paused: false,
                };
                self.processes.insert(self.last_pid, launching);
                self.pending.push(Pending::Journal(id, record, self.last_pid));
            }
            Pending::Journal(id, record, pid) => {
                let process = ProcessIdentity { pid, boot_id: self.boot_id(), start_time: pid.into() };
                self.store.insert(id.clone(), ServiceRecord { process: Some(process.clone()), ..*record });
                self.pending.push(Pending::Go(id, process));
            }
            Pending::Go(id, process) if self.managed.is_some() => self.tell(Event::Started(id, Ok(process))),
            Pending::Go(id, process) => {
                self.assert_alone(&id, process.pid);
                self.log.push(format!("start {id}"));
                if let Some(launched) = self.processes.get_mut(&process.pid) {
                    launched.state = State::Running;
                }
                self.tell(Event::Started(id, Ok(process)));
            }
            Pending::Watch(id, process) => self.tell(Event::Ended(id, process, Exit::Code(1))),
            Pending::Kill(process) => {
                if self.is_that(&process)
                    && let Some(killed) = self.processes.get_mut(&process.pid)
                {
                    self.log.push(format!("kill {}", killed.id));
                    killed.state = State::Ended;
                }
            }
            Pending::Clear(id, process) => {
                if self.is_that(&process) {
                    self.processes.remove(&process.pid);
                }
                self.tell(Event::Cleared(id, Ok(())));
            }
            Pending::Check(id, kind, number, pid) => {
                let passed = passes(&id, kind);
                if let Some(checked) = self.processes.get_mut(&pid) {
                    checked.has_been_ready |= passed && kind == ProbeKind::Readiness;
                    checked.is_unhealthy |= !passed && kind == ProbeKind::Liveness;
                }
                let outcome = if passed { Ok(()) } else { Err("refused".to_owned()) };
                self.tell(Event::Checked(id, kind, number, outcome));
            }
            Pending::Forget(id, keep) => {
                if let Some(kept) = self.managed.as_mut().filter(|_| !keep) {
                    assert!(kept.remove(&id).is_none_or(|kept| kept.is_ours), "{id} is deleted, and was not ours");
                }
                self.store.remove(&id);
                self.tell(Event::Forgotten(id, Ok(())));
            }
        }
        true
    }

    /// Fails the start that is under way instead of going on with it.
    pub(super) fn fail_start(&mut self, id: &str) {
        let is_start = |pending: &Pending| match pending {
            Pending::Launch(of, ..) => of == id,
            Pending::Journal(of, ..) | Pending::Go(of, _) => of == id && self.managed.is_none(),
            _ => false,
        };
        let Some(index) = self.pending.iter().position(is_start) else { return };
        self.pending.remove(index);
        self.processes.retain(|_, process| process.id != id || process.state != State::Launching);
        let error = HostError { reason: Reason::NotExecutable, message: "start /bin/x: no such file".into() };
        self.tell(Event::Started(id.to_owned(), Err(error)));
    }

    /// Lets everything go on for as long as any delay here lasts, with all checks passing.
    pub(super) fn come_to_rest(&mut self) {
        let until = self.now + Moment::from_secs(300);
        loop {
            let index = (0..self.pending.len()).find(|index| self.can_go_on(*index));
            if let Some(index) = index {
                self.deliver(index, |_, _| true);
            } else if self.now >= until {
                return;
            } else {
                self.now = self.agent().next_tick(self.now).unwrap_or(until);
                self.tell(Event::Tick);
            }
        }
    }

    fn can_go_on(&self, index: usize) -> bool {
        !matches!(&self.pending[index], Pending::Watch(_, process) if self.is_running(process))
    }

    pub(super) fn say(&mut self, event: Event) {
        self.tell(event);
    }

    fn boot_id(&self) -> String {
        format!("boot-{}", self.boot)
    }

    fn is_that(&self, process: &ProcessIdentity) -> bool {
        process.boot_id == self.boot_id() && process.start_time == u64::from(process.pid)
    }

    fn is_running(&self, process: &ProcessIdentity) -> bool {
        let runs = self.processes.get(&process.pid).is_some_and(|process| process.state == State::Running);
        runs && self.is_that(process)
    }

    fn begin(&mut self) {
        let found = |(id, record): (&String, &ServiceRecord)| {
            let process = record.process.clone().filter(|process| self.is_running(process));
            let running = match self.managed {
                Some(_) => self.running_now(id),
                None => process.map(|process| Running { process, paused: false }),
            };
            Found { id: id.clone(), record: record.clone(), running }
        };
        let found: Vec<Found> = self.store.iter().map(found).collect();
        let (mut agent, actions) = Supervisor::new(self.boot_id(), self.managed.is_some(), found, self.now);
        agent.machine_started(self.up_for, self.now);
        self.agent = Some(agent);
        if self.carry_out(actions) {
            self.tell(Event::Inputs(self.inputs.clone()));
        }
    }

    fn tell(&mut self, event: Event) {
        // A service whose entry has no probe is ready while it runs, and stays so when it gets one.
        let unprobed = self.inputs.services.iter().filter(|service| service.readiness_probe.is_none());
        let unprobed: Vec<String> = unprobed.map(|service| service.name.identity()).collect();
        for process in self.processes.values_mut() {
            process.has_been_ready |= unprobed.contains(&process.id);
        }
        let now = self.now;
        let actions = self.agent.as_mut().expect("an agent").step(event, now);
        self.carry_out(actions);
    }

    /// False if the agent was cut off on the way.
    fn carry_out(&mut self, actions: Vec<Action>) -> bool {
        for action in actions {
            match &mut self.fuse {
                Some(0) => {
                    self.fuse = None;
                    self.crash();
                    return false;
                }
                Some(left) => *left -= 1,
                None => {}
            }
            self.act(action);
        }
        true
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Record(id, record) => {
                self.store.insert(id, record);
            }
            Action::Start(id, service, record) => {
                self.assert_dependencies_are_ready(&id, &service);
                self.pending.push(Pending::Launch(id, service, record));
            }
            Action::Watch(id, process) => self.pending.push(Pending::Watch(id, process)),
            Action::RequestStop(id, process) => {
                self.assert_dependents_are_down(&id, &process);
                if let Some(by) = self.is_held_up_by(&id) {
                    self.log.push(format!("cannot stop {id}"));
                    let message = format!("stop: {by} depends on it and runs");
                    let error = HostError::new(Reason::DependentServicesRunning, message);
                    self.pending.push(Pending::Asked(id, process, Err(error)));
                    return;
                }
                if self.is_that(&process)
                    && let Some(asked) = self.processes.get_mut(&process.pid)
                {
                    self.log.push(format!("stop {id}"));
                    asked.asked = true;
                    if !asked.stubborn {
                        asked.state = State::Ended;
                    }
                }
                self.pending.push(Pending::Asked(id, process, Ok(())));
            }
            Action::Kill(_, process) => self.pending.push(Pending::Kill(process)),
            Action::Clear(id, process) => self.pending.push(Pending::Clear(id, process)),
            Action::Check(id, kind, number, ..) => self.check(id, kind, number),
            Action::Configure { id, service, record, not_adopted, .. } => {
                self.pending.push(Pending::Configure(id, service, record, not_adopted));
            }
            Action::Pause(id, process, paused) => self.pending.push(Pending::Pause(id, process, paused)),
            Action::CancelChecks(id) => {
                self.pending.retain(|pending| !matches!(pending, Pending::Check(of, ..) if *of == id));
            }
            Action::Forget { id, keep, .. } => self.pending.push(Pending::Forget(id, keep)),
        }
    }

    fn check(&mut self, id: String, kind: ProbeKind, number: u64) {
        let twice = |pending: &Pending| matches!(pending, Pending::Check(of, same, n, _) if *of == id && *same == kind && *n == number);
        assert!(!self.pending.iter().any(twice), "two checks of one probe at a time");
        let pid = self.store.get(&id).and_then(|record| record.process.as_ref()).map_or(0, |process| process.pid);
        self.pending.push(Pending::Check(id, kind, number, pid));
    }

    fn assert_alone(&self, id: &str, pid: u32) {
        let others: Vec<_> = self.processes.iter().filter(|(other, p)| p.id == id && **other != pid).collect();
        assert!(others.is_empty(), "{id} starts beside {others:?}; {:?}", self.log);
        let journaled = self.store.get(id).and_then(|record| record.process.as_ref()).map(|process| process.pid);
        assert_eq!(journaled, Some(pid), "{id} runs unrecorded");
    }

    fn assert_dependencies_are_ready(&self, id: &str, service: &Service) {
        for dependency in &service.depends_on {
            let on = dependency.identity();
            let is_ready = |process: &Process| process.id == on && !process.asked && process.has_been_ready;
            assert!(self.processes.values().any(is_ready), "{id} starts before {on} is ready; {:?}", self.log);
        }
    }

    fn assert_dependents_are_down(&self, id: &str, process: &ProcessIdentity) {
        let Some(asked) = self.processes.get(&process.pid) else { return };
        if asked.asked || asked.is_unhealthy {
            return;
        }
        for service in &self.inputs.services {
            let is_left = self.inputs.refused.contains_key(&service.name.identity());
            if !is_left && service.depends_on.iter().any(|on| on.identity() == id) {
                let on = service.name.identity();
                let of = self.processes.values().filter(|p| p.id == on && p.state == State::Running);
                let running: Vec<_> = of.collect();
                assert!(running.is_empty(), "{id} stops before {}; {:?}", service.name, self.log);
            }
        }
    }
}
