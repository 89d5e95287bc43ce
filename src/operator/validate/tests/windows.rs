//! What `validate` takes and refuses of what Windows alone has, as tables.

use super::{hold, spec};
use crate::{
    model::{self, Drift},
    operator::{
        references::Kind,
        validate::{InvalidReason, validate},
    },
};

#[test]
fn what_one_platform_alone_has_is_refused_on_the_other() {
    hold(&[
        (
            "files: [{path: 'C:\\a', source: {inline: x}, group: g}]",
            "NotSupported",
            "spec.files[0].group: is for Linux, and the paths of this EdgeNode are of Windows; remove it",
        ),
        (
            "files: [{path: /a, source: {inline: x}, readOnly: false}]",
            "NotSupported",
            "spec.files[0].readOnly: is for Windows, and the paths of this EdgeNode are of Linux; remove it",
        ),
        (
            "directories: [{path: /a, access: {}}]",
            "NotSupported",
            "spec.directories[0].access: is for Windows, and the paths of this EdgeNode are of Linux; remove it",
        ),
        (
            "files: [{path: /a, source: {inline: x}}]\nregistryValues: [{key: 'HKLM\\SOFTWARE\\A', name: a, dword: 1}]",
            "NotSupported",
            "spec.registryValues: is for Windows, and the paths of this EdgeNode are of Linux; remove it",
        ),
        (
            "registryValues: [{key: 'HKLM\\SOFTWARE\\A', name: a, dword: 1}]\nservices: [{name: a, command: [/a]}]",
            "MixedPlatforms",
            "spec.services[0].command[0]: is a path of Linux, but spec.registryValues is of Windows; a node has one platform",
        ),
        (
            "directories: [{path: /a}]\npackages: [{name: a}]",
            "NotSupported",
            "spec.packages: is for Windows, and the paths of this EdgeNode are of Linux; remove it",
        ),
        (
            "services: [{name: a, command: [/a], wrap: true}]",
            "NotSupported",
            "spec.services[0].wrap: is for Windows, and the paths of this EdgeNode are of Linux; remove it",
        ),
        (
            "services: [{name: a, command: [/a], passwordSecretRef: {name: s, key: k}}]",
            "NotSupported",
            "spec.services[0].passwordSecretRef: is for Windows, and the paths of this EdgeNode are of Linux; remove it",
        ),
        (
            "services: [{name: a, command: ['C:\\a.exe'], wrap: true, state: Paused}]",
            "NotSupported",
            "spec.services[0].state: is Paused, which no program with wrap can be; use Running or Stopped",
        ),
    ]);
}

#[test]
fn a_value_of_the_registry_has_one_kind_of_data_at_one_place() {
    let value = |data: &str| format!("registryValues: [{{key: 'HKLM\\SOFTWARE\\A', name: a, {data}}}]");
    let [none, two, nul, hole, dword, qword, base64] = [
        "drift: Audit",
        "string: x, dword: 1",
        r#"expandString: "a\0b""#,
        "multiString: [a, '']",
        "dword: 4294967296",
        "qword: '18446744073709551616'",
        "binary: 'a'",
    ]
    .map(value);
    let exactly_one =
        "spec.registryValues[0]: set exactly one of string, expandString, multiString, dword, qword and binary";
    hold(&[
        (&none, "InvalidRegistryValue", exactly_one),
        (&two, "InvalidRegistryValue", exactly_one),
        (&nul, "InvalidRegistryValue", "spec.registryValues[0].expandString: holds a NUL character; remove it"),
        (
            &hole,
            "InvalidRegistryValue",
            "spec.registryValues[0].multiString[1]: is empty or holds a NUL character, which would end the list; remove it",
        ),
        (&dword, "InvalidRegistryValue", "spec.registryValues[0].dword: is 4294967296; expected 0 to 4294967295"),
        (
            &qword,
            "InvalidRegistryValue",
            "spec.registryValues[0].qword: is out of its range; expected 0 to 18446744073709551615, in decimal or as 0x…",
        ),
        (&base64, "InvalidRegistryValue", "spec.registryValues[0].binary: is not base64: Invalid input length: 1"),
        (
            "registryValues: [{key: 'HKCU\\Software\\A', name: a, dword: 1}]",
            "InvalidRegistryValue",
            r#"spec.registryValues[0].key: "HKCU\\Software\\A" cannot be managed: HKCU is another hive for every account; name the account's own, such as HKU\S-1-5-19\…"#,
        ),
        (
            "registryValues: [{key: 'HKLM\\SOFTWARE\\Wow6432Node\\A', name: a, dword: 1}, {key: 'hklm\\software\\a', name: A, view: Registry32, dword: 2}]",
            "DuplicateRegistryValue",
            "spec.registryValues[1]: HKLM\\software\\a\\A (32-bit) is named by spec.registryValues[0] already; remove one of them",
        ),
    ]);
    let valid = validate(&spec(
        "drift: Audit\nregistryValues: [{key: 'HKLM\\SOFTWARE\\A', name: b, qword: '0xffffffffffffffff'}, {key: 'HKLM\\SOFTWARE\\A', name: '', binary: AP8=, drift: Enforce}, {key: 'HKLM\\SOFTWARE\\Wow6432Node\\A', name: b, qword: 7}]",
    ))
    .expect("valid");
    let found: Vec<_> = valid.registry_values.iter().map(|v| (v.place.to_string(), v.data.clone(), v.drift)).collect();
    let expected = [
        (r"HKLM\SOFTWARE\A\b (32-bit)", model::RegistryData::Qword(7), Drift::Audit),
        (r"HKLM\SOFTWARE\A\(Default)", model::RegistryData::Binary(vec![0, 255]), Drift::Enforce),
        (r"HKLM\SOFTWARE\A\b", model::RegistryData::Qword(u64::MAX), Drift::Audit),
    ];
    assert_eq!(found, expected.map(|(place, data, drift)| (place.to_owned(), data, drift)));
}

const ARTIFACT: &str =
    "{url: 'https://example.com/a', sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad}";

fn msi(name: &str, code: u8, more: &str) -> String {
    let code = format!("{{{code:08x}-89ab-cdef-0123-456789abcdef}}");
    format!("{{name: {name}, msi: {{artifact: {ARTIFACT}, productCode: '{code}', {more}}}}}")
}

fn exe(more: &str) -> String {
    format!("packages: [{{name: a, exe: {{artifact: {ARTIFACT}, {more}}}}}]")
}

#[test]
fn a_package_is_one_that_can_be_installed_and_recognised() {
    let list = |entries: &[String]| format!("packages: [{}]", entries.join(", "));
    let v = "version: 1.0.0";
    let two = list(&[msi("a", 1, v), msi("A", 2, v)]);
    let twins = list(&[msi("a", 1, v), msi("b", 1, v)]);
    let exe_at = |name, file| format!("{{name: {name}, exe: {{artifact: {ARTIFACT}, detect: {{file: '{file}'}}}}}}");
    let found_alike = list(&[exe_at("a", r"C:\a.exe"), exe_at("b", r"c:\A.exe")]);
    let code = list(&[format!("{{name: a, msi: {{artifact: {ARTIFACT}, productCode: x, {v}}}}}")]);
    let version = list(&[msi("a", 1, "version: 1.0-beta")]);
    let reboot = list(&[msi("a", 1, "version: 1.0.0, properties: [{name: REBOOT, value: Force}]")]);
    let private = list(&[msi("a", 1, "version: 1.0.0, properties: [{name: InstallDir, value: x}]")]);
    hold(&[
        ("packages: [{name: a}]", "InvalidPackage", "spec.packages[0]: set exactly one of msi and exe"),
        (
            &two,
            "DuplicateName",
            "spec.packages[1].name: A is the name of spec.packages[0] but for its case; rename one",
        ),
        (
            &twins,
            "InvalidPackage",
            "spec.packages[1].msi.productCode: is that of spec.packages[0] as well; remove one of the packages",
        ),
        (
            &found_alike,
            "InvalidPackage",
            "spec.packages[1].exe.detect: finds spec.packages[0] as well; find each package by something of its own",
        ),
        (
            &code,
            "InvalidPackage",
            r#"spec.packages[0].msi.productCode: "x" is not a product code: expected a GUID in braces, such as {01234567-89AB-CDEF-0123-456789ABCDEF}"#,
        ),
        (
            &version,
            "InvalidPackage",
            r#"spec.packages[0].msi.version: "1.0-beta" is not a version of Windows Installer: expected major.minor.build up to 255.255.65535"#,
        ),
        (
            &reboot,
            "InvalidPackage",
            "spec.packages[0].msi.properties[0].name: REBOOT is set by the agent, which says by it what is to be done; remove it",
        ),
        (
            &private,
            "InvalidPackage",
            r#"spec.packages[0].msi.properties[0].name: "InstallDir" is no public property: expected upper case, such as INSTALLDIR"#,
        ),
        (
            &exe("detect: {}"),
            "InvalidPackage",
            "spec.packages[0].exe.detect: set exactly one of registryValue and file",
        ),
        (
            &exe("detect: {file: 'C:\\a.exe'}, uninstallCommand: [unins.exe]"),
            "InvalidCommand",
            r#"spec.packages[0].exe.uninstallCommand[0]: "unins.exe" cannot be managed: it is not absolute; expected /… or C:\…"#,
        ),
    ]);
    let valid = validate(&spec(&exe("detect: {registryValue: {key: 'HKLM\\SOFTWARE\\A'}}"))).expect("valid");
    let model::Installer::Exe { success_codes, uninstall, detect, .. } = &valid.packages[0].installer else {
        panic!("an exe")
    };
    assert_eq!((success_codes.as_slice(), uninstall.len()), (&[0][..], 0));
    let place = model::RegistryPlace::parse(r"HKLM\SOFTWARE\A", "", model::View::Bits64).expect("a place");
    assert_eq!(*detect, model::Detect::RegistryValue { place, equals: None });
}

#[test]
fn a_service_has_an_account_that_can_start_it() {
    let service = |more: &str| spec(&format!("services: [{{name: a, command: ['C:\\a.exe']{more}}}]"));
    let password = ", passwordSecretRef: {name: s, key: k}";
    for account in
        ["LocalSystem", r"NT AUTHORITY\LocalService", r"nt authority\network service", r"NT SERVICE\a", r"PLANT\press$"]
    {
        let with_account = format!(", account: '{account}'");
        let valid = validate(&service(&with_account)).expect(account);
        assert_eq!(valid.services[0].password, None, "{account}");
        let error = validate(&service(&(with_account + password))).expect_err(account);
        let message = format!(
            "spec.services[0].passwordSecretRef: {account} has no password; remove it, or name the account that it is of"
        );
        assert_eq!((error[0].reason, error[0].to_string()), (InvalidReason::InvalidAccount, message));
    }
    for account in [r"PLANT\press", r".\press", "press@plant.example"] {
        let with_account = format!(", account: '{account}'");
        let error = validate(&service(&with_account)).expect_err(account);
        let message = format!(
            r"spec.services[0].account: {account} needs its password; set passwordSecretRef, or use NT SERVICE\a"
        );
        assert_eq!((error[0].reason, error[0].to_string()), (InvalidReason::InvalidAccount, message));
        let valid = validate(&service(&(with_account + password))).expect(account);
        let password = valid.services[0].password.as_ref().expect("a reference");
        assert_eq!((password.kind, password.name.as_str(), password.key.as_str()), (Kind::Secret, "s", "k"));
    }
    assert!(validate(&service(password)).is_err(), "LocalService has no password");
    for account in ["press", r"\press", r"PLANT\", r"a\b\c"] {
        let error = validate(&service(&format!(", account: '{account}'"))).expect_err(account);
        assert_eq!(error[0].reason, InvalidReason::InvalidAccount, "{account}");
    }
    assert!(validate(&spec("services: [{name: a, command: [/a], account: press}]")).is_ok(), "a user of Linux");
}

#[test]
fn grants_come_by_account_and_each_account_once() {
    let granted = |grants: &str| {
        validate(&spec(&format!(
            "directories: [{{path: 'C:\\a', owner: 'BUILTIN\\Administrators', hidden: true, access: {{grants: [{grants}]}}}}]"
        )))
    };
    let valid = granted("{account: b, rights: Modify}, {account: A, rights: Read}").expect("valid");
    let attributes = &valid.directories[0].attributes;
    assert_eq!((attributes.owner.as_deref(), attributes.hidden), (Some(r"BUILTIN\Administrators"), Some(true)));
    let access = attributes.access.as_ref().expect("managed");
    let grants: Vec<_> = access.grants.iter().map(|g| (g.account.as_str(), g.rights)).collect();
    assert_eq!((access.inherit, grants), (false, vec![("A", model::Rights::Read), ("b", model::Rights::Modify)]));
    let errors = granted("{account: Users, rights: Modify}, {account: users, rights: Read}").expect_err("twice");
    assert_eq!(errors[0].reason, InvalidReason::DuplicateName);
}
