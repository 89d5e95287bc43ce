//! Packages of a Windows machine: what is installed, installers that are run, and how they end.

use std::{fs::File, path::Path};

use windlass::{
    agent::{
        host::{Host, ProductState, Reason, windows::WindowsHost},
        product::Product,
    },
    model::{Artifact, Detect, Digest, HostPath, Installer, MsiVersion, PackageName, ProductCode},
};

use crate::{names, reason};

#[test]
fn a_product_that_nobody_installed_is_absent() {
    let code = ProductCode::parse("{01234567-89AB-CDEF-0123-456789ABCDEF}").expect("code");
    let host = WindowsHost::new(Path::new(r"C:\windlass"));
    assert_eq!(host.observe_product(&code), Ok(ProductState::Absent));
}

/// `cmd` is an installer that ends as it is told.
fn exe(arguments: &[&str], success_codes: &[i32]) -> Installer {
    let path = HostPath::parse(r"C:\windows\system32\cmd.exe").expect("path");
    Installer::Exe {
        artifact: artifact(),
        arguments: arguments.iter().map(ToString::to_string).collect(),
        uninstall: vec![path.to_string(), "/c".into(), "exit".into(), "3".into()],
        detect: Detect::File { path },
        success_codes: success_codes.to_vec(),
    }
}

fn artifact() -> Artifact {
    Artifact { url: "https://example.com/installer".into(), sha256: Digest::of(b"installer") }
}

#[test]
fn an_installer_is_run_and_its_end_told() {
    let folder = tempfile::tempdir().expect("folder");
    let host = WindowsHost::new(folder.path());
    let name = PackageName::parse("Acme").expect("name");
    let install = |installer: &Installer| {
        let mut bytes = File::open(r"C:\windows\system32\cmd.exe").expect("cmd");
        host.install(&name, installer, &mut bytes)
    };
    install(&exe(&["/c", "exit", "2"], &[0, 2])).expect("installed");
    let failed = install(&exe(&["/c", "exit", "7"], &[0, 2])).expect_err("failed");
    assert_eq!(failed.reason, Reason::InstallFailed);
    assert!(failed.message.contains("exit code 7, expected 0 or 2"), "{failed}");
    assert_eq!(names(&folder.path().join("packages")), Vec::<String>::new(), "nothing is left");

    let product = Product::from(&exe(&[], &[3]));
    assert_eq!(product.observe(&host), Ok(ProductState::Installed { version: None }));
    host.uninstall(&name, &product).expect("removed");
    assert_eq!(reason(host.uninstall(&name, &Product::from(&exe(&[], &[0])))), Reason::InstallFailed);
}

#[test]
fn what_is_no_package_is_said_to_be_none_and_one_that_is_not_there_is_removed() {
    let folder = tempfile::tempdir().expect("folder");
    let host = WindowsHost::new(folder.path());
    let name = PackageName::parse("Acme").expect("name");
    let product_code = ProductCode::parse("{01234567-89AB-CDEF-0123-456789ABCDEF}").expect("code");
    let version = MsiVersion::parse("1.0.0").expect("version");
    let msi = Installer::Msi { artifact: artifact(), product_code, version, properties: vec![] };
    let failed = host.install(&name, &msi, &mut b"no MSI".as_slice()).expect_err("no package");
    assert_eq!(failed.reason, Reason::InstallFailed, "{failed}");
    assert!(failed.message.contains("exit code 16"), "{failed}");
    host.uninstall(&name, &Product::from(&msi)).expect("it is not there");
}
