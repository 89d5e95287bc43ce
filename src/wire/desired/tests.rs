//! A document that uses everything survives the wire; what no version wrote is refused.

use super::*;
use crate::model::{
    Check, Detect, EnvVar, Installer, MsiVersion, Package, PackageName, Probe, ProductCode, Recovery, RecoveryAction,
    RegistryData, RegistryPlace, RegistryValue, Service, ServiceState, StartMode, View, features,
};

fn at(text: &str) -> HostPath {
    HostPath::parse(text).expect(text)
}

fn artifact() -> Artifact {
    Artifact { url: "https://example.com/acme".into(), sha256: Digest::of(b"acme") }
}

fn place(name: &str, view: View) -> RegistryPlace {
    RegistryPlace::parse(r"HKLM\SOFTWARE\Acme", name, view).expect(name)
}

fn value(name: &str, data: RegistryData) -> RegistryValue {
    RegistryValue { place: place(name, View::Bits32), data, drift: Drift::Audit }
}

fn secret() -> Content {
    Content { digest: Digest::of(b"secret"), salt: Some(Salt::new([7; 32])), size: 6 }
}

fn service() -> Service {
    let probe = |check| Probe {
        check,
        initial_delay_seconds: 1,
        period_seconds: 2,
        timeout_seconds: 3,
        success_threshold: 4,
        failure_threshold: 5,
    };
    Service {
        name: ServiceName::parse("press").expect("a name"),
        display_name: "Press".into(),
        description: "Presses".into(),
        command: vec![r"C:\acme\press.exe".into(), "--x".into()],
        env: vec![EnvVar { name: "A".into(), value: "1".into() }],
        working_directory: Some(at(r"C:\acme")),
        account: Some(r".\acme".into()),
        start_mode: StartMode::DelayedAutomatic,
        state: ServiceState::Running,
        depends_on: vec![ServiceName::parse("db").expect("a name")],
        restart_on_change: vec![at(r"C:\acme\f")],
        stop_timeout_seconds: 7,
        recovery: Recovery {
            actions: vec![RecoveryAction::Restart { delay_seconds: 3 }, RecoveryAction::None],
            reset_after_seconds: 9,
        },
        readiness_probe: Some(probe(Check::TcpSocket { host: "::1".into(), port: 80 })),
        liveness_probe: Some(probe(Check::Grpc { port: 81, service: "a".into() })),
        wrap: true,
        password: Some(secret()),
    }
}

fn package(name: &str, installer: Installer) -> Package {
    Package { name: PackageName::parse(name).expect(name), installer }
}

fn exe(name: &str, detect: Detect, uninstall: &[&str]) -> Package {
    let uninstall = uninstall.iter().map(ToString::to_string).collect();
    let (arguments, success_codes) = (vec!["/S".into()], vec![-1, 0, 3010]);
    package(name, Installer::Exe { artifact: artifact(), arguments, uninstall, detect, success_codes })
}

fn everything() -> DesiredState {
    let access = Access {
        inherit: true,
        grants: [Rights::Read, Rights::ReadAndExecute, Rights::Modify, Rights::FullControl]
            .map(|rights| Grant { account: format!("{rights:?}"), rights })
            .into(),
    };
    let attributes = Attributes {
        mode: Mode::new(0o644),
        owner: Some("o".into()),
        group: Some("g".into()),
        access: Some(access),
        read_only: Some(false),
        hidden: Some(true),
    };
    let none_granted = Attributes { access: Some(Access::default()), ..Attributes::default() };
    let msi = Installer::Msi {
        artifact: artifact(),
        product_code: ProductCode::parse("{01234567-89AB-CDEF-0123-456789ABCDEF}").expect("a code"),
        version: MsiVersion::parse("2.1.0").expect("a version"),
        properties: vec![("LINE".into(), "7".into())],
    };
    let registry = |equals: Option<&str>| Detect::RegistryValue {
        place: place("v", View::Bits64),
        equals: equals.map(Into::into),
    };
    let (path, source, drift) = (at(r"C:\acme\f"), Source::Content(secret()), Drift::Audit);
    let mut desired = DesiredState {
        node_uid: "uid".into(),
        required_features: Vec::new(),
        suspended: true,
        directories: vec![Directory { path: at(r"C:\acme"), attributes: attributes.clone(), drift: Drift::Enforce }],
        files: vec![
            File { path, source, attributes: none_granted, drift },
            File { path: at(r"C:\acme\g"), source: Source::Artifact(artifact()), attributes, drift: Drift::Enforce },
        ],
        services: vec![service()],
        registry_values: vec![
            value("", RegistryData::String(String::new())),
            value("b", RegistryData::ExpandString("%X%".into())),
            value("c", RegistryData::MultiString(vec!["x".into(), "y".into()])),
            value("d", RegistryData::Dword(u32::MAX)),
            value("e", RegistryData::Qword(u64::MAX)),
            value("f", RegistryData::Binary(vec![0, 255])),
        ],
        packages: vec![
            package("a", msi),
            exe("b", Detect::File { path: at(r"C:\acme\x.exe") }, &[]),
            exe("c", registry(None), &[r"C:\acme\unins.exe", "/S"]),
            exe("d", registry(Some("")), &[]),
        ],
    };
    desired.required_features = features::used_by(&desired);
    desired
}

#[test]
fn a_document_that_uses_everything_survives_the_wire() {
    let desired = everything();
    assert_eq!(desired.required_features, features::ALL);
    assert_eq!(decode(&encode(&desired)), Ok(desired));
}

#[test]
fn what_no_version_wrote_is_refused_by_its_field() {
    type Change = fn(&mut pb::DesiredState);
    let faults: [(&str, Change); 10] = [
        ("registry_values[0].data", |d| d.registry_values[0].data = None),
        ("registry_values[0].place", |d| d.registry_values[0].place = None),
        ("registry_values[1].place", |d| d.registry_values[1].place.as_mut().unwrap().key = r"HKCU\x".into()),
        ("registry_values[0].place.view", |d| d.registry_values[0].place.as_mut().unwrap().view = 9),
        ("packages[0].installer", |d| d.packages[0].installer = None),
        ("packages[0].name", |d| d.packages[0].name = "../x".into()),
        ("packages[0].artifact", |d| {
            let Some(pb::package::Installer::Msi(msi)) = &mut d.packages[0].installer else { panic!("an msi") };
            msi.artifact = None;
        }),
        ("files[1].attributes.mode", |d| d.files[1].attributes.as_mut().unwrap().mode = Some(0o10000)),
        ("directories[0].attributes.access.grants[2].rights", |d| {
            d.directories[0].attributes.as_mut().unwrap().access.as_mut().unwrap().grants[2].rights = 0;
        }),
        ("services[0].password.salt", |d| {
            d.services[0].password.as_mut().unwrap().salt = b"x".to_vec().into();
        }),
    ];
    for (field, change) in faults {
        let mut raw = pb::DesiredState::from(&everything());
        change(&mut raw);
        match DesiredState::try_from(raw) {
            Err(WireError::Field { field: found, .. }) => assert_eq!(found, field),
            other => panic!("{field}: {other:?}"),
        }
    }
}
