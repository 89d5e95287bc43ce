//! Which running services must stop, and whether those that depend on them have done so. Pure.
//! As with the Windows Service Control Manager: who depends on a service stops before it, and starts after it.

use std::collections::{BTreeMap, BTreeSet};

use super::unit::{Run, Target, Unit};

/// Services by `ServiceName::identity`.
pub(super) type Units = BTreeMap<String, Unit>;

/// Services that may not run as they do: those that should be down, that should run with something else, that
/// keep a file from being replaced, and all that depend on one of these. An unexpected end of a service stops none of its dependents.
pub(super) fn to_stop(units: &Units) -> BTreeSet<String> {
    let mut stop: BTreeSet<String> =
        units.iter().filter(|(_, unit)| is_out_of_place(unit)).map(|(id, _)| id.clone()).collect();
    // Each round but the last adds one at least.
    loop {
        let more: Vec<String> = units
            .iter()
            .filter(|(id, unit)| !stop.contains(*id) && unit.refused().is_none())
            .filter(|(_, unit)| unit.dependencies().any(|on| stop.contains(&on)))
            .map(|(id, _)| id.clone())
            .collect();
        if more.is_empty() {
            return stop;
        }
        stop.extend(more);
    }
}

fn is_out_of_place(unit: &Unit) -> bool {
    match (&unit.target, &unit.run) {
        // It was here before the agent came, and stays.
        (Target::Gone, _) if unit.is_adopted() => false,
        (Target::Gone | Target::Down, _) => true,
        (Target::Up(fingerprint), Run::Up(_) | Run::Stopping { .. }) => *fingerprint != unit.fingerprint,
        (Target::AwaitsFile(_), Run::Up(_) | Run::Stopping { .. }) => unit.holds_file,
        (Target::Up(_) | Target::Unknown | Target::AwaitsFile(_) | Target::Impossible(_) | Target::Refused(_), _) => {
            false
        }
    }
}

/// Services that somebody else's keep from being stopped, and what runs for them.
pub(super) fn held_up(units: &Units) -> BTreeSet<String> {
    let is_held_up = |unit: &Unit| matches!(unit.run, Run::Stopping { held_up: Some(_), .. });
    let mut next: Vec<&String> = units.iter().filter(|(_, unit)| is_held_up(unit)).map(|(id, _)| id).collect();
    let mut held = BTreeSet::new();
    while let Some(id) = next.pop() {
        if held.insert(id.clone()) {
            let on = units.get(id).into_iter().flat_map(Unit::dependencies);
            let running = on.filter_map(|on| units.get_key_value(&on).filter(|(_, on)| matches!(on.run, Run::Up(_))));
            next.extend(running.map(|(on, _)| on));
        }
    }
    held
}

/// Whether nothing runs any more that depends on this service and may be stopped, or may be found running.
pub(super) fn dependents_are_down(units: &Units, id: &str) -> bool {
    let may_run = |unit: &Unit| (unit.is_alive() || unit.is_yet_to_be_found()) && unit.refused().is_none();
    !units.values().any(|unit| may_run(unit) && unit.dependencies().any(|on| on == id))
}

/// The first dependency that is not ready, or about to stop; `None` when the service may start.
pub(super) fn not_ready<'a>(
    units: &'a Units,
    stop: &BTreeSet<String>,
    unit: &Unit,
) -> Option<(String, Option<&'a Unit>)> {
    unit.dependencies().find_map(|on| match units.get(&on) {
        Some(dependency) if dependency.is_ready() && !dependency.wants_pause() && !stop.contains(&on) => None,
        dependency => Some((on, dependency)),
    })
}
