//! Values of the registry and packages, as documents may want them and as somebody else may leave them.

use proptest::prelude::*;
use windlass::{
    agent::{
        host::memory::MemoryNode,
        place::{Place, Thing},
        product::Product,
    },
    model::{
        Artifact, Detect, Digest, Installer, MsiVersion, Package, PackageName, ProductCode, RegistryData,
        RegistryPlace, RegistryValue, View,
    },
};

use super::BYTES;

fn view() -> impl Strategy<Value = View> {
    prop_oneof![Just(View::Bits64), Just(View::Bits32)]
}

/// Few keys, so that they meet: one in the other, and both views of them.
fn place() -> impl Strategy<Value = RegistryPlace> {
    let key = prop_oneof![Just("Acme"), Just("ACME\\Line"), Just("Acme\\Line\\3"), Just("Wow6432Node\\Acme")];
    let name = prop_oneof![Just(""), Just("a"), Just("A\\b")];
    (key, name, view()).prop_map(|(key, name, view)| {
        RegistryPlace::parse(&format!("HKLM\\SOFTWARE\\{key}"), name, view).expect("place")
    })
}

fn data() -> impl Strategy<Value = RegistryData> {
    prop_oneof![
        Just(RegistryData::String("1".into())),
        Just(RegistryData::String(String::new())),
        Just(RegistryData::ExpandString("%A%".into())),
        Just(RegistryData::MultiString(vec!["1".into(), "2".into()])),
        (0..2u32).prop_map(RegistryData::Dword),
        Just(RegistryData::Qword(1)),
        Just(RegistryData::Binary(vec![0, 1])),
    ]
}

/// A value that a document may want.
pub fn value() -> impl Strategy<Value = RegistryValue> {
    (place(), data(), super::drift()).prop_map(|(place, data, drift)| RegistryValue { place, data, drift })
}

fn code() -> impl Strategy<Value = ProductCode> {
    (1..4u8).prop_map(|n| ProductCode::parse(&format!("{{00000000-0000-0000-0000-00000000000{n}}}")).expect("code"))
}

fn version() -> impl Strategy<Value = MsiVersion> {
    (1..3u8).prop_map(|n| MsiVersion::parse(&format!("{n}.0")).expect("version"))
}

fn artifact() -> impl Strategy<Value = Artifact> {
    (0..BYTES.len()).prop_map(|which| Artifact { url: "https://x/".into(), sha256: Digest::of(BYTES[which]) })
}

fn msi() -> impl Strategy<Value = Package> {
    (0..3u8, artifact(), code(), version()).prop_map(|(name, artifact, product_code, version)| Package {
        name: PackageName::parse(&format!("msi-{name}")).expect("name"),
        installer: Installer::Msi { artifact, product_code, version, properties: vec![] },
    })
}

/// Each name is found at a place of its own: nothing else removes what the same name had put elsewhere.
fn exe() -> impl Strategy<Value = Package> {
    (0..2u8, artifact(), 1..3u8).prop_map(|(name, artifact, version)| Package {
        name: PackageName::parse(&format!("exe-{name}")).expect("name"),
        installer: Installer::Exe {
            artifact,
            arguments: vec![],
            uninstall: vec!["C:\\uninstall.exe".into()],
            detect: Detect::RegistryValue { place: tool(name), equals: Some(version.to_string()) },
            success_codes: vec![0],
        },
    })
}

fn tool(name: u8) -> RegistryPlace {
    RegistryPlace::parse(&format!("HKLM\\SOFTWARE\\Tools\\{name}"), "Version", View::Bits64).expect("place")
}

/// A package that a document may want.
pub fn package() -> impl Strategy<Value = Package> {
    prop_oneof![2 => msi(), 1 => exe()]
}

/// What somebody else may do: set or remove a value, a key with all that it holds, a product; uninstall a tool.
pub fn other() -> impl Strategy<Value = (Place, Option<MemoryNode>)> {
    let node = prop_oneof![3 => data().prop_map(MemoryNode::Value), 1 => (0..20u32).prop_map(MemoryNode::OtherValue)];
    let value = (place().prop_map(Place::Value), proptest::option::weighted(0.7, node));
    let key = (place().prop_map(|p| Place::Key(p.holder())), proptest::option::weighted(0.7, Just(MemoryNode::Key)));
    let product = |code| Thing::Package(PackageName::parse("x").expect("name"), Product::Msi(code)).place();
    let version = proptest::option::weighted(0.8, version()).prop_map(MemoryNode::Product);
    let product = (code().prop_map(product), proptest::option::weighted(0.6, version));
    let tool = (0..2u8).prop_map(|name| (Place::Value(tool(name)), None));
    prop_oneof![3 => value, 1 => key, 2 => product, 1 => tool]
}
