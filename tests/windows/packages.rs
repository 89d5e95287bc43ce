//! Packages: an MSI installed, upgraded, removed, and one that fails; and an installer that is a program.

use std::{fs, process::Command};

use serde_json::{Value, json};
use windlass::api::{EdgeNode, FailureStatus};

use crate::{
    machine::Machine,
    parts::{Artifacts, World, is},
};

const PRODUCT: &str = "{6F1E5C4A-0C1D-4B52-9B63-3D6D8B6F0A01}";
const SUCCESSOR: &str = "{6F1E5C4A-0C1D-4B52-9B63-3D6D8B6F0A03}";
const PROGRAM: &str = r"C:\Program Files\Acme\runtime.txt";

/// An MSI of that version, with one file that holds the version. It is installed where the property LINE is given, and
/// in the place of an earlier product.
fn msi(world: &World, product: &str, version: &str) -> Vec<u8> {
    let folder = world.path(&format!("msi-{version}"));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("runtime.txt"), version).unwrap();
    let source = format!(
        r#"<?xml version="1.0" encoding="utf-8"?>
<Wix xmlns="http://schemas.microsoft.com/wix/2006/wi">
  <Product Id="{product}" Name="Acme runtime" Language="1033" Version="{version}" Manufacturer="Acme"
           UpgradeCode="6F1E5C4A-0C1D-4B52-9B63-3D6D8B6F0AFF">
    <Package InstallerVersion="500" Compressed="yes" InstallScope="perMachine"/>
    <MajorUpgrade DowngradeErrorMessage="A later version is installed"/>
    <Condition Message="Acme runtime needs to know its line">LINE OR Installed</Condition>
    <Media Id="1" Cabinet="acme.cab" EmbedCab="yes"/>
    <Directory Id="TARGETDIR" Name="SourceDir">
      <Directory Id="ProgramFiles64Folder"><Directory Id="INSTALLDIR" Name="Acme">
        <Component Id="Runtime" Guid="6F1E5C4A-0C1D-4B52-9B63-3D6D8B6F0A02" Win64="yes">
          <File Id="Runtime" Source="runtime.txt" KeyPath="yes"/>
        </Component>
      </Directory></Directory>
    </Directory>
    <Feature Id="Main" Level="1"><ComponentRef Id="Runtime"/></Feature>
  </Product>
</Wix>"#
    );
    fs::write(folder.join("acme.wxs"), source).unwrap();
    let made = Command::new("wixl")
        .args(["--arch", "x64", "--output", "acme.msi", "acme.wxs"])
        .current_dir(&folder)
        .output()
        .expect("wixl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::read(folder.join("acme.msi")).unwrap()
}

fn package(artifacts: &Artifacts, bytes: &[u8], product: &str, version: &str, line: &str) -> Value {
    let (url, sha256) = artifacts.put(&format!("acme-{version}.msi"), bytes);
    json!({"packages": [{"name": "acme-runtime", "msi": {
        "artifact": {"url": url, "sha256": sha256}, "productCode": product, "version": version,
        "properties": [{"name": "LINE", "value": line}],
    }}]})
}

/// Of the only resource.
fn failure(node: &EdgeNode) -> &FailureStatus {
    let failures = &node.status.as_ref().unwrap().failures;
    assert_eq!((failures.len(), failures[0].resource.as_str()), (1, "package acme-runtime"), "{failures:?}");
    &failures[0]
}

#[tokio::test]
async fn an_msi_is_installed_upgraded_and_removed_with_its_entry() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let artifacts = Artifacts::start();
    let mut machine = Machine::new(&world, "press-07");
    let node = world.node("press-07", package(&artifacts, &msi(&world, PRODUCT, "1.0.0"), PRODUCT, "1.0.0", "7")).await;
    machine.enroll(&node).await;
    let installed = node.until_ready().await;
    assert_eq!(machine.read(PROGRAM).as_deref(), Some("1.0.0"));
    assert_eq!(installed.status.as_ref().unwrap().resources.as_ref().unwrap().in_desired_state, 1);

    node.apply(package(&artifacts, &msi(&world, PRODUCT, "2.0.0"), PRODUCT, "2.0.0", "7")).await;
    let upgraded = node.until_newer(&installed).await;
    assert_eq!(machine.read(PROGRAM).as_deref(), Some("2.0.0"));

    node.apply(package(&artifacts, &msi(&world, SUCCESSOR, "3.0.0"), SUCCESSOR, "3.0.0", "7")).await;
    let replaced = node.until_newer(&upgraded).await;
    assert_eq!(machine.read(PROGRAM).as_deref(), Some("3.0.0"));

    node.apply(json!({})).await;
    node.until_newer(&replaced).await;
    assert!(!machine.exists(PROGRAM));
}

#[tokio::test]
async fn an_installer_that_fails_says_why_by_its_code_and_the_end_of_its_log() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let artifacts = Artifacts::start();
    let mut machine = Machine::new(&world, "press-07");
    let bytes = msi(&world, PRODUCT, "1.0.0");
    let node = world.node("press-07", package(&artifacts, &bytes, PRODUCT, "1.0.0", "")).await;
    machine.enroll(&node).await;
    let failed = node.until_condition("ConfigApplied", "False", "ResourcesFailed").await;
    let failure = failure(&failed);
    assert_eq!(failure.reason, "InstallFailed");
    for said in ["a fatal error (exit code 1603)", "its log ends with: ", "LaunchConditions"] {
        assert!(failure.message.contains(said), "{said:?} in {failure:?}");
    }
    assert!(!machine.exists(PROGRAM));

    node.apply(package(&artifacts, &bytes, PRODUCT, "1.0.0", "7")).await;
    node.until_ready().await;
    assert_eq!(machine.read(PROGRAM).as_deref(), Some("1.0.0"));
}

#[tokio::test]
async fn a_package_that_is_no_msi_is_a_failure_that_says_why() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let artifacts = Artifacts::start();
    let mut machine = Machine::new(&world, "press-07");
    let node = world.node("press-07", package(&artifacts, b"no MSI", PRODUCT, "1.0.0", "7")).await;
    machine.enroll(&node).await;
    let failed = node.until_condition("ConfigApplied", "False", "ResourcesFailed").await;
    assert_eq!(failure(&failed).reason, "InstallFailed", "{failed:?}");
}

#[tokio::test]
async fn an_installer_that_asks_for_a_restart_succeeds_and_the_condition_lasts_until_then() {
    const INSTALLED: &str = r"C:\acme-runtime.txt";
    let world = World::new().await;
    let _operator = world.operator().await;
    let artifacts = Artifacts::start();
    let mut machine = Machine::new(&world, "press-07");
    // A program that does as it is told.
    let shell = fs::read(machine.outside(r"C:\windows\system32\cmd.exe")).unwrap();
    let (url, sha256) = artifacts.put("acme.exe", &shell);
    let node = world
        .node(
            "press-07",
            json!({"packages": [{"name": "acme-runtime", "exe": {
                "artifact": {"url": url, "sha256": sha256},
                "arguments": ["/c", format!("echo 1 > {INSTALLED} & exit 3010")],
                "uninstallCommand": [r"C:\windows\system32\cmd.exe", "/c", "del", INSTALLED],
                "detect": {"file": INSTALLED},
            }}]}),
        )
        .await;
    machine.enroll(&node).await;
    let installed = node.until_ready().await;
    assert!(is(&installed, "RebootPending", "True", "RebootRequired"), "{installed:?}");
    assert!(machine.exists(INSTALLED));

    machine.reboot();
    machine.start();
    let restarted = node.until_condition("RebootPending", "False", "NoRebootRequired").await;
    node.apply(json!({})).await;
    node.until_newer(&restarted).await;
    assert!(!machine.exists(INSTALLED));
}
