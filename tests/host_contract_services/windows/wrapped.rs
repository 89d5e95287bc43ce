//! Programs that are no services, run by `windlass-service-host`.

use std::fs;

use tokio::time::timeout;
use windlass::{
    agent::host::{Exit, Reason, ServiceControl},
    model::{EnvVar, HostPath},
};

use super::Machine;
use crate::LIMIT;

#[tokio::test]
async fn a_program_that_is_no_service_runs_as_one() {
    let mut machine = Machine::new();
    let mut service = machine.wrapped("wrap", &["--show-surroundings"]);
    service.env = vec![EnvVar { name: "ACME".into(), value: "a b".into() }];
    service.working_directory = HostPath::parse(machine.folder.path().to_str().expect("text")).ok();
    let process = machine.run(&service).await;
    machine.holds().await;
    let said = machine.read("log");
    assert!(said.contains(".tmp") && said.contains(" with ACME=a b\n"), "{said}");
    assert!(!machine.configure(&service).await);
    machine.services.request_stop(&service.name, &process).expect("asks");
    assert_eq!(timeout(LIMIT, machine.services.ended(&service.name, &process)).await, Ok(Exit::Code(0)));
    machine.released().await;
    let output = machine.read(&format!("wrapped/{}/output/output.log", service.name.identity())).replace('\r', "");
    let said = output.strip_prefix("wrap writes to its output\nwrap writes of its errors\n");
    // Wine 8 delivers no CTRL_BREAK (its GenerateConsoleCtrlEvent answers error 6): there the program is ended at once.
    assert!([Some(""), Some("wrap is asked to stop\n")].contains(&said), "{output}");

    service.env.clear();
    assert!(machine.configure(&service).await, "its process sees it");
    machine.services.delete(&service.name).await.expect("deletes");
    assert!(!machine.folder.path().join("wrapped").join(service.name.identity()).exists());
    machine.clear().await;
}

#[tokio::test]
async fn a_wrapped_program_that_ends_by_itself_is_a_crash_with_its_code() {
    let mut machine = Machine::new();
    let crash = machine.path("crash");
    let service = machine.wrapped("wrap-crash", &["--crash-at", &crash]);
    let process = machine.run(&service).await;
    fs::write(&crash, "now").expect("writes");
    assert_eq!(timeout(LIMIT, machine.services.ended(&service.name, &process)).await, Ok(Exit::Code(42)));
    let mut missing = service.clone();
    missing.command = vec![r"C:\no\such\program.exe".into()];
    assert!(machine.configure(&missing).await);
    let error = machine.start(&missing).await.expect_err("no program");
    assert_eq!(error.reason, Reason::NotExecutable, "{error}");
    machine.clear().await;
}

#[tokio::test]
async fn a_wrapped_program_ends_with_its_host_however_that_ends() {
    let mut machine = Machine::new();
    let mut service = machine.wrapped("wrap-stop", &["--refuses-stop"]);
    service.stop_timeout_seconds = 2;
    let process = machine.run(&service).await;
    machine.holds().await;
    machine.services.request_stop(&service.name, &process).expect("asks");
    assert_eq!(timeout(LIMIT, machine.services.ended(&service.name, &process)).await, Ok(Exit::Code(0)));
    machine.released().await;

    let process = machine.start(&service).await.expect("starts");
    machine.holds().await;
    machine.services.kill(&service.name, &process).expect("kills");
    machine.released().await;
    machine.clear().await;
}
