//! What the services are doing, in words for people. Pure; the same state gives the same words, and nothing in
//! them moves by itself.

use std::collections::BTreeSet;

use super::{
    Moment, ServiceReports,
    order::{self, Units},
    settle,
    step::Supervisor,
    unit::{Cause, Down, Ended, HeldUp, Retry, Run, Target, Unit, Up},
};
use crate::{
    agent::host::Reason,
    model::{RecoveryAction, ServicePhase, ServiceReport},
};

impl Supervisor {
    /// One report for each desired service, in order of the document.
    pub fn reports(&self) -> ServiceReports {
        let inputs = &self.inputs;
        let stop = order::to_stop(&self.units);
        let desired: Vec<(String, &Unit)> = inputs
            .services
            .iter()
            .filter(|_| inputs.known)
            .filter_map(|service| self.units.get_key_value(&service.name.identity()))
            .map(|(id, unit)| (id.clone(), unit))
            .collect();
        let leftovers = self.units.iter().filter(|(id, _)| !desired.iter().any(|(named, _)| named == *id));
        let leftovers = leftovers.filter_map(|(_, unit)| Some((unit.name.clone(), unit.refused()?.clone())));
        let gone = self.units.values().any(|unit| unit.target == Target::Gone && !unit.is_left());
        ServiceReports {
            answers: inputs.number,
            carried_out: inputs.known
                && !gone
                && leftovers.clone().next().is_none()
                && desired.iter().all(|(id, unit)| {
                    is_carried_out(unit, stop.contains(id)) && (unit.is_configured() || !self.managed)
                }),
            services: desired.iter().map(|(_, unit)| self.report(unit, &stop)).collect(),
            leftovers: leftovers.collect(),
        }
    }

    fn report(&self, unit: &Unit, stop: &BTreeSet<String>) -> ServiceReport {
        let held_back = match (self.inputs.suspended, self.inputs.policy.unusable()) {
            (true, _) => Some("the node is suspended"),
            (false, Some(_)) => Some("the local policy cannot be used"),
            (false, None) => None,
        };
        let (state, message) = state(unit, &self.units, stop, held_back);
        let ready = match unit.target {
            Target::Down => state == ServicePhase::Stopped,
            Target::Up(_) | Target::AwaitsFile(_) if unit.wants_pause() => state == ServicePhase::Paused,
            Target::Up(_) | Target::AwaitsFile(_) => unit.is_ready() && state != ServicePhase::Paused,
            // Nothing is known that it should be, but what it was.
            Target::Unknown => unit.is_ready(),
            Target::Gone | Target::Impossible(_) | Target::Refused(_) => false,
        };
        let ready = ready && unit.not_configured().is_none();
        let message = if ready { String::new() } else { message };
        let reason = reason(unit, state).to_owned();
        ServiceReport { name: unit.name.clone(), state, ready, restarts: unit.restarts, reason, message }
    }
}

/// Of the failure that is told of it; empty where none is.
fn reason(unit: &Unit, state: ServicePhase) -> &'static str {
    if let Some(error) = unit.refused().or(unit.not_configured()).filter(|_| state != ServicePhase::Waiting) {
        return error.reason.as_str();
    }
    match (state, &unit.run) {
        (_, Run::Up(up)) => up.refusal().map_or("", |error| error.reason.as_str()),
        (_, Run::Stopping { held_up: Some(HeldUp { error, .. }), .. }) => error.reason.as_str(),
        (ServicePhase::BackingOff, _) => "ServiceCrashing",
        (ServicePhase::Failed, Run::Down(Down::NotStarted { error, .. })) => error.reason.as_str(),
        (ServicePhase::Failed, Run::Clearing { retry: Retry::At(_, error), .. }) => error.reason.as_str(),
        (ServicePhase::Failed, _) => "ServiceFailed",
        _ => "",
    }
}

/// Whether it was brought to where it should be; what became of it later does not matter.
fn is_carried_out(unit: &Unit, must_stop: bool) -> bool {
    match (&unit.target, &unit.run) {
        (Target::Down, run) => matches!(run, Run::Down(_)),
        (Target::Up(_), _) if must_stop => false,
        (Target::Up(wanted), Run::Up(up)) => *wanted == unit.fingerprint && up.is_paused() == unit.wants_pause(),
        // It ended by itself, or could not be started again after that.
        (Target::Up(wanted), run) => *wanted == unit.fingerprint && follows_an_end(run),
        (Target::Unknown | Target::Gone | Target::AwaitsFile(_) | Target::Impossible(_) | Target::Refused(_), _) => {
            false
        }
    }
}

fn follows_an_end(run: &Run) -> bool {
    match run {
        Run::Down(Down::Ended { .. }) => true,
        Run::Starting(start) | Run::Down(Down::NotStarted { start, .. }) => start.after_end,
        Run::Stopping { cause, .. } => *cause != Cause::Asked,
        Run::Clearing { ended, .. } => *ended != Ended::AsAsked,
        Run::Down(Down::AtRest) | Run::Up(_) | Run::Forgetting(_) => false,
    }
}

fn state(
    unit: &Unit,
    units: &Units,
    stop: &BTreeSet<String>,
    held_back: Option<&'static str>,
) -> (ServicePhase, String) {
    if let (Run::Down(_), Some(error), None) = (&unit.run, unit.refused().or(unit.not_configured()), held_back) {
        let awaits = error.reason == Reason::AwaitsPassword;
        return (if awaits { ServicePhase::Waiting } else { ServicePhase::Failed }, error.message.clone());
    }
    match &unit.run {
        Run::Up(up) => running(unit, up),
        Run::Stopping { held_up: Some(HeldUp { error, .. }), .. } => (ServicePhase::Stopping, error.message.clone()),
        Run::Stopping { killed: true, .. } => (ServicePhase::Stopping, "does not end though it was killed".into()),
        Run::Stopping { cause: Cause::Unhealthy { problem, .. }, .. } => {
            (ServicePhase::Stopping, format!("is stopped as its liveness probe failed: {problem}"))
        }
        Run::Stopping { cause: Cause::Asked, .. }
        | Run::Clearing { ended: Ended::AsAsked, retry: Retry::NotBegun | Retry::UnderWay, .. } => {
            (ServicePhase::Stopping, "is stopped".into())
        }
        Run::Clearing { retry: Retry::At(_, error), .. } => {
            (ServicePhase::Failed, format!("end what it left running: {error}"))
        }
        Run::Starting(start) if start.after_end => (ServicePhase::Starting, "is started again".into()),
        Run::Starting(_) => (ServicePhase::Starting, "is started".into()),
        Run::Forgetting(_) => (ServicePhase::Stopped, "is removed".into()),
        Run::Down(_) if unit.target == Target::Down => (ServicePhase::Stopped, String::new()),
        Run::Clearing { ended: Ended::Unexpectedly { why, .. }, .. } => match held_back {
            Some(held_back) => held_back_after(why, held_back),
            None => ended(unit, why),
        },
        Run::Down(down) => match (held_back, down) {
            (Some(held_back), Down::Ended { why, .. }) => held_back_after(why, held_back),
            (Some(held_back), _) => (ServicePhase::Stopped, format!("is not started while {held_back}")),
            (None, _) => down_but_wanted(unit, down, units, stop),
        },
    }
}

fn held_back_after(why: &str, held_back: &str) -> (ServicePhase, String) {
    (ServicePhase::Stopped, format!("{why}; it is not started again while {held_back}"))
}

fn running(unit: &Unit, up: &Up) -> (ServicePhase, String) {
    if let Some(error) = unit.refused().or(unit.not_configured()).or(up.refusal()) {
        return (ServicePhase::Running, error.message.clone());
    }
    match (up.is_paused(), unit.wants_pause()) {
        (true, true) => return (ServicePhase::Paused, String::new()),
        (true, false) => return (ServicePhase::Paused, "is about to go on".to_owned()),
        (false, true) => return (ServicePhase::Running, "is about to be paused".to_owned()),
        (false, false) => {}
    }
    let phase = if up.was_ready { ServicePhase::Running } else { ServicePhase::Starting };
    let problem = up.readiness.as_ref().and_then(|watcher| watcher.problem());
    let message = match problem {
        Some(problem) => format!("its readiness probe fails: {problem}"),
        None => "its readiness probe has not passed yet".to_owned(),
    };
    (phase, message)
}

fn down_but_wanted(unit: &Unit, down: &Down, units: &Units, stop: &BTreeSet<String>) -> (ServicePhase, String) {
    match &unit.target {
        Target::AwaitsFile(path) => {
            return (ServicePhase::Waiting, format!("waits for the file {path}, which is not in its desired state"));
        }
        Target::Impossible(why) => return (ServicePhase::Failed, (*why).to_owned()),
        Target::Refused(refusal) => return (ServicePhase::Failed, refusal.message.clone()),
        Target::Unknown | Target::Gone | Target::Down | Target::Up(_) => {}
    }
    match down {
        Down::NotStarted { error, .. } => (ServicePhase::Failed, error.message.clone()),
        Down::Ended { why, .. } => match order::not_ready(units, stop, unit) {
            Some(not_ready) if unit.recovery() != RecoveryAction::None => {
                (ServicePhase::Waiting, format!("{why}; {}", waits_for(not_ready, stop)))
            }
            _ => ended(unit, why),
        },
        Down::AtRest => match order::not_ready(units, stop, unit) {
            Some(not_ready) => (ServicePhase::Waiting, waits_for(not_ready, stop)),
            None if settle::start_time(unit, down).is_some_and(|at| at > Moment::ZERO) => {
                (ServicePhase::Waiting, "waits for its delayed start, some minutes after the machine's".into())
            }
            None => (ServicePhase::Stopped, "is about to start".into()),
        },
    }
}

fn ended(unit: &Unit, why: &str) -> (ServicePhase, String) {
    match unit.recovery() {
        RecoveryAction::Restart { delay_seconds } => {
            (ServicePhase::BackingOff, format!("{why}; is started again after {delay_seconds} s"))
        }
        RecoveryAction::None => (ServicePhase::Failed, format!("{why}; its recovery leaves it stopped")),
    }
}

fn waits_for((id, dependency): (String, Option<&Unit>), stop: &BTreeSet<String>) -> String {
    let Some(dependency) = dependency else { return format!("waits for {id}, which is no service of this node") };
    let what = match (&dependency.target, &dependency.run) {
        (Target::Down, _) => "which is not to run",
        (Target::AwaitsFile(_), Run::Down(_)) => "which itself waits for a file",
        (Target::Impossible(_), _) => "which cannot be started",
        (Target::Refused(_), _) => "which the local policy denies",
        (_, Run::Up(_)) if stop.contains(&id) => "which is restarted",
        (_, Run::Up(_)) if dependency.wants_pause() => "which is to be paused",
        (_, Run::Down(_)) if dependency.not_configured().is_some() => "which cannot be configured",
        (_, Run::Up(_) | Run::Starting(_)) => "which is not ready",
        (_, Run::Stopping { .. } | Run::Clearing { .. } | Run::Forgetting(_)) => "which is stopping",
        (_, Run::Down(Down::Ended { .. })) => "which ended unexpectedly",
        (_, Run::Down(Down::NotStarted { .. })) => "which cannot be started",
        (_, Run::Down(Down::AtRest)) => "which is not running yet",
    };
    format!("waits for {}, {what}", dependency.name)
}
