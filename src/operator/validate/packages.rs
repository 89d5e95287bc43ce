//! The part of `validate` that reads packages.

use std::collections::HashMap;

use super::{Check, InvalidReason as Reason, paths, probes, registry};
use crate::{
    api::{DetectEntry, DetectRegistryValue, ExePackage, MsiPackage, PackageEntry, PropertyEntry},
    model::{Detect, Installer, MsiVersion, Package, PackageName, ProductCode},
};

/// Properties by which the agent says what Windows Installer is to do.
const RESERVED: [&str; 7] = ["ACTION", "ADVERTISE", "REBOOT", "REBOOTPROMPT", "REINSTALL", "REINSTALLMODE", "REMOVE"];

pub(super) fn packages(check: &mut Check, entries: &[PackageEntry]) -> Vec<Package> {
    if !check.is_for_windows("spec.packages", !entries.is_empty()) {
        return Vec::new();
    }
    let mut packages: Vec<Package> = Vec::new();
    let mut names: HashMap<String, usize> = HashMap::new();
    let mut codes: HashMap<ProductCode, usize> = HashMap::new();
    let mut detections: HashMap<String, usize> = HashMap::new();
    for (i, PackageEntry { name, msi, exe }) in entries.iter().enumerate() {
        let field = format!("spec.packages[{i}]");
        let name = self::name(check, &format!("{field}.name"), i, name, &mut names);
        let installer = match (msi, exe) {
            (Some(entry), None) => msi_of(check, &format!("{field}.msi"), i, entry, &mut codes),
            (None, Some(entry)) => exe_of(check, &format!("{field}.exe"), i, entry, &mut detections),
            _ => {
                check.error(field, Reason::InvalidPackage, "set exactly one of msi and exe");
                None
            }
        };
        if let (Some(name), Some(installer)) = (name, installer) {
            packages.push(Package { name, installer });
        }
    }
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    packages
}

fn name(
    check: &mut Check,
    field: &str,
    index: usize,
    text: &str,
    names: &mut HashMap<String, usize>,
) -> Option<PackageName> {
    match PackageName::parse(text) {
        Err(error) => {
            check.error(field, Reason::InvalidName, error.to_string());
            None
        }
        Ok(name) => match names.insert(name.identity(), index) {
            Some(other) => {
                let message = format!("{name} is the name of spec.packages[{other}] but for its case; rename one");
                check.error(field, Reason::DuplicateName, message);
                None
            }
            None => Some(name),
        },
    }
}

fn msi_of(
    check: &mut Check,
    field: &str,
    index: usize,
    entry: &MsiPackage,
    codes: &mut HashMap<ProductCode, usize>,
) -> Option<Installer> {
    let MsiPackage { artifact, product_code, version, properties } = entry;
    let artifact = paths::artifact(check, &format!("{field}.artifact"), artifact);
    let product_code = ProductCode::parse(product_code)
        .map_err(|error| check.error(format!("{field}.productCode"), Reason::InvalidPackage, error.to_string()))
        .ok();
    if let Some(other) = product_code.as_ref().and_then(|code| codes.insert(code.clone(), index)) {
        let message = format!("is that of spec.packages[{other}] as well; remove one of the packages");
        check.error(format!("{field}.productCode"), Reason::InvalidPackage, message);
    }
    let version = MsiVersion::parse(version)
        .map_err(|error| check.error(format!("{field}.version"), Reason::InvalidPackage, error.to_string()))
        .ok();
    let properties = self::properties(check, &format!("{field}.properties"), properties);
    Some(Installer::Msi { artifact: artifact?, product_code: product_code?, version: version?, properties })
}

fn properties(check: &mut Check, field: &str, entries: &[PropertyEntry]) -> Vec<(String, String)> {
    let mut properties: Vec<(String, String)> = Vec::new();
    for (i, PropertyEntry { name, value }) in entries.iter().enumerate() {
        let is_public = name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
            && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.'));
        if !is_public {
            let message = format!("{name:?} is no public property: expected upper case, such as INSTALLDIR");
            check.error(format!("{field}[{i}].name"), Reason::InvalidPackage, message);
        }
        if RESERVED.contains(&name.as_str()) {
            let message = format!("{name} is set by the agent, which says by it what is to be done; remove it");
            check.error(format!("{field}[{i}].name"), Reason::InvalidPackage, message);
        }
        if value.chars().any(char::is_control) {
            let message = "holds a control character; remove it";
            check.error(format!("{field}[{i}].value"), Reason::InvalidPackage, message);
        }
        if properties.iter().any(|(other, _)| other == name) {
            let message = format!("{name} is set twice; remove one");
            check.error(format!("{field}[{i}].name"), Reason::DuplicateName, message);
        }
        properties.push((name.clone(), value.clone()));
    }
    properties.sort();
    properties
}

fn exe_of(
    check: &mut Check,
    field: &str,
    index: usize,
    entry: &ExePackage,
    detections: &mut HashMap<String, usize>,
) -> Option<Installer> {
    let ExePackage { artifact, arguments, uninstall_command, detect, success_exit_codes } = entry;
    let artifact = paths::artifact(check, &format!("{field}.artifact"), artifact);
    probes::arguments(check, &format!("{field}.arguments"), arguments, 0);
    let uninstall = match uninstall_command.is_empty() {
        true => Vec::new(),
        false => probes::command(check, &format!("{field}.uninstallCommand"), uninstall_command),
    };
    let detect = self::detect(check, &format!("{field}.detect"), detect);
    if let Some(other) = detect.as_ref().and_then(|detect| detections.insert(detect.identity(), index)) {
        let message = format!("finds spec.packages[{other}] as well; find each package by something of its own");
        check.error(format!("{field}.detect"), Reason::InvalidPackage, message);
    }
    let mut success_codes = if success_exit_codes.is_empty() { vec![0] } else { success_exit_codes.clone() };
    success_codes.sort_unstable();
    success_codes.dedup();
    Some(Installer::Exe {
        artifact: artifact?,
        arguments: arguments.clone(),
        uninstall,
        detect: detect?,
        success_codes,
    })
}

fn detect(check: &mut Check, field: &str, entry: &DetectEntry) -> Option<Detect> {
    match entry {
        DetectEntry { registry_value: Some(value), file: None } => {
            let DetectRegistryValue { key, name, view, equals } = value;
            let name = name.as_deref().unwrap_or_default();
            let place = registry::place(check, &format!("{field}.registryValue.key"), key, name, *view)?;
            Some(Detect::RegistryValue { place, equals: equals.clone() })
        }
        DetectEntry { registry_value: None, file: Some(file) } => {
            let path = check.path(&format!("{field}.file"), file, Reason::InvalidPath)?;
            Some(Detect::File { path })
        }
        _ => {
            check.error(field, Reason::InvalidPackage, "set exactly one of registryValue and file");
            None
        }
    }
}
