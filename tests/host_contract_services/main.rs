//! Holds services in memory and those of this machine against one suite of behaviours, and then the machine's own.

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[cfg(unix)]
mod linux;
#[cfg(windows)]
mod windows;

use std::{sync::Mutex, time::Duration};

use tokio::time::{Instant, timeout};
use windlass::{
    agent::host::{
        Credentials, Exit, HostError, ProcessIdentity, Reason, Running, ServiceControl, memory_services::MemoryServices,
    },
    model::{Recovery, RecoveryAction, Service, ServiceName, ServiceState, StartMode},
};

/// Far beyond what anything here takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Looks again and again: what a program does comes with no event.
async fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {LIMIT:?} in vain");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn service(name: &str, command: &[&str]) -> Service {
    Service {
        name: ServiceName::parse(name).expect("name"),
        display_name: String::new(),
        description: String::new(),
        command: command.iter().map(ToString::to_string).collect(),
        env: Vec::new(),
        working_directory: None,
        account: None,
        start_mode: StartMode::Automatic,
        state: ServiceState::Running,
        depends_on: Vec::new(),
        restart_on_change: Vec::new(),
        stop_timeout_seconds: 30,
        recovery: Recovery { actions: vec![RecoveryAction::None], reset_after_seconds: 600 },
        readiness_probe: None,
        liveness_probe: None,
        wrap: false,
        password: None,
    }
}

/// What holds for every machine's services. `stopped` is how one ends that was asked to stop.
async fn suite(control: &dyn ServiceControl, service: &Service, stopped: Exit) {
    let name = &service.name;
    assert_eq!(control.exists(name).await, Ok(false));
    for changed in [false, false] {
        let configured = control.configure(service, &Credentials::default()).await.expect("configures");
        assert_eq!((configured.changed, configured.running), (changed, None));
    }
    assert_eq!(control.exists(name).await, Ok(control.is_managed()));
    let journaled = Mutex::new(Vec::new());
    let journal = |process: &ProcessIdentity| {
        journaled.lock().expect("lock").push(process.clone());
        Ok(())
    };
    let process = control.start(service, &journal).await.expect("starts");
    assert_eq!(*journaled.lock().expect("lock"), std::slice::from_ref(&process));
    assert_eq!(process.boot_id, control.boot_id());
    assert!(control.is_running(&process));
    if control.is_managed() {
        // It is never started beside itself, and so is not looked for when the store is lost.
        assert_eq!(control.running(name), Ok(Some(Running { process: process.clone(), paused: false })));
        assert_eq!(control.start(service, &journal).await, Ok(process.clone()));
    } else {
        assert_eq!(control.survivors(), Ok(vec![(name.clone(), process.clone())]));
    }
    let earlier = ProcessIdentity { start_time: process.start_time - 1, ..process.clone() };
    let rebooted = ProcessIdentity { boot_id: "another start".into(), ..process.clone() };
    for stranger in [&earlier, &rebooted] {
        assert!(!control.is_running(stranger));
        assert_eq!(timeout(LIMIT, control.ended(name, stranger)).await, Ok(Exit::Unknown));
        control.request_stop(name, stranger).expect("nothing to stop");
        control.kill(name, stranger).expect("nothing to kill");
    }
    assert!(control.is_running(&process), "a stranger's end was this one's");

    control.request_stop(name, &process).expect("asks");
    assert_eq!(timeout(LIMIT, control.ended(name, &process)).await, Ok(stopped));
    assert!(!control.is_running(&process));
    assert_eq!(control.survivors(), Ok(Vec::new()));
    assert_eq!(control.running(name), Ok(None));
    control.kill(name, &process).expect("nothing is left");
    assert!(timeout(LIMIT, control.ended(name, &process)).await.is_ok());

    let refused = HostError { reason: Reason::DiskFull, message: "the disk is full".into() };
    let outcome = control.start(service, &|_| Err(refused.clone())).await;
    assert_eq!(outcome, Err(refused));
    if let Some(Running { process, .. }) = control.running(name).expect("known") {
        control.kill(name, &process).expect("kills");
    }
    control.delete(name).await.expect("forgets");
    control.delete(name).await.expect("there being none is success");
    assert_eq!(control.exists(name).await, Ok(false));
}

#[tokio::test]
async fn services_in_memory_behave() {
    let control = MemoryServices::default();
    suite(&control, &service("a", &["/bin/sleep", "1000"]), Exit::Signal(15)).await;
    assert!(control.running().is_empty());
}
