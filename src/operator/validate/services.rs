//! The part of `validate` that reads services, and finds circles among them.

use std::collections::HashMap;

use super::{Check, InvalidReason as Reason, ValidService, accounts, probes};
use crate::{
    api::{
        DesiredServiceState, EnvEntry, FileReference, RecoveryActionEntry, RecoveryEntry, ServiceEntry,
        ServiceStartMode,
    },
    model::{EnvVar, HostPath, Recovery, RecoveryAction, Service, ServiceName, ServiceState, StartMode},
};

const DEFAULT_STOP_TIMEOUT_SECONDS: u32 = 30;
const DEFAULT_RESTART_DELAYS_SECONDS: [u32; 3] = [1, 5, 30];
const DEFAULT_RESTART_DELAY_SECONDS: u32 = 1;
const DEFAULT_RESET_AFTER_SECONDS: u32 = 600;

pub(super) fn services(check: &mut Check, entries: &[ServiceEntry]) -> Vec<ValidService> {
    let names = names(check, entries);
    let mut services: Vec<ValidService> =
        entries.iter().enumerate().filter_map(|(i, entry)| service(check, i, entry, &names)).collect();
    no_cycles(check, entries, &names);
    services.sort_by(|a, b| a.service.name.cmp(&b.service.name));
    services
}

/// Names that can be referred to, by identity, with the index of their entry.
fn names(check: &mut Check, entries: &[ServiceEntry]) -> HashMap<String, (usize, ServiceName)> {
    let mut names: HashMap<String, (usize, ServiceName)> = HashMap::new();
    for (i, entry) in entries.iter().enumerate() {
        let field = format!("spec.services[{i}].name");
        match ServiceName::parse(&entry.name) {
            Err(error) => check.error(field, Reason::InvalidName, error.to_string()),
            Ok(name) => match names.get(&name.identity()) {
                Some((other, _)) => {
                    let message = format!("{name} is the name of spec.services[{other}] but for its case; rename one");
                    check.error(field, Reason::DuplicateName, message);
                }
                None => {
                    names.insert(name.identity(), (i, name));
                }
            },
        }
    }
    names
}

fn service(
    check: &mut Check,
    index: usize,
    entry: &ServiceEntry,
    names: &HashMap<String, (usize, ServiceName)>,
) -> Option<ValidService> {
    let ServiceEntry {
        name,
        display_name,
        description,
        command,
        env,
        working_directory,
        start_mode,
        state,
        account,
        password_secret_ref: _,
        wrap,
        depends_on,
        restart_on_change,
        stop_timeout_seconds,
        recovery,
        readiness_probe,
        liveness_probe,
    } = entry;
    let field = format!("spec.services[{index}]");
    let command = probes::command(check, &format!("{field}.command"), command);
    let working_directory = working_directory
        .as_ref()
        .and_then(|path| check.path(&format!("{field}.workingDirectory"), path, Reason::InvalidPath));
    let password = accounts::of_service(check, &field, entry);
    let wrap = wrap.unwrap_or(false);
    if wrap && check.is_posix() {
        let message = "is for Windows, and the paths of this EdgeNode are of Linux; remove it";
        check.error(format!("{field}.wrap"), Reason::NotSupported, message);
    }
    let service = Service {
        name: ServiceName::parse(name).ok()?,
        display_name: display_name.clone().unwrap_or_default(),
        description: description.clone().unwrap_or_default(),
        command,
        env: self::env(check, &format!("{field}.env"), env),
        working_directory,
        account: account.clone(),
        start_mode: start_mode_of(*start_mode),
        state: self::state(check, &format!("{field}.state"), *state, wrap),
        depends_on: dependencies(check, &format!("{field}.dependsOn"), depends_on, names),
        restart_on_change: files(check, &format!("{field}.restartOnChange"), restart_on_change),
        stop_timeout_seconds: check.number(
            &format!("{field}.stopTimeoutSeconds"),
            *stop_timeout_seconds,
            DEFAULT_STOP_TIMEOUT_SECONDS,
            1..=3600,
        ),
        recovery: self::recovery(check, &format!("{field}.recovery"), recovery.as_ref()),
        readiness_probe: readiness_probe
            .as_ref()
            .and_then(|p| probes::probe(check, &format!("{field}.readinessProbe"), p)),
        liveness_probe: liveness_probe
            .as_ref()
            .and_then(|p| probes::liveness(check, &format!("{field}.livenessProbe"), p)),
        wrap,
        password: None,
    };
    Some(ValidService { service, password })
}

fn env(check: &mut Check, field: &str, entries: &[EnvEntry]) -> Vec<EnvVar> {
    let mut variables: Vec<EnvVar> = Vec::new();
    for (i, EnvEntry { name, value }) in entries.iter().enumerate() {
        let same = |other: &str| other == name || (check.is_windows() && other.eq_ignore_ascii_case(name));
        if variables.iter().any(|v| same(&v.name)) {
            check.error(
                format!("{field}[{i}].name"),
                Reason::DuplicateName,
                format!("{name} is set twice; remove one"),
            );
        }
        if name.is_empty() || name.contains(['=', '\0']) {
            check.error(format!("{field}[{i}].name"), Reason::InvalidName, "is empty or holds = or NUL");
        }
        if value.contains('\0') {
            check.error(format!("{field}[{i}].value"), Reason::InvalidValue, "holds a NUL character; remove it");
        }
        variables.push(EnvVar { name: name.clone(), value: value.clone() });
    }
    variables.sort_by(|a, b| a.name.cmp(&b.name));
    variables
}

fn start_mode_of(mode: Option<ServiceStartMode>) -> StartMode {
    match mode {
        None | Some(ServiceStartMode::Automatic) => StartMode::Automatic,
        Some(ServiceStartMode::DelayedAutomatic) => StartMode::DelayedAutomatic,
        Some(ServiceStartMode::Manual) => StartMode::Manual,
        Some(ServiceStartMode::Disabled) => StartMode::Disabled,
    }
}

fn state(check: &mut Check, field: &str, state: Option<DesiredServiceState>, wrap: bool) -> ServiceState {
    match state {
        None | Some(DesiredServiceState::Running) => ServiceState::Running,
        Some(DesiredServiceState::Stopped) => ServiceState::Stopped,
        Some(DesiredServiceState::Paused) => {
            if check.is_posix() {
                check.error(field, Reason::NotSupported, "is Paused, which is for Windows; use Running or Stopped");
            } else if wrap {
                let message = "is Paused, which no program with wrap can be; use Running or Stopped";
                check.error(field, Reason::NotSupported, message);
            }
            ServiceState::Paused
        }
    }
}

fn dependencies(
    check: &mut Check,
    field: &str,
    entries: &[String],
    names: &HashMap<String, (usize, ServiceName)>,
) -> Vec<ServiceName> {
    let mut found = Vec::new();
    for (i, entry) in entries.iter().enumerate() {
        match names.get(&entry.to_ascii_lowercase()) {
            Some((_, name)) => found.push(name.clone()),
            None => {
                let message = format!("{entry:?} is no service of this EdgeNode; add it to spec.services or remove it");
                check.error(format!("{field}[{i}]"), Reason::UnknownServiceReference, message);
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Each as it is written in spec.files.
fn files(check: &mut Check, field: &str, entries: &[FileReference]) -> Vec<HostPath> {
    let mut found = Vec::new();
    for (i, FileReference { file }) in entries.iter().enumerate() {
        let field = format!("{field}[{i}].file");
        let Some(path) = check.path(&field, file, Reason::InvalidPath) else { continue };
        let identity = path.identity();
        match check.paths.iter().find(|(_, other, is_file)| *is_file && other.identity() == identity) {
            Some((_, listed, _)) => found.push(listed.clone()),
            None => {
                let message = format!("{path} is no file of this EdgeNode; add it to spec.files or remove it");
                check.error(field, Reason::UnknownFileReference, message);
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

fn recovery(check: &mut Check, field: &str, entry: Option<&RecoveryEntry>) -> Recovery {
    let Some(RecoveryEntry { actions, reset_after_seconds }) = entry else {
        let actions = DEFAULT_RESTART_DELAYS_SECONDS.map(|delay_seconds| RecoveryAction::Restart { delay_seconds });
        return Recovery { actions: actions.into(), reset_after_seconds: DEFAULT_RESET_AFTER_SECONDS };
    };
    let mut read = Vec::new();
    for (i, action) in actions.iter().enumerate() {
        match action {
            RecoveryActionEntry { restart: Some(restart), none: None } => {
                let field = format!("{field}.actions[{i}].restart.delaySeconds");
                let delay = check.number(&field, restart.delay_seconds, DEFAULT_RESTART_DELAY_SECONDS, 0..=86_400);
                read.push(RecoveryAction::Restart { delay_seconds: delay });
            }
            RecoveryActionEntry { restart: None, none: Some(_) } => read.push(RecoveryAction::None),
            _ => {
                let message = "set exactly one of restart and none";
                check.error(format!("{field}.actions[{i}]"), Reason::InvalidValue, message);
            }
        }
    }
    if actions.is_empty() {
        check.error(format!("{field}.actions"), Reason::InvalidValue, "is empty; name at least one action");
    }
    let field = format!("{field}.resetAfterSeconds");
    let reset = check.number(&field, *reset_after_seconds, DEFAULT_RESET_AFTER_SECONDS, 1..=31_536_000);
    Recovery { actions: read, reset_after_seconds: reset }
}

/// Follows each service's dependencies in depth, and names each circle once.
fn no_cycles(check: &mut Check, entries: &[ServiceEntry], names: &HashMap<String, (usize, ServiceName)>) {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        OnTheWay,
        Done,
    }
    fn visit(at: usize, edges: &[Vec<usize>], marks: &mut [Mark], way: &mut Vec<usize>, circles: &mut Vec<Vec<usize>>) {
        marks[at] = Mark::OnTheWay;
        way.push(at);
        for &next in &edges[at] {
            match marks[next] {
                Mark::New => visit(next, edges, marks, way, circles),
                Mark::OnTheWay => {
                    let start = way.iter().position(|&i| i == next).unwrap_or(0);
                    circles.push(way[start..].to_vec());
                }
                Mark::Done => {}
            }
        }
        way.pop();
        marks[at] = Mark::Done;
    }

    let edges: Vec<Vec<usize>> = entries
        .iter()
        .map(|e| e.depends_on.iter().filter_map(|d| names.get(&d.to_ascii_lowercase()).map(|(i, _)| *i)).collect())
        .collect();
    let mut marks = vec![Mark::New; entries.len()];
    let mut circles = Vec::new();
    for start in 0..entries.len() {
        if marks[start] == Mark::New {
            // As deep as there are services at most: 64 by the schema.
            visit(start, &edges, &mut marks, &mut Vec::new(), &mut circles);
        }
    }
    for circle in circles {
        let Some(&first) = circle.first() else { continue };
        let chain: Vec<&str> =
            circle.iter().chain([&first]).filter_map(|&i| entries.get(i)).map(|e| e.name.as_str()).collect();
        let message = format!("cycle {}; remove one of these dependencies", chain.join(" → "));
        check.error(format!("spec.services[{first}].dependsOn"), Reason::DependencyCycle, message);
    }
}
