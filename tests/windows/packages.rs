//! MSI packages: installed, upgraded, removed; and the agent's own.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::{
    machine::Machine,
    parts::{Artifacts, World},
};

const PRODUCT: &str = "{6F1E5C4A-0C1D-4B52-9B63-3D6D8B6F0A01}";
const PROGRAM: &str = r"C:\Program Files\Acme\runtime.txt";

/// An MSI of that version, with one file that holds the version.
fn msi(world: &World, version: &str) -> Vec<u8> {
    let folder = world.path(&format!("msi-{version}"));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("runtime.txt"), version).unwrap();
    let source = format!(
        r#"<?xml version="1.0" encoding="utf-8"?>
<Wix xmlns="http://schemas.microsoft.com/wix/2006/wi">
  <Product Id="{PRODUCT}" Name="Acme runtime" Language="1033" Version="{version}" Manufacturer="Acme"
           UpgradeCode="6F1E5C4A-0C1D-4B52-9B63-3D6D8B6F0AFF">
    <Package InstallerVersion="500" Compressed="yes" InstallScope="perMachine" Platform="x64"/>
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

fn package(artifacts: &Artifacts, name: &str, bytes: &[u8], version: &str) -> Value {
    let (url, sha256) = artifacts.put(name, bytes);
    json!({"packages": [{"name": "acme-runtime", "msi": {
        "artifact": {"url": url, "sha256": sha256}, "productCode": PRODUCT, "version": version,
    }}]})
}

#[tokio::test]
async fn an_msi_is_installed_and_removed_with_its_entry() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let artifacts = Artifacts::start();
    let mut machine = Machine::new(&world, "press-07");
    let spec = package(&artifacts, "acme-1.msi", &msi(&world, "1.0.0"), "1.0.0");
    let node = world.node("press-07", spec).await;
    machine.enroll(&node).await;
    let installed = node.until_ready().await;
    assert_eq!(machine.read(PROGRAM).as_deref(), Some("1.0.0"));
    assert_eq!(installed.status.as_ref().unwrap().resources.as_ref().unwrap().in_desired_state, 1);

    node.apply(json!({})).await;
    node.until_newer(&installed).await;
    assert!(!machine.exists(PROGRAM));
}

#[tokio::test]
async fn a_package_that_is_no_msi_is_a_failure_that_says_why() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let artifacts = Artifacts::start();
    let mut machine = Machine::new(&world, "press-07");
    let node = world.node("press-07", package(&artifacts, "acme.msi", b"no MSI", "1.0.0")).await;
    machine.enroll(&node).await;
    let failed = node.until_condition("ConfigApplied", "False", "ResourcesFailed").await;
    let failure = &failed.status.as_ref().unwrap().failures[0];
    assert_eq!(failure.resource, "package acme-runtime");
    assert_eq!(failure.reason, "InstallFailed", "{failure:?}");
}
