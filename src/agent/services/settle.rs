//! What is due, whatever led here: the half of the supervisor's machine that every event ends in. Pure.
//! In: all services and the time. Out: the actions, those on the store first.

use std::collections::BTreeSet;

use super::{
    Moment, ProbeKind, configuring,
    order::{self, Units},
    pausing,
    step::{Action, Supervisor},
    unit::{Cause, Down, HeldUp, Recorded, Retry, Run, Start, Target, Unit, Up},
};
use crate::{
    agent::store::{Origin, ServiceRecord},
    model::RecoveryAction,
};

/// Between stop requests to a service that others keep from stopping.
const ASK_AGAIN: Moment = Moment::from_secs(5);
/// Between kills of a process that does not go.
const KILL_AGAIN: Moment = Moment::from_secs(10);

pub(super) fn settle(supervisor: &mut Supervisor, now: Moment, actions: &mut Vec<Action>) {
    let acts = supervisor.acts();
    let Supervisor { units, inputs, boot_id, managed, machine_stops, .. } = supervisor;
    for (id, unit) in units.iter_mut() {
        probe(id, unit, now, actions);
        kill_if_late(id, unit, now, actions);
        if acts {
            stop_if_unhealthy(id, unit, now, actions);
            rest_if_down(unit);
        }
    }
    if acts {
        if *managed {
            // First: nothing stops while what depends on it is yet to be found.
            configuring::configure(units, &inputs.policy, boot_id, now, actions);
        }
        let stop = order::to_stop(units);
        stop_in_order(units, &stop, now, actions);
        for (id, unit) in units.iter_mut() {
            clear(id, unit, now, actions);
            forget(id, unit, *managed, now, actions);
        }
        if *managed {
            pausing::pause(units, &stop, now, actions);
        }
        start_in_order(units, &stop, boot_id, *managed, now, actions);
    }
    if *machine_stops {
        let all = units.keys().cloned().collect();
        stop_in_order(units, &all, now, actions);
        units.iter_mut().for_each(|(id, unit)| clear(id, unit, now, actions));
    }
    // What is about to happen is known before it happens.
    let records: Vec<Action> = units.iter_mut().filter_map(|(id, unit)| record(id, unit, boot_id)).collect();
    actions.splice(0..0, records);
}

/// When a service that is down may start, as far as its past goes; `None`: not before its entry changes.
pub(super) fn start_time(unit: &Unit, down: &Down) -> Option<Moment> {
    let Target::Up(wanted) = &unit.target else { return None };
    match down {
        // A new one, or one that was changed, is nothing that anybody waits to see started late.
        Down::AtRest => Some(if *wanted == unit.fingerprint { unit.not_before } else { Moment::ZERO }),
        // Something was mended, maybe this.
        Down::Ended { .. } if *wanted != unit.fingerprint => Some(Moment::ZERO),
        Down::NotStarted { start, .. } if *wanted != start.record.fingerprint => Some(Moment::ZERO),
        Down::NotStarted { again_at, .. } => Some(*again_at),
        Down::Ended { at, .. } => match unit.recovery() {
            RecoveryAction::Restart { delay_seconds } => Some(*at + Moment::from_secs(delay_seconds.into())),
            RecoveryAction::None => None,
        },
    }
}

fn probe(id: &str, unit: &mut Unit, now: Moment, actions: &mut Vec<Action>) {
    let (Run::Up(up), Some(entry)) = (&mut unit.run, &unit.entry) else { return };
    for (kind, watcher) in [(ProbeKind::Readiness, &mut up.readiness), (ProbeKind::Liveness, &mut up.liveness)] {
        let Some(watcher) = watcher.as_mut().filter(|watcher| watcher.due().is_some_and(|due| due <= now)) else {
            continue;
        };
        watcher.begin(now);
        let probe = Box::new(watcher.probe.clone());
        actions.push(Action::Check(id.to_owned(), kind, watcher.number, Box::new(entry.clone()), probe));
    }
}

fn kill_if_late(id: &str, unit: &mut Unit, now: Moment, actions: &mut Vec<Action>) {
    let Run::Stopping { process, kill_at, killed, held_up, .. } = &mut unit.run else { return };
    match held_up {
        Some(HeldUp { again_at, .. }) if *again_at <= now => {
            actions.push(Action::RequestStop(id.to_owned(), process.clone()));
            *again_at = now + ASK_AGAIN;
        }
        None if *kill_at <= now => {
            actions.push(Action::Kill(id.to_owned(), process.clone()));
            (*kill_at, *killed) = (now + KILL_AGAIN, true);
        }
        Some(_) | None => {}
    }
}

fn stop_if_unhealthy(id: &str, unit: &mut Unit, now: Moment, actions: &mut Vec<Action>) {
    let Run::Up(up) = &unit.run else { return };
    let Up { since, liveness: Some(liveness), .. } = up.as_ref() else { return };
    if !liveness.is_passing() {
        let problem = liveness.problem().unwrap_or("no answer").to_owned();
        let lasted = now.saturating_sub(*since);
        stop(id, unit, Cause::Unhealthy { problem, lasted }, now, actions);
    }
}

/// What should not run has no past.
fn rest_if_down(unit: &mut Unit) {
    if matches!(unit.target, Target::Gone | Target::Down) && matches!(unit.run, Run::Down(_)) {
        unit.run = Run::Down(Down::AtRest);
        unit.unexpected_ends = 0;
    }
}

fn stop_in_order(units: &mut Units, stop_set: &BTreeSet<String>, now: Moment, actions: &mut Vec<Action>) {
    let now_due: Vec<String> = stop_set
        .iter()
        .filter(|id| units.get(*id).is_some_and(|unit| matches!(unit.run, Run::Up(_))))
        .filter(|id| order::dependents_are_down(units, id))
        .cloned()
        .collect();
    for id in now_due {
        if let Some(unit) = units.get_mut(&id) {
            stop(&id, unit, Cause::Asked, now, actions);
        }
    }
}

fn stop(id: &str, unit: &mut Unit, cause: Cause, now: Moment, actions: &mut Vec<Action>) {
    let Run::Up(up) = &unit.run else { return };
    let process = up.process.clone();
    actions.push(Action::CancelChecks(id.to_owned()));
    actions.push(Action::RequestStop(id.to_owned(), process.clone()));
    let kill_at = now + Moment::from_secs(unit.stop_timeout_seconds.into());
    unit.run = Run::Stopping { process, kill_at, killed: false, cause, held_up: None };
}

fn clear(id: &str, unit: &mut Unit, now: Moment, actions: &mut Vec<Action>) {
    if let Run::Clearing { process, retry, .. } = &mut unit.run
        && is_due(retry, now)
    {
        actions.push(Action::Clear(id.to_owned(), process.clone()));
        *retry = Retry::UnderWay;
    }
}

fn forget(id: &str, unit: &mut Unit, managed: bool, now: Moment, actions: &mut Vec<Action>) {
    if unit.is_left() {
        // Nothing has to wait for it any more.
        unit.entry = None;
        return;
    }
    let due = match &unit.run {
        // One that its manager is being told of would come back.
        _ if unit.is_being_configured() => false,
        Run::Down(_) => unit.target == Target::Gone,
        Run::Up(_) => unit.target == Target::Gone && unit.is_adopted(),
        // Once begun it is finished, even if its entry came back.
        Run::Forgetting(retry) => is_due(retry, now),
        Run::Starting(_) | Run::Stopping { .. } | Run::Clearing { .. } => false,
    };
    if due {
        if matches!(unit.run, Run::Up(_)) {
            actions.push(Action::CancelChecks(id.to_owned()));
        }
        let keep = managed && unit.origin != Some(Origin::Created);
        actions.push(Action::Forget { id: id.to_owned(), name: unit.name.clone(), keep });
        unit.run = Run::Forgetting(Retry::UnderWay);
    }
}

fn is_due(retry: &Retry, now: Moment) -> bool {
    match retry {
        Retry::NotBegun => true,
        Retry::UnderWay => false,
        Retry::At(at, _) => *at <= now,
    }
}

fn start_in_order(
    units: &mut Units,
    stop_set: &BTreeSet<String>,
    boot_id: &str,
    managed: bool,
    now: Moment,
    actions: &mut Vec<Action>,
) {
    let may_start = |id: &String, unit: &Unit| {
        matches!(&unit.run, Run::Down(down) if start_time(unit, down).is_some_and(|at| at <= now))
            && (unit.is_configured() || !managed)
            && !stop_set.contains(id)
            && order::not_ready(units, stop_set, unit).is_none()
    };
    let due: Vec<String> = units.iter().filter(|(id, unit)| may_start(id, unit)).map(|(id, _)| id.clone()).collect();
    for id in due {
        if let Some(unit) = units.get_mut(&id) {
            start(&id, unit, boot_id, actions);
        }
    }
}

fn start(id: &str, unit: &mut Unit, boot_id: &str, actions: &mut Vec<Action>) {
    let (Target::Up(fingerprint), Some(entry), Run::Down(down)) = (&unit.target, &unit.entry, &unit.run) else {
        return;
    };
    let (tries, after_end) = match down {
        Down::AtRest => (0, false),
        Down::Ended { .. } => (0, true),
        Down::NotStarted { start, .. } if start.record.fingerprint != *fingerprint => (0, start.after_end),
        Down::NotStarted { start, .. } => (start.tries, start.after_end),
    };
    if *fingerprint != unit.fingerprint {
        unit.unexpected_ends = 0;
    }
    let record = Box::new(ServiceRecord {
        fingerprint: fingerprint.clone(),
        restarts: unit.restarts + u64::from(after_end),
        ready: entry.readiness_probe.is_none(),
        outdated: false,
        ..unit.record(boot_id)
    });
    actions.push(Action::Start(id.to_owned(), Box::new(entry.clone()), record.clone()));
    unit.run = Run::Starting(Start { record, tries, after_end });
}

/// Keeps what changed of a service that was ever started.
fn record(id: &str, unit: &mut Unit, boot_id: &str) -> Option<Action> {
    if unit.recorded == Recorded::Nothing || matches!(unit.run, Run::Starting(_) | Run::Forgetting(_)) {
        return None;
    }
    let record = unit.record(boot_id);
    if matches!(&unit.recorded, Recorded::As(recorded) if **recorded == record) {
        return None;
    }
    unit.recorded = Recorded::As(Box::new(record.clone()));
    Some(Action::Record(id.to_owned(), record))
}
