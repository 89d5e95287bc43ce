//! Data of the registry as its types and bytes, and back. Pure.
//!
//! Source: Win32, "Registry Value Types".

use crate::{agent::host::ValueState, model::RegistryData};

/// Numbers of the types that documents can name.
const SZ: u32 = 1;
const EXPAND_SZ: u32 = 2;
const BINARY: u32 = 3;
const DWORD: u32 = 4;
const MULTI_SZ: u32 = 7;
const QWORD: u32 = 11;

/// Number of its type, and its bytes: texts in UTF-16 with the NUL that ends each.
pub fn encode(data: &RegistryData) -> (u32, Vec<u8>) {
    let text = |text: &str| -> Vec<u8> { text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect() };
    match data {
        RegistryData::String(string) => (SZ, text(string)),
        RegistryData::ExpandString(string) => (EXPAND_SZ, text(string)),
        RegistryData::MultiString(strings) => {
            (MULTI_SZ, strings.iter().flat_map(|string| text(string)).chain([0, 0]).collect())
        }
        RegistryData::Dword(number) => (DWORD, number.to_le_bytes().to_vec()),
        RegistryData::Qword(number) => (QWORD, number.to_le_bytes().to_vec()),
        RegistryData::Binary(bytes) => (BINARY, bytes.clone()),
    }
}

/// What a value of that type with those bytes is. Programs often leave out the NUL at the end.
pub fn decode(kind: u32, bytes: &[u8]) -> ValueState {
    let data = match kind {
        SZ => string(bytes).map(RegistryData::String),
        EXPAND_SZ => string(bytes).map(RegistryData::ExpandString),
        MULTI_SZ => strings(bytes).map(RegistryData::MultiString),
        DWORD => bytes.try_into().ok().map(u32::from_le_bytes).map(RegistryData::Dword),
        QWORD => bytes.try_into().ok().map(u64::from_le_bytes).map(RegistryData::Qword),
        BINARY => Some(RegistryData::Binary(bytes.to_vec())),
        _ => None,
    };
    data.map_or(ValueState::Other { kind, bytes: bytes.len() }, ValueState::Holds)
}

fn string(bytes: &[u8]) -> Option<String> {
    let text = text(bytes)?;
    let text = text.strip_suffix('\0').unwrap_or(&text);
    (!text.contains('\0')).then(|| text.to_owned())
}

fn strings(bytes: &[u8]) -> Option<Vec<String>> {
    let text = text(bytes)?;
    // The NUL of the list, and that of its last text.
    let text = text.strip_suffix('\0').unwrap_or(&text);
    let text = text.strip_suffix('\0').unwrap_or(text);
    if text.is_empty() {
        return Some(Vec::new());
    }
    text.split('\0').map(|text| (!text.is_empty()).then(|| text.to_owned())).collect()
}

fn text(bytes: &[u8]) -> Option<String> {
    let (units, rest) = bytes.as_chunks::<2>();
    let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    if rest.is_empty() { String::from_utf16(&units).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_every_type_is_read_as_it_was_written() {
        let texts = |texts: &[&str]| RegistryData::MultiString(texts.iter().map(ToString::to_string).collect());
        for data in [
            RegistryData::String("Größe 日本 𝄞".into()),
            RegistryData::String(String::new()),
            RegistryData::ExpandString("%SystemRoot%\\x".into()),
            texts(&[]),
            texts(&["a"]),
            texts(&["a", "b c"]),
            RegistryData::Dword(0x0102_0304),
            RegistryData::Qword(u64::MAX - 1),
            RegistryData::Binary(vec![]),
            RegistryData::Binary(vec![0, 1, 255]),
        ] {
            let (kind, bytes) = encode(&data);
            assert_eq!(decode(kind, &bytes), ValueState::Holds(data));
        }
        assert_eq!(encode(&RegistryData::Dword(1)), (4, vec![1, 0, 0, 0]));
        assert_eq!(encode(&texts(&["a"])), (7, vec![97, 0, 0, 0, 0, 0]));
    }

    #[test]
    fn what_is_none_of_its_type_is_told_apart() {
        for (kind, bytes) in [
            (1, b"a".as_slice()),
            (1, b"a\0\0\0b\0"),
            (1, b"\x00\xd8\0\0"),
            (4, &[1, 2, 3]),
            (4, &[]),
            (11, &[0; 4]),
            (7, b"\0\0a\0\0\0\0\0"),
            (0, b""),
            (5, &[0; 4]),
            (42, b"x"),
        ] {
            assert_eq!(decode(kind, bytes), ValueState::Other { kind, bytes: bytes.len() }, "{kind} {bytes:?}");
        }
    }

    #[test]
    fn a_text_may_lack_its_end() {
        let held = |text: &str| ValueState::Holds(RegistryData::String(text.into()));
        assert_eq!(decode(1, b"a\0"), held("a"));
        assert_eq!(decode(1, b""), held(""));
        let list = ValueState::Holds(RegistryData::MultiString(vec!["a".into()]));
        assert_eq!(decode(7, b"a\0"), list);
        assert_eq!(decode(7, b"a\0\0\0"), list);
        assert_eq!(decode(7, b""), ValueState::Holds(RegistryData::MultiString(vec![])));
    }
}
