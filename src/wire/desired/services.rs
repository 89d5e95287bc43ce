//! Services and probes of a document ↔ model. Pure.

use super::{content_from_wire, content_to_wire, each, name, non_empty, path};
use crate::{
    model::{Check, EnvVar, Probe, Recovery, RecoveryAction, Service, ServiceState, StartMode},
    wire::{WireError, desired_v1 as pb},
};

pub(super) fn service_to_wire(service: &Service) -> pb::Service {
    let Service {
        name,
        display_name,
        description,
        command,
        env,
        working_directory,
        account,
        start_mode,
        state,
        depends_on,
        restart_on_change,
        stop_timeout_seconds,
        recovery: Recovery { actions, reset_after_seconds },
        readiness_probe,
        liveness_probe,
        wrap,
        password,
    } = service;
    pb::Service {
        name: name.to_string(),
        display_name: display_name.clone(),
        description: description.clone(),
        command: command.clone(),
        env: env.iter().map(|e| pb::EnvVar { name: e.name.clone(), value: e.value.clone() }).collect(),
        working_directory: working_directory.as_ref().map(ToString::to_string).unwrap_or_default(),
        account: account.clone().unwrap_or_default(),
        start_mode: match start_mode {
            StartMode::Automatic => pb::StartMode::Automatic,
            StartMode::DelayedAutomatic => pb::StartMode::DelayedAutomatic,
            StartMode::Manual => pb::StartMode::Manual,
            StartMode::Disabled => pb::StartMode::Disabled,
        } as i32,
        state: match state {
            ServiceState::Running => pb::ServiceState::Running,
            ServiceState::Stopped => pb::ServiceState::Stopped,
            ServiceState::Paused => pb::ServiceState::Paused,
        } as i32,
        depends_on: depends_on.iter().map(ToString::to_string).collect(),
        restart_on_change: restart_on_change.iter().map(ToString::to_string).collect(),
        stop_timeout_seconds: *stop_timeout_seconds,
        recovery: Some(pb::Recovery {
            actions: actions.iter().map(recovery_action_to_wire).collect(),
            reset_after_seconds: *reset_after_seconds,
        }),
        readiness_probe: readiness_probe.as_ref().map(probe_to_wire),
        liveness_probe: liveness_probe.as_ref().map(probe_to_wire),
        wrap: *wrap,
        password: password.as_ref().map(content_to_wire),
    }
}

pub(super) fn service_from_wire(service: pb::Service) -> Result<Service, WireError> {
    if service.command.is_empty() {
        return Err(WireError::field("command", "is empty, expected a program"));
    }
    let recovery = service.recovery.ok_or_else(|| WireError::field("recovery", "is missing"))?;
    Ok(Service {
        name: name("name", &service.name)?,
        display_name: service.display_name,
        description: service.description,
        command: service.command,
        env: service.env.into_iter().map(|e| EnvVar { name: e.name, value: e.value }).collect(),
        working_directory: non_empty(service.working_directory).map(|p| path("working_directory", &p)).transpose()?,
        account: non_empty(service.account),
        start_mode: match pb::StartMode::try_from(service.start_mode) {
            Ok(pb::StartMode::Automatic) => StartMode::Automatic,
            Ok(pb::StartMode::DelayedAutomatic) => StartMode::DelayedAutomatic,
            Ok(pb::StartMode::Manual) => StartMode::Manual,
            Ok(pb::StartMode::Disabled) => StartMode::Disabled,
            _ => return Err(WireError::field("start_mode", format!("unknown value {}", service.start_mode))),
        },
        state: match pb::ServiceState::try_from(service.state) {
            Ok(pb::ServiceState::Running) => ServiceState::Running,
            Ok(pb::ServiceState::Stopped) => ServiceState::Stopped,
            Ok(pb::ServiceState::Paused) => ServiceState::Paused,
            _ => return Err(WireError::field("state", format!("unknown value {}", service.state))),
        },
        depends_on: service.depends_on.iter().map(|n| name("depends_on", n)).collect::<Result<_, _>>()?,
        restart_on_change: service
            .restart_on_change
            .iter()
            .map(|p| path("restart_on_change", p))
            .collect::<Result<_, _>>()?,
        stop_timeout_seconds: service.stop_timeout_seconds,
        recovery: Recovery {
            actions: each("recovery.actions", recovery.actions, recovery_action_from_wire)?,
            reset_after_seconds: recovery.reset_after_seconds,
        },
        readiness_probe: service.readiness_probe.map(probe_from_wire).transpose()?,
        liveness_probe: service.liveness_probe.map(probe_from_wire).transpose()?,
        wrap: service.wrap,
        password: service.password.map(|content| content_from_wire("password", content)).transpose()?,
    })
}

fn recovery_action_to_wire(action: &RecoveryAction) -> pb::RecoveryAction {
    use pb::recovery_action::{Action, None, Restart};
    let action = match action {
        RecoveryAction::Restart { delay_seconds } => Action::Restart(Restart { delay_seconds: *delay_seconds }),
        RecoveryAction::None => Action::None(None {}),
    };
    pb::RecoveryAction { action: Some(action) }
}

fn recovery_action_from_wire(action: pb::RecoveryAction) -> Result<RecoveryAction, WireError> {
    use pb::recovery_action::Action;
    match action.action {
        Some(Action::Restart(restart)) => Ok(RecoveryAction::Restart { delay_seconds: restart.delay_seconds }),
        Some(Action::None(_)) => Ok(RecoveryAction::None),
        Option::None => Err(WireError::field("action", "there is none that this version knows")),
    }
}

fn probe_to_wire(probe: &Probe) -> pb::Probe {
    let Probe { check, initial_delay_seconds, period_seconds, timeout_seconds, success_threshold, failure_threshold } =
        probe;
    let check = match check.clone() {
        Check::HttpGet { host, port, path, tls, headers } => pb::probe::Check::HttpGet(pb::probe::HttpGet {
            host,
            port: port.into(),
            path,
            scheme: if tls { "HTTPS" } else { "HTTP" }.to_owned(),
            headers: headers.into_iter().map(|(name, value)| pb::probe::Header { name, value }).collect(),
        }),
        Check::TcpSocket { host, port } => {
            pb::probe::Check::TcpSocket(pb::probe::TcpSocket { host, port: port.into() })
        }
        Check::Exec { command } => pb::probe::Check::Exec(pb::probe::Exec { command }),
        Check::Grpc { port, service } => pb::probe::Check::Grpc(pb::probe::Grpc { port: port.into(), service }),
    };
    pb::Probe {
        check: Some(check),
        initial_delay_seconds: *initial_delay_seconds,
        period_seconds: *period_seconds,
        timeout_seconds: *timeout_seconds,
        success_threshold: *success_threshold,
        failure_threshold: *failure_threshold,
    }
}

fn probe_from_wire(probe: pb::Probe) -> Result<Probe, WireError> {
    let port = |port: u32| {
        u16::try_from(port)
            .ok()
            .filter(|p| *p > 0)
            .ok_or_else(|| WireError::field("port", format!("{port} is not 1 to 65535")))
    };
    let check = match probe.check {
        Some(pb::probe::Check::HttpGet(get)) => Check::HttpGet {
            port: port(get.port)?,
            host: get.host,
            path: get.path,
            tls: match get.scheme.as_str() {
                "HTTP" => false,
                "HTTPS" => true,
                other => return Err(WireError::field("scheme", format!("{other:?} is neither HTTP nor HTTPS"))),
            },
            headers: get.headers.into_iter().map(|h| (h.name, h.value)).collect(),
        },
        Some(pb::probe::Check::TcpSocket(tcp)) => Check::TcpSocket { port: port(tcp.port)?, host: tcp.host },
        Some(pb::probe::Check::Exec(exec)) => Check::Exec { command: exec.command },
        Some(pb::probe::Check::Grpc(grpc)) => Check::Grpc { port: port(grpc.port)?, service: grpc.service },
        None => return Err(WireError::field("check", "there is none that this version knows")),
    };
    Ok(Probe {
        check,
        initial_delay_seconds: probe.initial_delay_seconds,
        period_seconds: probe.period_seconds.max(1),
        timeout_seconds: probe.timeout_seconds.max(1),
        success_threshold: probe.success_threshold.max(1),
        failure_threshold: probe.failure_threshold.max(1),
    })
}
