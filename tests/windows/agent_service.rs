//! The agent as a service: its verbs, what it keeps in the registry, and how it comes up with the machine.

use std::process::Output;

use serde_json::json;

use crate::{
    machine::{Machine, inline},
    parts::{World, until},
};

const AGENT: &str = r"C:\windlass-agent.exe";
const STATE: &str = r"C:\ProgramData\windlass";
const LOG: &str = r"C:\ProgramData\windlass\logs\agent.log";
const SOURCE: &str = r"HKLM\SYSTEM\CurrentControlSet\Services\EventLog\Application\windlass-agent";
const SERVICE: &str = r"HKLM\SYSTEM\CurrentControlSet\Services\windlass-agent";
const SETTINGS: &str = r"HKLM\SOFTWARE\windlass\Agent";

/// What a verb exits with and says. Of the code, Linux hands eight bits on.
fn verb(machine: &Machine, arguments: &[&str]) -> (u32, String) {
    let Output { status, stdout, stderr } = machine.run(&[&[AGENT], arguments].concat());
    let code = u32::try_from(status.code().expect("not ended by a signal")).expect("not negative");
    (code, String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

fn done(machine: &Machine, arguments: &[&str]) {
    let (code, said) = verb(machine, arguments);
    assert_eq!(code, 0, "{arguments:?}: {said}");
}

fn refused(machine: &Machine, arguments: &[&str], expected: u32, words: &str) {
    let (code, said) = verb(machine, arguments);
    assert_eq!(code, expected & 0xFF, "{arguments:?}: {said}");
    assert!(said.contains(words) && said.contains(&format!("(error {expected})")), "{arguments:?}: {said}");
}

/// What `reg query` says a value holds.
fn registry(machine: &Machine, key: &str, name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(&machine.run(&["reg", "query", key, "/v", name]).stdout).into_owned();
    let line = text.lines().find(|line| line.trim_start().starts_with(name))?;
    line.split("    ").filter(|part| !part.is_empty()).nth(2).map(|data| data.trim().to_owned())
}

fn set(machine: &Machine, name: &str, value: &str) {
    let added = machine.run(&["reg", "add", SETTINGS, "/v", name, "/d", value, "/f"]);
    assert!(added.status.success(), "{added:?}");
}

#[tokio::test]
async fn the_verbs_do_what_sc_does_and_say_what_is_missing() {
    let world = World::new().await;
    let machine = Machine::new(&world, "verbs");
    refused(&machine, &["start"], 1060, "windlass-agent install");
    refused(&machine, &["stop"], 1060, "windlass-agent install");
    refused(&machine, &["uninstall"], 1060, "windlass-agent install");
    machine.write(r"C:\bad.yaml", "token: c2VjcmV0\n");
    let (code, said) = verb(&machine, &["install", "--enrollment", r"C:\bad.yaml"]);
    assert!(code == 13 && said.contains("apiVersion") && !said.contains("c2VjcmV0"), "{code}: {said}");
    assert_eq!(machine.service_state("windlass-agent"), None, "nothing is installed with a bad file");

    done(&machine, &["install", "--no-start"]);
    assert_eq!(machine.service_state("windlass-agent").as_deref(), Some("STOPPED"));
    let path = registry(&machine, SERVICE, "ImagePath").expect("a command");
    assert!(path.ends_with("run --service") && path.contains("windlass-agent.exe"), "{path}");
    assert_eq!(registry(&machine, SERVICE, "Start").as_deref(), Some("0x2"), "Automatic");
    assert_eq!(registry(&machine, SERVICE, "PreshutdownTimeout").as_deref(), Some("0x2bf20"), "180 s");
    assert_eq!(registry(&machine, SOURCE, "TypesSupported").as_deref(), Some("0x7"));
    assert_eq!(registry(&machine, SOURCE, "EventMessageFile").as_deref(), Some(AGENT));

    done(&machine, &["start"]);
    assert_eq!(machine.service_state("windlass-agent").as_deref(), Some("RUNNING"), "without a network or a node");
    refused(&machine, &["install"], 1073, "windlass-agent uninstall");
    refused(&machine, &["start"], 1056, "runs already");
    let (code, said) = verb(&machine, &["status"]);
    assert!(code == 1 && said.contains("not enrolled"), "{code}: {said}");
    done(&machine, &["stop"]);
    assert_eq!(machine.service_state("windlass-agent").as_deref(), Some("STOPPED"));
    refused(&machine, &["stop"], 1062, "does not run");
    assert_eq!(verb(&machine, &["status"]).0, 3, "no agent answers");
    let log = machine.read(LOG).expect("a log");
    for said in ["windlass-agent starts", "waits for an enrollment file", "asked to stop", "stopped"] {
        assert!(log.contains(said), "{said:?} is not in the log:\n{log}");
    }

    done(&machine, &["start"]);
    done(&machine, &["uninstall"]);
    assert_eq!(machine.service_state("windlass-agent"), None);
    assert_eq!(registry(&machine, SOURCE, "TypesSupported"), None);
    assert!(machine.exists(&format!(r"{STATE}\agent.redb")), "data is left");
    done(&machine, &["uninstall", "--purge"]);
    assert!(!machine.exists(STATE), "purged");
}

#[tokio::test]
async fn a_directory_where_no_agent_kept_its_state_is_not_purged() {
    let world = World::new().await;
    let machine = Machine::new(&world, "purge");
    machine.write(r"C:\Acme\press.yaml", "line: 7\n");
    let (code, said) = verb(&machine, &["uninstall", "--purge", "--state-dir", r"C:\Acme"]);
    assert!(code != 0 && said.contains("no agent kept its state there"), "{code}: {said}");
    assert!(machine.exists(r"C:\Acme\press.yaml"));
}

#[tokio::test]
async fn settings_of_the_registry_count_and_a_file_that_is_no_enrollment_is_told_and_left() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let machine = Machine::new(&world, "settings");
    let node = world.node("press-07", json!({"files": [inline(r"C:\Acme\press.yaml", "line: 7\n")]})).await;
    set(&machine, "StateDir", r"C:\elsewhere");
    set(&machine, "LogFormat", "json");
    set(&machine, "LogLevel", "warn");
    set(&machine, "EnrollmentFile", r"C:\given.yaml");
    machine.write(r"C:\given.yaml", "token: c2VjcmV0\n");
    done(&machine, &["install"]);
    let log = machine.read(r"C:\elsewhere\logs\agent.log").expect("a log where the registry says");
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines.iter().all(|line| line["level"] != "INFO"), "{log}");
    assert!(log.contains("the installer's enrollment file cannot be used") && !log.contains("c2VjcmV0"), "{log}");
    assert!(machine.exists(r"C:\given.yaml"), "it is left for a person to look at");
    assert_eq!(machine.service_state("windlass-agent").as_deref(), Some("RUNNING"));

    machine.write(r"C:\given.yaml", &node.enrollment().await);
    done(&machine, &["stop"]);
    done(&machine, &["start"]);
    node.until_ready().await;
    assert!(!machine.exists(r"C:\given.yaml"), "it is deleted after use");
    assert_eq!(registry(&machine, SETTINGS, "EnrollmentFile"), None, "and forgotten");
    assert_eq!(verb(&machine, &["status"]).0, 0, "status finds the state directory as well");
    let key = std::fs::read(machine.outside(r"C:\elsewhere\identity\key.pem")).expect("a key");
    assert!(!key.windows(5).any(|part| part == b"BEGIN"), "the key is encrypted at rest");
}

#[tokio::test]
async fn the_service_comes_up_with_the_machine_without_a_link_and_keeps_it() {
    let world = World::new().await;
    let mut operator = world.operator().await;
    let mut machine = Machine::new(&world, "boot");
    let path = r"C:\Acme\press.yaml";
    let node = world.node("press-07", json!({"files": [inline(path, "line: 7\n")]})).await;
    machine.write(r"C:\enrollment.yaml", &node.enrollment().await);
    done(&machine, &["install", "--enrollment", r"C:\enrollment.yaml"]);
    node.until_ready().await;
    assert!(machine.exists(r"C:\enrollment.yaml"), "a person's own file is the person's to delete");

    operator.kill();
    machine.write(path, "line: 8\n");
    machine.reboot();
    until("the drift is put back", || (machine.read(path)? == "line: 7\n").then_some(())).await;
    assert_eq!(machine.service_state("windlass-agent").as_deref(), Some("RUNNING"));
    operator.start_again().await;
    node.until_ready().await;
}
