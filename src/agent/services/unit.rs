//! One service as the supervisor knows it: what it should be, what it is doing, and what is kept of it.
//! Pure values; how they change is in [`super::step`].

use super::{
    Moment, ServiceInputs,
    configuring::Configuring,
    fingerprint::{configuration, fingerprint},
    pausing::Pausing,
    release::names_any,
    thresholds::Watcher,
};
use crate::{
    agent::{
        host::{Exit, HostError, ProcessIdentity},
        store::{Origin, ServiceRecord},
    },
    model::{HostPath, RecoveryAction, Service, ServiceName, ServiceState, StartMode},
};

/// A service of the document, or one that was and still runs.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    /// The name as written.
    pub(super) name: String,
    /// Its entry; kept after that is gone, so that dependents still stop first. `None` after a start of the
    /// agent until the document is known.
    pub(super) entry: Option<Service>,
    pub(super) target: Target,
    /// Whether it keeps a file that it names from being replaced, as long as it runs.
    pub(super) holds_file: bool,
    /// Until then the machine's manager starts it first, where it does so late.
    pub(super) not_before: Moment,
    pub(super) run: Run,
    pub(super) stop_timeout_seconds: u32,
    /// Of the last start that succeeded; empty for none.
    pub(super) fingerprint: String,
    /// Who made it; `None` until the journal says.
    pub(super) origin: Option<Origin>,
    /// What its manager was told last, as a digest; empty for nothing.
    pub(super) configuration: String,
    /// What its manager should have been told, as its entry says.
    pub(super) wanted_configuration: String,
    pub(super) configuring: Configuring,
    /// Whether its manager may start it with something else than `fingerprint` says.
    pub(super) outdated: bool,
    pub(super) restarts: u64,
    /// Unexpected ends since the last run that lasted.
    pub(super) unexpected_ends: u32,
    pub(super) recorded: Recorded,
}

/// What the store says of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Recorded {
    Nothing,
    As(Box<ServiceRecord>),
    /// A start failed, before or after it was journaled.
    Unsure,
}

/// What the inputs make of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// No document is known: left as it is.
    Unknown,
    /// Not in the document: stopped and forgotten.
    Gone,
    /// Not running.
    Down,
    /// Running, started with this fingerprint.
    Up(String),
    /// Running, once this file is in its desired state.
    AwaitsFile(HostPath),
    /// Not to be had on this machine, for this reason.
    Impossible(&'static str),
    /// Left as it is, whatever it is doing: its machine's administrator does not allow it.
    Refused(HostError),
}

/// What a service is doing.
#[derive(Debug, Clone)]
pub(super) enum Run {
    Down(Down),
    Starting(Start),
    Up(Box<Up>),
    Stopping {
        process: ProcessIdentity,
        kill_at: Moment,
        killed: bool,
        cause: Cause,
        held_up: Option<HeldUp>,
    },
    /// Ended; what it left is being ended too.
    Clearing {
        process: ProcessIdentity,
        ended: Ended,
        retry: Retry,
    },
    /// Its record is being removed.
    Forgetting(Retry),
}

/// A service that others depend on, which this agent does not stop: asked again until they are down.
#[derive(Debug, Clone)]
pub(super) struct HeldUp {
    pub(super) error: HostError,
    pub(super) again_at: Moment,
}

/// An attempt to start a service.
#[derive(Debug, Clone)]
pub(super) struct Start {
    /// As it is journaled, but for the process.
    pub(super) record: Box<ServiceRecord>,
    /// Attempts that failed before it.
    pub(super) tries: u32,
    /// Whether it follows an unexpected end, and so counts as a restart.
    pub(super) after_end: bool,
}

/// Work of the host that is under way or, having failed, waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Retry {
    NotBegun,
    UnderWay,
    At(Moment, HostError),
}

/// Why a service does not run.
#[derive(Debug, Clone)]
pub(super) enum Down {
    /// Nothing is wrong.
    AtRest,
    /// It ended unexpectedly.
    Ended { at: Moment, why: String },
    /// It could not be started.
    NotStarted { start: Start, error: HostError, again_at: Moment },
}

/// A running process.
#[derive(Debug, Clone)]
pub(super) struct Up {
    pub(super) process: ProcessIdentity,
    pub(super) since: Moment,
    pub(super) pausing: Pausing,
    pub(super) readiness: Option<Watcher>,
    pub(super) liveness: Option<Watcher>,
    /// Whether it is ready, as long as there is no watcher: a service without a probe is, and one that was
    /// taken up is what it was.
    pub(super) otherwise_ready: bool,
    /// Whether it was ready since it started.
    pub(super) was_ready: bool,
}

/// Why a service is stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// It should not run, or not like this.
    Asked,
    /// Its liveness probe failed after such a time.
    Unhealthy { problem: String, lasted: Moment },
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    AsAsked,
    Unexpectedly { why: String, at: Moment, lasted: Moment },
}

impl Up {
    /// One that was just started, or is taken up.
    pub(super) fn new(process: ProcessIdentity, paused: bool, ready: bool, now: Moment) -> Self {
        Self {
            process,
            since: now,
            pausing: Pausing::Settled { paused },
            readiness: None,
            liveness: None,
            otherwise_ready: ready,
            was_ready: ready,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.readiness.as_ref().map_or(self.otherwise_ready, Watcher::is_passing)
    }

    pub(super) fn watchers(&self) -> impl Iterator<Item = &Watcher> {
        self.readiness.iter().chain(&self.liveness)
    }
}

impl Unit {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            entry: None,
            target: Target::Unknown,
            holds_file: false,
            not_before: Moment::ZERO,
            run: Run::Down(Down::AtRest),
            stop_timeout_seconds: 30,
            fingerprint: String::new(),
            origin: None,
            configuration: String::new(),
            wanted_configuration: String::new(),
            configuring: Configuring::Due,
            outdated: false,
            restarts: 0,
            unexpected_ends: 0,
            recorded: Recorded::Nothing,
        }
    }

    /// Takes its entry of the document.
    pub(super) fn wish(&mut self, service: &Service, inputs: &ServiceInputs, managed: bool) {
        if let Some(refusal) = self.refusal(service, inputs, managed) {
            // Of what is refused nothing counts, neither a dependency nor a probe.
            self.target = Target::Refused(refusal);
            return;
        }
        self.name = service.name.as_str().to_owned();
        self.stop_timeout_seconds = service.stop_timeout_seconds;
        self.holds_file = names_any(service, &inputs.files_to_release);
        self.target = match (service.state, service.start_mode) {
            (ServiceState::Paused, _) if !managed => {
                Target::Impossible("state Paused is for Windows; expected Running or Stopped")
            }
            (ServiceState::Stopped, _) | (_, StartMode::Disabled) => Target::Down,
            (
                ServiceState::Running | ServiceState::Paused,
                StartMode::Automatic | StartMode::DelayedAutomatic | StartMode::Manual,
            ) => fingerprint(service, inputs).map_or_else(Target::AwaitsFile, Target::Up),
        };
        self.wanted_configuration = configuration(service);
        self.outdated |= managed && matches!(&self.target, Target::Up(wanted) if *wanted != self.fingerprint);
        self.entry = Some(service.clone());
    }

    fn refusal(&self, service: &Service, inputs: &ServiceInputs, managed: bool) -> Option<HostError> {
        let refused = inputs.refused.get(&service.name.identity()).cloned();
        let is_found = managed && self.is_adopted();
        let not_taken = || inputs.policy.check_adoption(&service.name).err().filter(|_| is_found).map(HostError::from);
        refused.or_else(not_taken)
    }

    /// Its entry is gone.
    pub(super) fn go(&mut self, inputs: &ServiceInputs) {
        let refusal = ServiceName::parse(&self.name).ok().and_then(|name| inputs.policy.check_removal(&name).err());
        // What somebody else made is only forgotten, and of what was never made there is nothing to remove.
        let refusal = refusal.filter(|_| !self.is_adopted() && self.recorded != Recorded::Nothing);
        self.target = refusal.map_or(Target::Gone, |refusal| Target::Refused(refusal.into()));
    }

    /// Why it is left as it is.
    pub(super) fn refused(&self) -> Option<&HostError> {
        match &self.target {
            Target::Refused(refusal) => Some(refusal),
            Target::Unknown
            | Target::Gone
            | Target::Down
            | Target::Up(_)
            | Target::AwaitsFile(_)
            | Target::Impossible(_) => None,
        }
    }

    /// Whether its manager starts it some time after the machine's start, and nobody has to order it.
    pub(super) fn starts_late(&self) -> bool {
        let is_late =
            |service: &Service| service.start_mode == StartMode::DelayedAutomatic && service.depends_on.is_empty();
        self.entry.as_ref().is_some_and(is_late)
    }

    /// Identities of the services that are ready before it.
    pub(super) fn dependencies(&self) -> impl Iterator<Item = String> {
        self.entry.iter().flat_map(|service| &service.depends_on).map(|name| name.identity())
    }

    pub(super) fn is_adopted(&self) -> bool {
        self.origin == Some(Origin::Adopted)
    }

    /// Whether it is left as it is, and known only for what it runs with: its manager was told something else, and
    /// nobody could tell should its entry come back.
    pub(super) fn is_left(&self) -> bool {
        let is_outdated = self.outdated || self.fingerprint.is_empty();
        self.target == Target::Gone && self.is_adopted() && matches!(self.run, Run::Up(_)) && is_outdated
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(&self.run, Run::Up(up) if up.is_ready())
    }

    /// Whether a process of it may exist.
    pub(super) fn is_alive(&self) -> bool {
        !matches!(self.run, Run::Down(_) | Run::Forgetting(_))
    }

    pub(super) fn process(&self) -> Option<&ProcessIdentity> {
        match &self.run {
            Run::Up(up) => Some(&up.process),
            Run::Stopping { process, .. } | Run::Clearing { process, .. } => Some(process),
            Run::Down(_) | Run::Starting(_) | Run::Forgetting(_) => None,
        }
    }

    /// What follows the unexpected ends so far.
    pub(super) fn recovery(&self) -> RecoveryAction {
        let actions = self.entry.as_ref().map(|service| service.recovery.actions.as_slice()).unwrap_or_default();
        let index = usize::try_from(self.unexpected_ends.saturating_sub(1)).unwrap_or(usize::MAX);
        actions.get(index).or(actions.last()).copied().unwrap_or(RecoveryAction::None)
    }

    /// What should be in the store.
    pub(super) fn record(&self, boot_id: &str) -> ServiceRecord {
        ServiceRecord {
            name: self.name.clone(),
            process: self.process().cloned(),
            fingerprint: self.fingerprint.clone(),
            origin: self.origin.unwrap_or(Origin::Created),
            configuration: self.configuration.clone(),
            outdated: self.outdated,
            restarts: self.restarts,
            stop_timeout_seconds: self.stop_timeout_seconds,
            stopping: matches!(self.run, Run::Stopping { .. } | Run::Clearing { ended: Ended::AsAsked, .. }),
            ready: self.is_ready(),
            unexpected_ends: self.unexpected_ends,
            boot_id: boot_id.to_owned(),
        }
    }
}

/// For people.
pub(super) fn describe(exit: &Exit) -> String {
    match exit {
        Exit::Code(code) => format!("ended with code {code}"),
        Exit::Signal(signal) => format!("ended by signal {signal}"),
        Exit::Unknown => "ended".to_owned(),
    }
}
