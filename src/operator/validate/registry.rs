//! The part of `validate` that reads values of the registry.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Check, InvalidReason as Reason, own_drift};
use crate::{
    api::{Qword, RegistryValueEntry, RegistryViewName},
    model::{Drift, RegistryData, RegistryPlace, RegistryValue, View},
};

pub(super) fn registry_values(check: &mut Check, entries: &[RegistryValueEntry], drift: Drift) -> Vec<RegistryValue> {
    if !check.is_for_windows("spec.registryValues", !entries.is_empty()) {
        return Vec::new();
    }
    let mut values: Vec<RegistryValue> = Vec::new();
    let mut first: HashMap<String, usize> = HashMap::new();
    for (i, entry) in entries.iter().enumerate() {
        let field = format!("spec.registryValues[{i}]");
        let place = place(check, &format!("{field}.key"), &entry.key, &entry.name, entry.view);
        let data = data(check, &field, entry);
        let Some(place) = place else { continue };
        match first.get(&place.identity()) {
            Some(other) => {
                let message = format!("{place} is named by spec.registryValues[{other}] already; remove one of them");
                check.error(&field, Reason::DuplicateRegistryValue, message);
            }
            None => {
                first.insert(place.identity(), i);
            }
        }
        if let Some(data) = data {
            values.push(RegistryValue { place, data, drift: own_drift(entry.drift, drift) });
        }
    }
    values.sort_by_cached_key(|value| value.place.identity());
    values
}

pub(super) fn place(
    check: &mut Check,
    field: &str,
    key: &str,
    name: &str,
    view: Option<RegistryViewName>,
) -> Option<RegistryPlace> {
    let view = match view {
        None | Some(RegistryViewName::Registry64) => View::Bits64,
        Some(RegistryViewName::Registry32) => View::Bits32,
    };
    match RegistryPlace::parse(key, name, view) {
        Ok(place) => Some(place),
        Err(error) => {
            check.error(field, Reason::InvalidRegistryValue, error.to_string());
            None
        }
    }
}

fn data(check: &mut Check, field: &str, entry: &RegistryValueEntry) -> Option<RegistryData> {
    let RegistryValueEntry {
        key: _,
        name: _,
        view: _,
        string,
        expand_string,
        multi_string,
        dword,
        qword,
        binary,
        drift: _,
    } = entry;
    let fault = |name: &str, message: String| Err((format!("{field}.{name}"), message));
    let read = match (string, expand_string, multi_string, dword, qword, binary) {
        (Some(text), None, None, None, None, None) => match text.contains('\0') {
            false => Ok(RegistryData::String(text.clone())),
            true => fault("string", "holds a NUL character; remove it".into()),
        },
        (None, Some(text), None, None, None, None) => match text.contains('\0') {
            false => Ok(RegistryData::ExpandString(text.clone())),
            true => fault("expandString", "holds a NUL character; remove it".into()),
        },
        (None, None, Some(lines), None, None, None) => {
            match lines.iter().position(|line| line.is_empty() || line.contains('\0')) {
                None => Ok(RegistryData::MultiString(lines.clone())),
                Some(i) => fault(
                    &format!("multiString[{i}]"),
                    "is empty or holds a NUL character, which would end the list; remove it".into(),
                ),
            }
        }
        (None, None, None, Some(number), None, None) => match u32::try_from(*number) {
            Ok(number) => Ok(RegistryData::Dword(number)),
            Err(_) => fault("dword", format!("is {number}; expected 0 to {}", u32::MAX)),
        },
        (None, None, None, None, Some(number), None) => match qword_of(number) {
            Some(number) => Ok(RegistryData::Qword(number)),
            None => fault("qword", format!("is out of its range; expected 0 to {}, in decimal or as 0x…", u64::MAX)),
        },
        (None, None, None, None, None, Some(text)) => match STANDARD.decode(text) {
            Ok(bytes) => Ok(RegistryData::Binary(bytes)),
            Err(error) => fault("binary", format!("is not base64: {error}")),
        },
        _ => Err((
            field.to_owned(),
            "set exactly one of string, expandString, multiString, dword, qword and binary".to_owned(),
        )),
    };
    read.map_err(|(field, message)| check.error(field, Reason::InvalidRegistryValue, message)).ok()
}

fn qword_of(number: &Qword) -> Option<u64> {
    match number {
        Qword::Number(number) => u64::try_from(*number).ok(),
        Qword::Text(text) => match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        },
    }
}
