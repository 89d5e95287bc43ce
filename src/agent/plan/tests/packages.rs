//! Plans of packages.

use super::*;
use crate::model::{Detect, MsiVersion, Package, ProductCode};

const PRESS: &str = "{00000000-0000-0000-0000-000000000001}";
const PRESS_2: &str = "{00000000-0000-0000-0000-000000000002}";

fn name(text: &str) -> PackageName {
    PackageName::parse(text).expect("name")
}

fn code(text: &str) -> ProductCode {
    ProductCode::parse(text).expect("code")
}

fn version(text: &str) -> MsiVersion {
    MsiVersion::parse(text).expect("version")
}

fn msi(product: &str, is: &str) -> Installer {
    let artifact = Artifact { url: "https://x/".into(), sha256: Digest::of(b"msi") };
    Installer::Msi { artifact, product_code: code(product), version: version(is), properties: vec![] }
}

fn exe(detect: &str, uninstall: &[&str]) -> Installer {
    Installer::Exe {
        artifact: Artifact { url: "https://x/".into(), sha256: Digest::of(b"exe") },
        arguments: vec![],
        uninstall: uninstall.iter().map(|word| (*word).to_owned()).collect(),
        detect: Detect::File { path: path(detect) },
        success_codes: vec![0],
    }
}

impl Table {
    fn package(mut self, called: &str, installer: Installer) -> Self {
        self.contents.insert(installer.artifact().sha256, Availability::Held);
        self.desired.packages.push(Package { name: name(called), installer });
        self
    }

    fn there_product(self, product: &str, is: Option<&str>) -> Self {
        let place = Place::Package(name("x"), Product::Msi(code(product)));
        self.host.put_at(&place, Some(MemoryNode::Product(is.map(version))));
        self
    }
}

fn installed(called: &str, product: &str) -> Thing {
    Thing::Package(name(called), Product::Msi(code(product)))
}

fn actions_and_reasons(table: &Table) -> (Vec<String>, Vec<&'static str>) {
    (table.actions(), table.reasons())
}

#[test]
fn what_is_absent_is_installed_and_another_version_is_upgraded() {
    for (there, action, standing, origin) in [
        (None, "install press", "Pending", Created),
        (Some(Some("1.0.0")), "install press", "Pending", Adopted),
        (Some(Some("2.0.0")), "note press", "InPlace", Adopted),
        (Some(None), "note press", "InPlace", Adopted),
    ] {
        let mut table = Table::default().package("press", msi(PRESS, "2.0"));
        if let Some(version) = there {
            table = table.there_product(PRESS, version);
        }
        assert_eq!(actions_and_reasons(&table), (vec![action.to_owned()], vec![standing]), "{there:?}");
        let plan = table.plan();
        assert_eq!(plan.actions[0].afterwards.as_ref().map(|e| e.origin), Some(origin), "{there:?}");
        assert_eq!(plan.actions[0].was_absent, there.is_none());
    }
}

#[test]
fn another_product_replaces_the_one_before_it_and_only_then_that_goes() {
    let table = Table::default().package("press", msi(PRESS_2, "3.0")).there_product(PRESS, Some("2.0"));
    let table = table.manages(installed("press", PRESS), Created);
    assert_eq!(table.actions(), ["install press"]);
    let beside = table.there_product(PRESS_2, Some("3.0"));
    assert_eq!(beside.actions(), ["note press", "uninstall press"]);
    let upgraded = Table::default().package("press", msi(PRESS_2, "3.0")).there_product(PRESS_2, Some("3.0"));
    assert_eq!(upgraded.manages(installed("press", PRESS), Created).actions(), ["note press", "note press"]);
}

#[test]
fn a_package_that_is_called_otherwise_stays_what_it_is() {
    let table = Table::default().package("new", msi(PRESS, "2.0")).there_product(PRESS, Some("2.0"));
    let plan = table.manages(installed("old", PRESS), Created).plan();
    assert_eq!(plan.actions.len(), 1);
    assert_eq!(
        plan.actions[0].afterwards.as_ref().map(|e| (e.origin, e.thing.to_string())),
        Some((Created, "package new".into()))
    );
}

#[test]
fn what_the_agent_installed_is_removed_and_what_it_found_is_left() {
    let table = Table::default().there_product(PRESS, Some("2.0"));
    assert_eq!(table.manages(installed("press", PRESS), Created).actions(), ["uninstall press"]);
    let table = Table::default().there_product(PRESS, Some("2.0"));
    assert_eq!(table.manages(installed("press", PRESS), Adopted).actions(), ["note press"]);
    let gone = Table::default().manages(installed("press", PRESS), Created);
    assert_eq!(gone.actions(), ["note press"]);
}

#[test]
fn a_program_of_its_own_is_removed_by_what_it_declares_and_by_nothing_where_its_name_is_wanted() {
    let thing = |uninstall| Thing::Package(name("tool"), Product::from(&exe("/tool", uninstall)));
    let table = Table::default().there("/tool", b"x").manages(thing(&["/tool", "/S"]), Created);
    assert_eq!(table.actions(), ["uninstall tool"]);
    let table = Table::default().there("/tool", b"x").manages(thing(&[]), Created);
    assert_eq!(table.actions(), ["note tool"], "it cannot be removed");
    let table = Table::default().there("/tool", b"x").there("/tool2", b"x").package("tool", exe("/tool2", &[]));
    assert_eq!(table.manages(thing(&["/tool", "/S"]), Created).actions(), ["note tool", "note tool"]);
}

#[test]
fn installers_run_after_all_that_is_new_and_before_anything_goes() {
    let table = Table::default()
        .package("a", msi(PRESS, "1.0"))
        .package("b", msi(PRESS_2, "1.0"))
        .file("/answers/new", b"x")
        .there("/old", b"y")
        .owned("/old", Fil, Created);
    assert_eq!(table.actions(), ["create directory /answers"]);
    let table = table.there_directory("/answers");
    assert_eq!((table.actions(), table.reasons()), (vec!["write file /answers/new".to_owned()], vec!["Pending"; 3]));
    let table = table.there("/answers/new", b"x").owned("/answers/new", Fil, Created);
    assert_eq!(table.actions(), ["install a", "install b"]);
    let table = table.there_product(PRESS, Some("1.0")).manages(installed("a", PRESS), Created);
    assert_eq!(table.actions().last().map(String::as_str), Some("install b"));
    let table = table.there_product(PRESS_2, Some("1.0")).manages(installed("b", PRESS_2), Created);
    assert_eq!(table.actions(), ["remove file /old"]);
}

#[test]
fn a_package_waits_for_the_contents_of_files_and_a_file_for_those_of_no_package() {
    let table = Table::default().package("a", msi(PRESS, "1.0")).file("/f", b"x").without_contents();
    assert_eq!((table.actions().len(), table.reasons()), (0, vec!["Pending", "Pending"]));
    let mut table = table;
    table.contents.insert(Digest::of(b"msi"), Availability::Held);
    assert_eq!(table.actions(), [""; 0], "its file is yet to come");
    table.contents.insert(Digest::of(b"x"), Availability::Failing(Trouble::new("DownloadFailed", "404")));
    assert_eq!((table.actions(), table.reasons()), (vec!["install a".to_owned()], vec!["DownloadFailed", "Pending"]));
    table.contents = [(Digest::of(b"x"), Availability::Held)].into();
    assert_eq!(table.actions(), ["write file /f"]);
}

#[test]
fn an_installer_that_failed_waits_for_its_time() {
    let mut table = Table::default().package("a", msi(PRESS, "1.0"));
    let entry = &entries(&table.desired)[0];
    let trouble = || Trouble::new("InstallFailed", "1603");
    table.retries.failed(&entry.identity, &entry.wish, trouble(), Duration::from_secs(71));
    assert_eq!((table.actions().len(), table.reasons()), (0, vec!["InstallFailed"]));
    table.retries = Retries::default();
    table.retries.failed(&entry.identity, &entry.wish, trouble(), Duration::from_secs(70));
    assert_eq!((table.actions().len(), table.reasons()), (1, vec!["InstallFailed"]));
}
