//! What only Windows has: values of the registry, packages, and programs that cannot be replaced while they run.

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::timeout;
use windlass::{
    agent::{
        host::{
            HostError, Reason,
            memory::{MemoryHost, MemoryNode},
            memory_installer::Installers,
        },
        place::{Place, Thing},
        services::ServiceReports,
        store::Store,
    },
    model::{
        Artifact, DesiredState, Digest, Drift, Installer, MsiVersion, NodeFacts, Package, PackageName, ProductCode,
        Recovery, RecoveryAction, RegistryData, RegistryKey, RegistryPlace, RegistryValue, Service, ServiceName,
        ServicePhase, ServiceReport, ServiceState, StartMode, View, features,
    },
};

use super::node::{DRIFT_PERIOD, Node, document, file};

fn windows() -> Arc<MemoryHost> {
    let host = MemoryHost::with_features(NodeFacts::default(), features::ALL);
    host.put_at(&Place::Key(line().parent().expect("a key").parent().expect("SOFTWARE")), Some(MemoryNode::Key));
    Arc::new(host)
}

fn line() -> RegistryKey {
    RegistryPlace::parse(r"HKLM\SOFTWARE\Acme\Line", "", View::Bits64).expect("place").holder()
}

fn with_registry_and_package() -> DesiredState {
    let code = ProductCode::parse("{00000000-0000-0000-0000-000000000001}").expect("code");
    let installer = Installer::Msi {
        artifact: Artifact { url: "https://x/".into(), sha256: Digest::of(b"msi") },
        product_code: code,
        version: MsiVersion::parse("1.0").expect("version"),
        properties: vec![],
    };
    let place = RegistryPlace::parse(&line().path(), "Number", View::Bits64).expect("place");
    let mut desired = document(vec![]);
    desired.registry_values = vec![RegistryValue { place, data: RegistryData::Dword(3), drift: Drift::Enforce }];
    desired.packages = vec![Package { name: PackageName::parse("acme-runtime").expect("name"), installer }];
    desired.required_features = features::used_by(&desired);
    desired
}

#[tokio::test(start_paused = true)]
async fn values_and_packages_are_brought_in_place_and_counted() {
    let mut node = Node::start_with(windows(), Arc::default(), Arc::default()).await;
    node.supervise().await;
    let revision = node.deliver(&with_registry_and_package());
    let sha256 = Digest::of(b"msi");
    let mut artifacts = node.artifacts.clone();
    let asked = artifacts.wait_for(|wanted| wanted.iter().any(|a| a.sha256 == sha256));
    timeout(Duration::from_secs(600), asked).await.expect("in time").expect("running");
    node.bring(b"msi");
    let report = node.until_applied(&revision).await;
    assert_eq!((report.resources.total, report.resources.in_desired_state), (2, 2));
    assert!(!report.reboot_pending);
    assert_eq!(node.host.installer_log(), ["install acme-runtime"]);
    assert!(node.artifacts.borrow().is_empty(), "what is installed is not downloaded again");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_somebody_changes_is_put_back_at_once() {
    let mut node = Node::start_with(windows(), Arc::default(), Arc::default()).await;
    node.supervise().await;
    let mut desired = with_registry_and_package();
    desired.packages.clear();
    desired.required_features = features::used_by(&desired);
    let place = Place::Value(desired.registry_values[0].place.clone());
    let revision = node.deliver(&desired);
    node.until_applied(&revision).await;
    let held = || node.host.everything().get(&place.identity()).cloned();
    for other in [Some(MemoryNode::Value(RegistryData::Dword(4))), None] {
        node.host.put_at(&place, other);
        let changed = tokio::time::Instant::now();
        while held() != Some(MemoryNode::Value(RegistryData::Dword(3))) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(changed.elapsed() < DRIFT_PERIOD / 10, "it is seen by and by only");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_an_installer_asks_for_is_told_until_the_machine_has_had_it() {
    let host = windows();
    host.set_installers(Installers::AskForRestart);
    let mut node = Node::start_with(host, Arc::default(), Arc::default()).await;
    node.supervise().await;
    node.bring(b"msi");
    let revision = node.deliver(&with_registry_and_package());
    let report = node.until_applied(&revision).await;
    assert!(report.reboot_pending && report.failures.is_empty(), "{report:?}");
    node.host.restart();
    node.until("restarted", |r| !r.reboot_pending).await;
}

#[tokio::test(start_paused = true)]
async fn an_installer_that_fails_is_told_with_its_package_and_tried_again_ever_more_rarely() {
    let host = windows();
    let error = HostError::new(Reason::InstallFailed, "install the package acme-runtime: ended with 1603");
    host.set_installers(Installers::Fail(error));
    let mut node = Node::start_with(host, Arc::default(), Arc::default()).await;
    node.supervise().await;
    node.bring(b"msi");
    let revision = node.deliver(&with_registry_and_package());
    let report = node.until("failed", |r| r.resources.failed == 1).await;
    let failure = &report.failures[0];
    assert_eq!((failure.resource.as_str(), failure.reason.as_str()), ("package acme-runtime", "InstallFailed"));
    assert_eq!((report.resources.in_desired_state, report.progressing), (1, false));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!((5..10).contains(&node.host.installer_log().len()), "{}", node.host.installer_log().len());
    node.host.set_installers(Installers::Work);
    node.until_applied(&revision).await;
}

/// An installer that lasts.
async fn meet(meeting: &Arc<Barrier>) {
    let meeting = meeting.clone();
    tokio::task::spawn_blocking(move || meeting.wait()).await.expect("met");
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_an_installer_and_leaves_one_that_lasts_to_itself() {
    for ends_in_time in [true, false] {
        let (host, meeting) = (windows(), Arc::new(Barrier::new(2)));
        host.set_installers(Installers::Last(meeting.clone()));
        let node = Node::start_with(host, Arc::default(), Arc::default()).await;
        node.bring(b"msi");
        node.deliver(&with_registry_and_package());
        meet(&meeting).await;
        node.shutdown.cancel();
        // Time stands still while a thread of the agent works.
        for _ in 0..19 {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(!node.running.is_finished(), "it is waited for");
        if ends_in_time {
            meet(&meeting).await;
            node.running.await.expect("ended");
            let ledger = node.store.ledger().expect("ledger");
            assert!(ledger.iter().any(|(_, entry)| matches!(entry.thing, Thing::Package(..))), "{ledger:?}");
            assert_eq!(node.store.journal(), Ok(None));
            continue;
        }
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let (is_left, journal) = (node.running.is_finished(), node.store.journal());
        // It was not ended.
        meet(&meeting).await;
        assert!(is_left, "it is waited for longer");
        let journal = journal.expect("journal").expect("looked at by the next agent");
        assert!(journal.was_absent && !journal.removal, "{journal:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_that_differs_is_told_as_a_value_of_the_registry() {
    let mut node = Node::start_with(windows(), Arc::default(), Arc::default()).await;
    node.supervise().await;
    let mut desired = with_registry_and_package();
    desired.packages.clear();
    desired.registry_values[0].drift = Drift::Audit;
    let revision = node.deliver(&desired);
    node.until_applied(&revision).await;
    let place = Place::Value(desired.registry_values[0].place.clone());
    node.host.put_at(&place, Some(MemoryNode::OtherValue(42)));
    let report = node.until("drifted", |r| r.resources.drifted == 1).await;
    assert_eq!(
        report.failures[0].message,
        r"registry value HKLM\SOFTWARE\Acme\Line\Number is of the unknown type 42 with 0 bytes, expected a REG_DWORD; left so under Audit"
    );
}

#[tokio::test(start_paused = true)]
async fn a_machine_without_a_registry_refuses_a_document_that_needs_one() {
    let mut node = Node::start().await;
    node.supervise().await;
    node.deliver(&with_registry_and_package());
    let report = node.until("refused", |r| r.notice.is_some()).await;
    let notice = report.notice.clone().expect("notice");
    assert_eq!(notice.reason, "UnsupportedByAgent");
    assert!(notice.message.contains("packages, registryValues"), "{notice:?}");
    assert!(node.artifacts.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_program_that_runs_is_replaced_once_its_service_has_stopped_and_no_failure_is_told() {
    let host = windows();
    let runs = Arc::new(AtomicBool::new(false));
    let program = runs.clone();
    host.set_in_use(move |path| path.as_str() == r"C:\app.exe" && program.load(Ordering::Relaxed));
    let mut node = Node::start_with(host, Arc::default(), Arc::default()).await;
    // A supervisor with one service, which takes a moment to stop.
    let (services, mut inputs, supervised) = (node.services.clone(), node.inputs.clone(), runs.clone());
    tokio::spawn(async move {
        loop {
            let now = inputs.borrow_and_update().clone();
            let tell = |state, carried_out| {
                let report = ServiceReport {
                    name: "app".into(),
                    state,
                    ready: carried_out,
                    restarts: 0,
                    reason: String::new(),
                    message: String::new(),
                };
                services.send_replace(Arc::new(ServiceReports {
                    answers: now.number,
                    carried_out,
                    services: vec![report],
                    leftovers: Vec::new(),
                }));
            };
            if !now.files_to_release.is_empty() && supervised.load(Ordering::Relaxed) {
                tell(ServicePhase::Stopping, false);
                tokio::time::sleep(Duration::from_secs(9)).await;
                supervised.store(false, Ordering::Relaxed);
            }
            if now.files_in_place.len() == 1 {
                supervised.store(true, Ordering::Relaxed);
                tell(ServicePhase::Running, true);
            } else {
                let state =
                    if supervised.load(Ordering::Relaxed) { ServicePhase::Running } else { ServicePhase::Waiting };
                tell(state, false);
            }
            if inputs.changed().await.is_err() {
                return;
            }
        }
    });
    let with = |bytes: &[u8]| {
        let mut desired = document(vec![file(r"C:\app.exe", bytes, Drift::Enforce)]);
        desired.services = vec![service("app", r"C:\app.exe")];
        desired
    };
    node.bring(b"one");
    let revision = node.deliver(&with(b"one"));
    node.until_applied(&revision).await;
    assert!(runs.load(Ordering::Relaxed));

    let mut reports = node.report.clone();
    let told = tokio::spawn(async move {
        let mut failures = Vec::new();
        while reports.changed().await.is_ok() {
            failures.extend(reports.borrow_and_update().failures.clone());
        }
        failures
    });
    let began = tokio::time::Instant::now();
    let revision = node.deliver(&with(b"two"));
    node.bring(b"two");
    node.until_applied(&revision).await;
    assert!((9..11).contains(&began.elapsed().as_secs()), "at once when it has stopped: {:?}", began.elapsed());
    assert_eq!(
        node.host
            .everything()
            .get(r"c:\app.exe")
            .map(|node| matches!(node, MemoryNode::File(bytes, _) if bytes == b"two")),
        Some(true)
    );
    node.stop().await;
    assert_eq!(told.await.expect("no panic"), []);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_nobody_windlass_knows_keeps_in_use_is_told() {
    let host = windows();
    host.set_in_use(|_| true);
    let mut node = Node::start_with(host, Arc::default(), Arc::default()).await;
    node.supervise().await;
    node.bring(b"one");
    node.deliver(&document(vec![file(r"C:\app.exe", b"one", Drift::Enforce)]));
    let report = node.until("failed", |r| r.resources.failed == 1).await;
    assert_eq!(report.failures[0].reason, "InUse");
}

fn service(name: &str, program: &str) -> Service {
    Service {
        name: ServiceName::parse(name).expect("name"),
        display_name: String::new(),
        description: String::new(),
        command: vec![program.into()],
        env: vec![],
        working_directory: None,
        account: None,
        start_mode: StartMode::Automatic,
        state: ServiceState::Running,
        depends_on: vec![],
        restart_on_change: vec![],
        stop_timeout_seconds: 30,
        recovery: Recovery { actions: vec![RecoveryAction::None], reset_after_seconds: 60 },
        readiness_probe: None,
        liveness_probe: None,
        wrap: false,
        password: None,
    }
}
