//! What `validate` takes and refuses, as a table.

mod windows;

use super::*;
use crate::model;

fn spec(yaml: &str) -> EdgeNodeSpec {
    serde_saphyr::from_str(yaml).unwrap_or_else(|e| panic!("{e}\n{yaml}"))
}

#[test]
fn each_fault_has_its_field_its_reason_and_a_mend() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "services: [{name: a, command: [/a], dependsOn: [b]}, {name: b, command: [/b], dependsOn: [c]}, {name: c, command: [/c], dependsOn: [a]}]",
            "DependencyCycle",
            "spec.services[0].dependsOn: cycle a → b → c → a; remove one of these dependencies",
        ),
        (
            "services: [{name: a, command: [/a], dependsOn: [a]}]",
            "DependencyCycle",
            "spec.services[0].dependsOn: cycle a → a; remove one of these dependencies",
        ),
        (
            "services: [{name: a, command: [/a], dependsOn: [x]}]",
            "UnknownServiceReference",
            "spec.services[0].dependsOn[0]: \"x\" is no service of this EdgeNode; add it to spec.services or remove it",
        ),
        (
            "services: [{name: a, command: [/a], restartOnChange: [{file: /x}]}]",
            "UnknownFileReference",
            "spec.services[0].restartOnChange[0].file: /x is no file of this EdgeNode; add it to spec.files or remove it",
        ),
        (
            "directories: [{path: 'C:\\Acme'}]\nfiles: [{path: 'c:/ACME', source: {inline: x}}]",
            "DuplicatePath",
            "spec.files[0].path: C:\\ACME is named by spec.directories[0].path already; remove one of them",
        ),
        (
            "services: [{name: Acme, command: [/a]}, {name: acme, command: [/b]}]",
            "DuplicateName",
            "spec.services[1].name: acme is the name of spec.services[0] but for its case; rename one",
        ),
        (
            "files: [{path: /a/../b, source: {inline: x}}]",
            "InvalidPath",
            "spec.files[0].path: \"/a/../b\" cannot be managed: it has a component . or ..",
        ),
        (
            "files: [{path: /a/b, source: {inline: x}}, {path: /a/b/c/d, source: {inline: x}}]",
            "PathConflict",
            "spec.files[1].path: /a/b/c/d lies below /a/b, which spec.files[0].path makes a file; change one of them",
        ),
        (
            "files: [{path: /a, source: {inline: x}}]\nservices: [{name: a, command: ['C:\\a.exe']}]",
            "MixedPlatforms",
            "spec.services[0].command[0]: is a path of Windows, but spec.files[0].path is of Linux; a node has one platform",
        ),
        (
            "services: [{name: a, command: [/a], workingDirectory: 'C:\\a'}]",
            "MixedPlatforms",
            "spec.services[0].workingDirectory: is a path of Windows, but spec.services[0].command[0] is of Linux; a node has one platform",
        ),
        (
            "services: [{name: a, command: [/a], state: Paused}]",
            "NotSupported",
            "spec.services[0].state: is Paused, which is for Windows; use Running or Stopped",
        ),
        (
            "files: [{path: 'C:\\a', source: {inline: x}, mode: '0644'}]",
            "NotSupported",
            "spec.files[0].mode: is for Linux, and the paths of this EdgeNode are of Windows; remove it",
        ),
        (
            "files: [{path: /a, source: {inline: x}, mode: '17777'}]",
            "InvalidMode",
            "spec.files[0].mode: is \"17777\"; expected permission bits in octal up to \"7777\", such as \"0644\"",
        ),
        (
            "files: [{path: /a, source: {}}]",
            "InvalidSource",
            "spec.files[0].source: set exactly one of inline, configMapKeyRef, secretKeyRef and artifact",
        ),
        (
            "files: [{path: /a, source: {artifact: {url: 'https://', sha256: 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'}}}]",
            "InvalidSource",
            "spec.files[0].source.artifact.url: is no URL that can be downloaded; expected http://… or https://… with a host",
        ),
        (
            "services: [{name: a, command: [a.sh]}]",
            "InvalidCommand",
            "spec.services[0].command[0]: \"a.sh\" cannot be managed: it is not absolute; expected /… or C:\\…",
        ),
        (
            "services: [{name: a, command: [/a], livenessProbe: {tcpSocket: {port: 1}, successThreshold: 2}}]",
            "InvalidProbe",
            "spec.services[0].livenessProbe.successThreshold: is 2; a liveness probe passes with 1, so remove it or set 1",
        ),
        (
            "services: [{name: a, command: [/a], readinessProbe: {tcpSocket: {port: 1}, grpc: {port: 1}}}]",
            "InvalidProbe",
            "spec.services[0].readinessProbe: set exactly one of httpGet, tcpSocket, exec and grpc",
        ),
        (
            "services: [{name: a, command: [/a], readinessProbe: {httpGet: {port: 1, path: '/a b'}}}]",
            "InvalidProbe",
            "spec.services[0].readinessProbe.httpGet.path: \"/a b\" is no path of a request; expected /… with special characters percent-encoded",
        ),
        (
            "services: [{name: a, command: [/a], stopTimeoutSeconds: 0}]",
            "InvalidValue",
            "spec.services[0].stopTimeoutSeconds: is 0; expected 1 to 3600",
        ),
        (
            "services: [{name: -a, command: [/a]}]",
            "InvalidName",
            "spec.services[0].name: \"-a\" is not a service name: expected 1 to 63 letters, digits, '-', '_', '.', beginning with a letter or digit, ending with no dot, and no device of Windows such as con or nul.x",
        ),
        (
            "services: [{name: a, command: ['C:\\a.exe'], env: [{name: Path, value: a}, {name: PATH, value: b}]}]",
            "DuplicateName",
            "spec.services[0].env[1].name: PATH is set twice; remove one",
        ),
    ];
    hold(cases);
}

fn hold(cases: &[(&str, &str, &str)]) {
    for (yaml, reason, message) in cases {
        let errors = validate(&spec(yaml)).expect_err(yaml);
        let found: Vec<_> = errors.iter().map(|e| (e.reason.as_str(), e.to_string())).collect();
        assert_eq!(found, [(*reason, (*message).to_owned())], "{yaml}");
    }
}

#[test]
fn every_fault_is_told_not_the_first_alone() {
    let errors = validate(&spec("files: [{path: a, source: {}}, {path: /b, source: {inline: x}, mode: '9'}]"));
    let fields: Vec<String> = errors.expect_err("invalid").into_iter().map(|e| e.field).collect();
    assert_eq!(fields, ["spec.files[0].path", "spec.files[0].source", "spec.files[1].mode"]);
}

#[test]
fn the_defaults_are_those_that_the_descriptions_state() {
    let valid = validate(&spec(
        "services: [{name: a, command: [/a], readinessProbe: {httpGet: {port: 80}}, livenessProbe: {tcpSocket: {port: 81}}}]",
    ))
    .expect("valid");
    let service = &valid.services[0].service;
    let restart = |delay_seconds| model::RecoveryAction::Restart { delay_seconds };
    assert_eq!(service.recovery.actions, [restart(1), restart(5), restart(30)]);
    assert_eq!(service.recovery.reset_after_seconds, 600);
    assert_eq!(service.stop_timeout_seconds, 30);
    assert_eq!((service.start_mode, service.state), (model::StartMode::Automatic, model::ServiceState::Running));
    let check =
        model::Check::HttpGet { host: "127.0.0.1".into(), port: 80, path: "/".into(), tls: false, headers: Vec::new() };
    let probe = model::Probe {
        check,
        initial_delay_seconds: 0,
        period_seconds: 10,
        timeout_seconds: 1,
        success_threshold: 1,
        failure_threshold: 3,
    };
    assert_eq!(service.readiness_probe, Some(probe));
    let check = model::Check::TcpSocket { host: "127.0.0.1".into(), port: 81 };
    assert_eq!(service.liveness_probe.as_ref().map(|p| &p.check), Some(&check));
}

#[test]
fn lists_come_sorted_and_references_as_their_entries_are_written() {
    let valid = validate(&spec(
        "drift: Audit\nfiles: [{path: 'C:\\b', source: {inline: x}, drift: Enforce}, {path: 'C:\\a', source: {inline: x}}]\nservices: [{name: b, command: ['C:\\b.exe'], dependsOn: [A], restartOnChange: [{file: 'c:/B'}]}, {name: a, command: ['C:\\a.exe']}]",
    ))
    .expect("valid");
    let files: Vec<_> = valid.files.iter().map(|f| (f.path.as_str(), f.drift)).collect();
    assert_eq!(files, [("C:\\a", Drift::Audit), ("C:\\b", Drift::Enforce)]);
    assert_eq!(valid.services[0].service.name.as_str(), "a");
    assert_eq!(valid.services[1].service.depends_on[0].as_str(), "a");
    assert_eq!(valid.services[1].service.restart_on_change[0].as_str(), "C:\\b");
}
