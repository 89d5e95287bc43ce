//! Pausing and continuing services where the machine's manager can. Pure.

use super::{
    Moment,
    order::Units,
    step::{Action, Supervisor},
    unit::{Run, Target, Unit, Up},
};
use crate::{
    agent::host::{HostError, ProcessIdentity},
    model::ServiceState,
};
use std::collections::BTreeSet;

/// Between tries to pause or continue a service that refuses.
const AGAIN: Moment = Moment::from_secs(60);

/// Whether a service is paused, and what is being done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pausing {
    /// It is paused, or not.
    Settled { paused: bool },
    /// It was asked to.
    UnderWay { paused: bool },
    /// It did not.
    Refused { paused: bool, error: HostError, again_at: Moment },
}

impl Up {
    pub(super) fn is_paused(&self) -> bool {
        self.pausing == Pausing::Settled { paused: true }
    }

    /// When it is asked once more.
    pub(super) fn pause_again_at(&self) -> Option<Moment> {
        match &self.pausing {
            Pausing::Refused { again_at, .. } => Some(*again_at),
            Pausing::Settled { .. } | Pausing::UnderWay { .. } => None,
        }
    }

    /// Why it is not paused, or does not go on, though asked to.
    pub(super) fn refusal(&self) -> Option<&HostError> {
        match &self.pausing {
            Pausing::Refused { error, .. } => Some(error),
            Pausing::Settled { .. } | Pausing::UnderWay { .. } => None,
        }
    }

    /// Somebody else may have paused it or let it go on.
    pub(super) fn is_paused_by(&mut self, now_paused: bool) {
        if let Pausing::Settled { paused } = &mut self.pausing {
            *paused = now_paused;
        }
    }
}

impl Unit {
    pub(super) fn wants_pause(&self) -> bool {
        self.entry.as_ref().is_some_and(|service| service.state == ServiceState::Paused)
    }
}

/// Asks those that run and should be paused, or the other way round.
pub(super) fn pause(units: &mut Units, stop: &BTreeSet<String>, now: Moment, actions: &mut Vec<Action>) {
    for (id, unit) in units.iter_mut().filter(|(id, unit)| matches!(unit.target, Target::Up(_)) && !stop.contains(*id))
    {
        let wanted = unit.wants_pause();
        let Run::Up(up) = &mut unit.run else { continue };
        let due = match up.pausing {
            Pausing::Settled { paused } => paused != wanted,
            Pausing::UnderWay { .. } => false,
            Pausing::Refused { paused, again_at, .. } if paused == wanted => again_at <= now,
            Pausing::Refused { .. } => true,
        };
        if due {
            up.pausing = Pausing::UnderWay { paused: wanted };
            actions.push(Action::Pause(id.clone(), up.process.clone(), wanted));
        }
    }
}

impl Supervisor {
    /// An [`Action::Pause`] ended.
    pub(super) fn paused(&mut self, id: &str, process: &ProcessIdentity, outcome: Result<(), HostError>, now: Moment) {
        let Some(Unit { run: Run::Up(up), .. }) = self.units.get_mut(id) else { return };
        let Pausing::UnderWay { paused } = up.pausing else { return };
        if up.process != *process {
            return;
        }
        up.pausing = match outcome {
            Ok(()) => Pausing::Settled { paused },
            Err(error) => Pausing::Refused { paused, error, again_at: now + AGAIN },
        };
    }
}
