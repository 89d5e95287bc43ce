//! Registry values of a document ↔ model. Pure.

use super::{drift_from_wire, drift_to_wire};
use crate::{
    model::{RegistryData, RegistryPlace, RegistryValue, View},
    wire::{
        WireError,
        desired_v1::{self as pb, registry_value::Data},
    },
};

pub(super) fn registry_value_to_wire(RegistryValue { place, data, drift }: &RegistryValue) -> pb::RegistryValue {
    let data = match data.clone() {
        RegistryData::String(text) => Data::String(text),
        RegistryData::ExpandString(text) => Data::ExpandString(text),
        RegistryData::MultiString(strings) => Data::MultiString(pb::registry_value::MultiString { strings }),
        RegistryData::Dword(number) => Data::Dword(number),
        RegistryData::Qword(number) => Data::Qword(number),
        RegistryData::Binary(bytes) => Data::Binary(bytes.into()),
    };
    pb::RegistryValue { place: Some(place_to_wire(place)), data: Some(data), drift: drift_to_wire(*drift) }
}

pub(super) fn registry_value_from_wire(value: pb::RegistryValue) -> Result<RegistryValue, WireError> {
    let data = match value.data {
        Some(Data::String(text)) => RegistryData::String(text),
        Some(Data::ExpandString(text)) => RegistryData::ExpandString(text),
        Some(Data::MultiString(multi)) => RegistryData::MultiString(multi.strings),
        Some(Data::Dword(number)) => RegistryData::Dword(number),
        Some(Data::Qword(number)) => RegistryData::Qword(number),
        Some(Data::Binary(bytes)) => RegistryData::Binary(bytes.into()),
        None => return Err(WireError::field("data", "there is none that this version knows")),
    };
    Ok(RegistryValue { place: place_from_wire(value.place)?, data, drift: drift_from_wire(value.drift)? })
}

pub(super) fn place_to_wire(place: &RegistryPlace) -> pb::RegistryPlace {
    let view = match place.view() {
        View::Bits64 => pb::RegistryView::RegistryView64,
        View::Bits32 => pb::RegistryView::RegistryView32,
    };
    pb::RegistryPlace { key: place.path(), name: place.name().to_owned(), view: view as i32 }
}

pub(super) fn place_from_wire(place: Option<pb::RegistryPlace>) -> Result<RegistryPlace, WireError> {
    let pb::RegistryPlace { key, name, view } = place.ok_or_else(|| WireError::field("place", "is missing"))?;
    let view = match pb::RegistryView::try_from(view) {
        Ok(pb::RegistryView::RegistryView64) => View::Bits64,
        Ok(pb::RegistryView::RegistryView32) => View::Bits32,
        _ => return Err(WireError::field("place.view", format!("unknown value {view}"))),
    };
    RegistryPlace::parse(&key, &name, view).map_err(|e| WireError::field("place", e))
}
