//! What becomes of packages where installers end otherwise than hoped for: the real parts (plan, apply, recovery)
//! over a machine and a store in memory.

#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use windlass::{
    agent::{
        apply::CrashPoint,
        contents::Contents,
        converge::{Converger, Outcome},
        host::{
            Host, HostError, Reason,
            memory::{MemoryHost, MemoryNode},
            memory_installer::Installers,
        },
        place::{Place, Thing},
        plan::Standing,
        policy::Policy,
        product::Product,
        store::{JournalEntry, LedgerEntry, MemoryContents, MemoryStore, Origin, Store},
    },
    model::{
        Artifact, DesiredState, Digest, Drift, Installer, MsiVersion, Package, PackageName, ProductCode, RegistryData,
        RegistryPlace, RegistryValue, View,
    },
};

struct Machine {
    host: Arc<MemoryHost>,
    store: Arc<MemoryStore>,
    contents: Arc<MemoryContents>,
    agent: Converger,
    now: Duration,
}

impl Machine {
    fn new() -> Self {
        let (host, store, contents) = (Arc::<MemoryHost>::default(), Arc::default(), Arc::<MemoryContents>::default());
        contents.append(&Digest::of(b"msi"), 0, b"msi").expect("append");
        assert_eq!(contents.finish(&Digest::of(b"msi"), None), Ok(Ok(())));
        host.put_at(&Place::Key(version_place().holder()), Some(MemoryNode::Key));
        let agent = agent(&host, &store, &contents);
        Self { host, store, contents, agent, now: Duration::ZERO }
    }

    fn pass(&mut self, desired: &DesiredState) -> Outcome {
        self.now += Duration::from_secs(60);
        self.agent.pass(desired, &BTreeMap::new(), self.now, &|| false).expect("the store works")
    }

    fn owned(&self, package: &Package) -> Option<Origin> {
        let identity = place(package).identity();
        self.store.ledger().expect("ledger").into_iter().find(|(at, _)| *at == identity).map(|(_, entry)| entry.origin)
    }

    fn is_there(&self, package: &Package) -> bool {
        self.host.everything().contains_key(&place(package).identity())
    }
}

fn agent(host: &Arc<MemoryHost>, store: &Arc<MemoryStore>, contents: &Arc<MemoryContents>) -> Converger {
    Converger::open(
        host.clone(),
        store.clone(),
        contents.clone(),
        Arc::new(CrashPoint::default()),
        Arc::new(Policy::Unrestricted),
    )
    .expect("open")
}

fn place(package: &Package) -> Place {
    Thing::Package(package.name.clone(), Product::from(&package.installer)).place()
}

fn package(number: u8) -> Package {
    let code = format!("{{00000000-0000-0000-0000-00000000000{number}}}");
    Package {
        name: PackageName::parse(&format!("p{number}")).expect("name"),
        installer: Installer::Msi {
            artifact: Artifact { url: "https://x/".into(), sha256: Digest::of(b"msi") },
            product_code: ProductCode::parse(&code).expect("code"),
            version: MsiVersion::parse("2.0").expect("version"),
            properties: vec![],
        },
    }
}

fn with(packages: &[Package]) -> DesiredState {
    DesiredState { packages: packages.to_vec(), ..DesiredState::default() }
}

fn version_place() -> RegistryPlace {
    RegistryPlace::parse(r"HKLM\SOFTWARE", "Version", View::Bits64).expect("place")
}

fn trouble(outcome: &Outcome) -> (&'static str, &str) {
    match &outcome.plan.standings[..] {
        [Standing::Failed(trouble)] => (trouble.reason, trouble.message.as_str()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_installer_that_succeeds_and_installs_nothing_has_failed() {
    let mut machine = Machine::new();
    machine.host.set_installers(Installers::DoNothing);
    let outcome = machine.pass(&with(&[package(1)]));
    let message = "install the package p1: its installer succeeded, and it is not found afterwards";
    assert_eq!(trouble(&outcome), ("InstallFailed", message));
    assert_eq!((outcome.begun, machine.owned(&package(1))), (1, None));
    machine.host.put_at(&place(&package(1)), Some(MemoryNode::Product(MsiVersion::parse("1.0").ok())));
    let outcome = machine.pass(&with(&[package(1)]));
    let message = "install the package p1: its installer succeeded, and it is installed in version 1.0.0 instead of 2.0.0 afterwards";
    assert_eq!(trouble(&outcome), ("InstallFailed", message));
}

#[test]
fn what_somebody_installed_after_the_agent_could_not_is_not_the_agents() {
    let mut machine = Machine::new();
    machine.host.set_installers(Installers::Fail(HostError::new(Reason::InstallFailed, "1603")));
    machine.pass(&with(&[package(1)]));
    machine.host.put_at(&place(&package(1)), Some(MemoryNode::Product(MsiVersion::parse("2.0").ok())));
    assert_eq!(machine.pass(&with(&[package(1)])).plan.standings, [Standing::InPlace]);
    assert_eq!(machine.owned(&package(1)), Some(Origin::Adopted));
    machine.pass(&with(&[]));
    assert!(machine.is_there(&package(1)));
}

#[test]
fn what_the_machine_goes_on_to_install_after_a_crash_is_the_agents() {
    let there = || Some(MemoryNode::Product(MsiVersion::parse("2.0").ok()));
    for comes_before_the_agent in [true, false] {
        let mut machine = Machine::new();
        let thing = Thing::Package(package(1).name, Product::from(&package(1).installer));
        let entry = LedgerEntry { thing, origin: Origin::Created, carried_out: "ab".into() };
        let (digest, salt) = (String::new(), String::new());
        let begun = JournalEntry { entry, was_absent: true, digest, salt, removal: false };
        machine.store.set_journal(&begun).expect("journal");
        if comes_before_the_agent {
            machine.host.put_at(&place(&package(1)), there());
        }
        machine.agent = agent(&machine.host, &machine.store, &machine.contents);
        machine.host.put_at(&place(&package(1)), there());
        assert_eq!(machine.pass(&with(&[package(1)])).plan.standings, [Standing::InPlace]);
        assert_eq!(machine.owned(&package(1)), Some(Origin::Created));
        machine.pass(&with(&[]));
        assert!(!machine.is_there(&package(1)));
    }
}

#[test]
fn an_installer_that_finds_another_at_work_is_tried_again_soon() {
    let mut machine = Machine::new();
    machine.host.set_installers(Installers::Fail(HostError::new(Reason::InstallerBusy, "1618")));
    let outcome = machine.pass(&with(&[package(1)]));
    assert_eq!(trouble(&outcome), ("InstallerBusy", "1618"));
    assert_eq!(outcome.due, Some(machine.now + Duration::from_secs(1)));
    machine.host.set_installers(Installers::Work);
    assert_eq!(machine.pass(&with(&[package(1)])).plan.standings, [Standing::InPlace]);
}

#[test]
fn a_newer_document_is_asked_for_between_two_installers() {
    let mut machine = Machine::new();
    let (host, desired) = (machine.host.clone(), with(&[package(1), package(2)]));
    let stop = || !host.installer_log().is_empty();
    let outcome = machine.agent.pass(&desired, &BTreeMap::new(), Duration::ZERO, &stop).expect("the store works");
    assert_eq!((outcome.begun, outcome.finished), (1, false));
    assert_eq!(machine.host.installer_log(), ["install p1"]);
}

#[test]
fn what_an_installer_overwrote_is_put_back_in_the_same_pass() {
    let mut machine = Machine::new();
    let value = RegistryValue { place: version_place(), data: RegistryData::Dword(1), drift: Drift::Enforce };
    machine.host.set_installers(Installers::Meddle(version_place(), RegistryData::Dword(9)));
    let desired = DesiredState { registry_values: vec![value], ..with(&[package(1)]) };
    let outcome = machine.pass(&desired);
    assert_eq!((outcome.plan.standings, outcome.begun), (vec![Standing::InPlace; 2], 3));
    let there = machine.host.everything().get(&version_place().identity()).cloned();
    assert_eq!(there, Some(MemoryNode::Value(RegistryData::Dword(1))));
}

#[test]
fn a_package_that_its_uninstaller_leaves_there_is_told_and_tried_again() {
    let mut machine = Machine::new();
    machine.pass(&with(&[package(1)]));
    machine.host.set_installers(Installers::DoNothing);
    let outcome = machine.pass(&with(&[]));
    let [(thing, Standing::Failed(trouble))] = &outcome.plan.leftovers[..] else { panic!("{outcome:?}") };
    assert_eq!((thing.to_string().as_str(), trouble.reason), ("package p1", "InstallFailed"));
    machine.host.set_installers(Installers::Work);
    assert_eq!(machine.pass(&with(&[])).plan.leftovers, []);
    assert!(!machine.is_there(&package(1)) && !machine.host.restart_pending());
}

#[test]
fn two_packages_that_are_found_alike_come_to_rest() {
    let mut machine = Machine::new();
    let mut twin = package(1);
    twin.name = PackageName::parse("twin").expect("name");
    let outcome = machine.pass(&with(&[package(1), twin]));
    assert_eq!((outcome.plan.standings, outcome.begun), (vec![Standing::InPlace], 1));
}
