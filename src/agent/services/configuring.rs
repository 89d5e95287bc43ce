//! Keeping services as a manager of the machine (the Windows SCM) should have them: when it is told, and what its
//! answer means. Pure. A machine without one has nothing here to do.

use super::{
    Moment,
    fingerprint::{names_files, program_of},
    order::Units,
    step::{Action, Supervisor},
    unit::{Recorded, Run, Target, Unit, Up},
};
use crate::agent::{
    host::{Configured, HostError, Running},
    policy::Policy,
    store::Origin,
};

/// Between looks for changes that others made to a service's configuration.
const LOOK_EVERY: Moment = Moment::from_secs(60);
/// Longest wait between tries to configure a service that cannot be configured.
const LONGEST_RETRY: Moment = Moment::from_secs(60);

/// How the manager stands to what a service should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Configuring {
    /// Not told since the agent started.
    Due,
    /// It is being told.
    UnderWay {
        /// The configuration's digest.
        wanted: String,
        /// Whether nothing was known to run: then what is found running is new.
        was_down: bool,
        tries: u32,
    },
    /// It has the configuration.
    Done { again_at: Moment },
    /// It did not take it.
    Failed { wanted: String, error: HostError, tries: u32, again_at: Moment },
}

impl Unit {
    /// Whether the manager has its configuration as it should be. Only then may it start.
    pub(super) fn is_configured(&self) -> bool {
        matches!(self.configuring, Configuring::Done { .. }) && self.configuration == self.wanted_configuration
    }

    /// Why the manager does not take its configuration.
    pub(super) fn not_configured(&self) -> Option<&HostError> {
        match &self.configuring {
            Configuring::Failed { error, .. } => Some(error),
            Configuring::Due | Configuring::UnderWay { .. } | Configuring::Done { .. } => None,
        }
    }

    pub(super) fn is_being_configured(&self) -> bool {
        matches!(self.configuring, Configuring::UnderWay { .. })
    }

    /// Whether its manager is asked of it for the first time, or anew: it may run without the agent.
    pub(super) fn is_yet_to_be_found(&self) -> bool {
        match self.run {
            // Left as it was, and its entry came back meanwhile.
            Run::Forgetting(_) => self.origin != Some(Origin::Created) && self.target != Target::Gone,
            _ => self.is_being_configured() && self.configuration.is_empty(),
        }
    }

    /// When its manager is looked at again.
    pub(super) fn configure_at(&self) -> Option<Moment> {
        match &self.configuring {
            Configuring::Done { again_at } | Configuring::Failed { again_at, .. } => Some(*again_at),
            Configuring::Due | Configuring::UnderWay { .. } => None,
        }
    }

    fn configuration_is_due(&self, now: Moment) -> bool {
        let may = match self.target {
            Target::Unknown | Target::Gone | Target::Impossible(_) | Target::Refused(_) => false,
            Target::Down | Target::Up(_) | Target::AwaitsFile(_) => true,
        };
        let rests = !matches!(self.run, Run::Starting(_) | Run::Forgetting(_));
        let due = match &self.configuring {
            Configuring::Due => true,
            Configuring::UnderWay { .. } => false,
            Configuring::Done { again_at } => *again_at <= now || self.configuration != self.wanted_configuration,
            Configuring::Failed { again_at, wanted, .. } => *again_at <= now || *wanted != self.wanted_configuration,
        };
        may && rests && due
    }
}

/// Tells the manager what is due.
pub(super) fn configure(units: &mut Units, policy: &Policy, boot_id: &str, now: Moment, actions: &mut Vec<Action>) {
    for (id, unit) in units.iter_mut().filter(|(_, unit)| unit.configuration_is_due(now)) {
        let Some(entry) = &unit.entry else { continue };
        let wanted = unit.wanted_configuration.clone();
        let tries = match &unit.configuring {
            Configuring::Failed { tries, wanted: before, .. } if *before == wanted => *tries,
            _ => 0,
        };
        let anew = unit.configuration != wanted;
        // Only of one that is not known yet does the journal need its record, and of such nothing is under way.
        let record = unit.origin.is_none().then(|| Box::new(unit.record(boot_id)));
        let not_adopted = policy.check_adoption(&entry.name).err().map(HostError::from);
        let service = Box::new(entry.clone());
        actions.push(Action::Configure { id: id.clone(), service, record, anew, not_adopted });
        unit.configuring = Configuring::UnderWay { wanted, was_down: matches!(unit.run, Run::Down(_)), tries };
    }
}

impl Supervisor {
    /// The manager answered. `origin` is what the journal says by now.
    pub(super) fn configured(
        &mut self,
        id: &str,
        origin: Option<Origin>,
        outcome: Result<Configured, HostError>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(unit) = self.units.get_mut(id) else { return };
        let Configuring::UnderWay { wanted, was_down, tries } = unit.configuring.clone() else { return };
        let is_new = unit.origin.is_none();
        if is_new && origin.is_some() {
            unit.origin = origin;
            unit.recorded = Recorded::Unsure;
        }
        match outcome {
            Err(error) => {
                let again_at = now + Moment::from_secs(1 << tries.min(6)).min(LONGEST_RETRY);
                unit.configuring = Configuring::Failed { wanted, error, tries: tries.saturating_add(1), again_at };
            }
            Ok(Configured { changed, running }) => {
                let is_current = wanted == unit.wanted_configuration;
                unit.outdated |= program_of(&unit.configuration) != program_of(&wanted);
                unit.configuration = wanted;
                unit.configuring = Configuring::Done { again_at: now + LOOK_EVERY };
                match (running, &mut unit.run) {
                    (Some(running), Run::Down(_)) if was_down => {
                        let inputs = self.inputs.clone();
                        let service = unit.entry.as_ref();
                        let runs_as_wanted =
                            is_current && !changed && !service.is_some_and(|s| names_files(s, &inputs));
                        match &unit.target {
                            // What it was started with is what was found; of files nothing is known.
                            Target::Up(wanted) if is_new && runs_as_wanted => {
                                unit.fingerprint.clone_from(wanted);
                                unit.outdated = false;
                            }
                            _ if is_new || changed || unit.outdated => unit.fingerprint.clear(),
                            _ => {}
                        }
                        self.find_running(id, running, now, actions);
                    }
                    (Some(Running { process, paused }), Run::Up(up)) if up.process == process => {
                        up.is_paused_by(paused);
                    }
                    _ => {}
                }
            }
        }
    }

    /// The manager, or somebody else, started it.
    fn find_running(&mut self, id: &str, running: Running, now: Moment, actions: &mut Vec<Action>) {
        let Some(unit) = self.units.get_mut(id) else { return };
        let Running { process, paused } = running;
        actions.push(Action::Watch(id.to_owned(), process.clone()));
        unit.run = Run::Up(Box::new(Up::new(process, paused, false, now)));
        self.watch(id, now);
    }
}
