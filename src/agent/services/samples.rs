//! Services and probes for the tests of this room.

use crate::model::{Check, Probe, Recovery, RecoveryAction, Service, ServiceName, ServiceState, StartMode};

pub(crate) fn name(text: &str) -> ServiceName {
    ServiceName::parse(text).expect("a service name")
}

/// A service with neither dependencies nor probes, restarted after 1, 5 and then 30 seconds.
pub(crate) fn service(text: &str) -> Service {
    let delays = [1, 5, 30];
    Service {
        name: name(text),
        display_name: String::new(),
        description: String::new(),
        command: vec![format!("/bin/{text}")],
        env: Vec::new(),
        working_directory: None,
        account: None,
        start_mode: StartMode::Automatic,
        state: ServiceState::Running,
        depends_on: Vec::new(),
        restart_on_change: Vec::new(),
        stop_timeout_seconds: 30,
        recovery: Recovery {
            actions: delays.map(|delay_seconds| RecoveryAction::Restart { delay_seconds }).into(),
            reset_after_seconds: 600,
        },
        readiness_probe: None,
        liveness_probe: None,
        wrap: false,
        password: None,
    }
}

/// A probe of a port, every second, with the thresholds 1 and 3.
pub(crate) fn probe() -> Probe {
    Probe {
        check: Check::TcpSocket { host: "127.0.0.1".into(), port: 1 },
        initial_delay_seconds: 0,
        period_seconds: 1,
        timeout_seconds: 1,
        success_threshold: 1,
        failure_threshold: 3,
    }
}
