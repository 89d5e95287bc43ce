//! Values of the Windows registry and where they lie, parsed on any platform. Pure.
//!
//! One place has many spellings: case, two names of each hive, and for keys that 32-bit programs see in another
//! place, that place by its path (Wow6432Node) or by its view. Parsed, each place has one.

mod key;
mod wow64;

use std::fmt;

pub use key::RegistryKey;

use super::Drift;

/// A value that the registry should hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryValue {
    /// Where.
    pub place: RegistryPlace,
    /// What.
    pub data: RegistryData,
    /// What to do about drift.
    pub drift: Drift,
}

/// What a value holds, and thereby its type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RegistryData {
    /// `REG_SZ`; without NUL.
    String(String),
    /// `REG_EXPAND_SZ`: names of variables in it stay as they are; without NUL.
    ExpandString(String),
    /// `REG_MULTI_SZ`; none empty, without NUL.
    MultiString(Vec<String>),
    /// `REG_DWORD`.
    Dword(u32),
    /// `REG_QWORD`.
    Qword(u64),
    /// `REG_BINARY`.
    Binary(Vec<u8>),
}

/// The part of the registry that a key lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hive {
    /// `HKEY_LOCAL_MACHINE`.
    LocalMachine,
    /// `HKEY_USERS`.
    Users,
}

impl Hive {
    /// `HKLM` or `HKU`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LocalMachine => "HKLM",
            Self::Users => "HKU",
        }
    }
}

/// Which programs see a key at its path, where those of 32 and of 64 bits see two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum View {
    /// Those of 64 bits; also of keys that all programs share.
    Bits64,
    /// Those of 32 bits.
    Bits32,
}

/// Where a value lies. Whatever way it was spelled, the key names no `Wow6432Node` that a view stands for, and a
/// key that all programs share has the view of 64 bits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistryPlace {
    hive: Hive,
    key: String,
    name: String,
    view: View,
}

/// Longest key, in bytes of UTF-8.
const MAX_KEY_BYTES: usize = 1024;
/// Longest component of a key, in UTF-16 units.
const MAX_COMPONENT: usize = 255;
/// Longest name of a value, in UTF-16 units; the registry takes 16383.
const MAX_NAME: usize = 255;

impl RegistryPlace {
    /// Parses `HKLM\…` or `HKU\…`, by their short or long names, and the name of a value; `""` names the key's
    /// default value.
    pub fn parse(key: &str, name: &str, view: View) -> Result<Self, RegistryPlaceError> {
        let fail = |why| Err(RegistryPlaceError { key: key.chars().take(MAX_KEY_BYTES).collect(), why });
        if key.len() > MAX_KEY_BYTES {
            return fail("the key is longer than 1024 bytes");
        }
        if key.chars().chain(name.chars()).any(char::is_control) {
            return fail("it holds a control character");
        }
        if name.encode_utf16().count() > MAX_NAME {
            return fail("the value's name is longer than 255 UTF-16 units");
        }
        let mut components = key.split('\\');
        let hive = match components.next().unwrap_or_default().to_ascii_uppercase().as_str() {
            "HKLM" | "HKEY_LOCAL_MACHINE" => Hive::LocalMachine,
            "HKU" | "HKEY_USERS" => Hive::Users,
            "HKCU" | "HKEY_CURRENT_USER" => {
                return fail(
                    "HKCU is another hive for every account; name the account's own, such as HKU\\S-1-5-19\\…",
                );
            }
            "HKCR" | "HKEY_CLASSES_ROOT" => {
                return fail("HKCR is merged from two hives; expected HKLM\\SOFTWARE\\Classes\\…");
            }
            "HKCC" | "HKEY_CURRENT_CONFIG" => return fail("HKCC is part of another hive; expected HKLM\\…"),
            _ => return fail("it names no hive; expected HKLM\\… or HKU\\…"),
        };
        let components: Vec<&str> = components.filter(|component| !component.is_empty()).collect();
        if components.is_empty() {
            return fail("it names a hive alone; expected a key below it");
        }
        if components.iter().any(|component| component.encode_utf16().count() > MAX_COMPONENT) {
            return fail("a component of the key is longer than 255 UTF-16 units");
        }
        let (components, view) = wow64::one_spelling(hive, components, view);
        Ok(Self { hive, key: components.join("\\"), name: name.to_owned(), view })
    }

    /// The hive that the key lies in.
    pub fn hive(&self) -> Hive {
        self.hive
    }

    /// The key below its hive, such as `SOFTWARE\Acme`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The key with its hive, such as `HKLM\SOFTWARE\Acme`: with [`RegistryPlace::name`] and
    /// [`RegistryPlace::view`] it parses to this place again.
    pub fn path(&self) -> String {
        format!("{}\\{}", self.hive.as_str(), self.key)
    }

    /// The value's name; empty for the key's default value.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which programs see it there.
    pub fn view(&self) -> View {
        self.view
    }

    /// What all spellings of one place share.
    pub fn identity(&self) -> String {
        let bits = match self.view {
            View::Bits64 => "",
            View::Bits32 => "32",
        };
        // No key has an empty component: what follows the first `\\` is the name.
        format!("{}{bits}\\{}\\\\{}", self.hive.as_str(), self.key, self.name).to_lowercase()
    }
}

impl fmt::Display for RegistryPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { "(Default)" } else { &self.name };
        let bits = match self.view {
            View::Bits64 => "",
            View::Bits32 => " (32-bit)",
        };
        write!(f, "{}\\{}\\{name}{bits}", self.hive.as_str(), self.key)
    }
}

impl fmt::Debug for RegistryPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// Why something is not a place of the registry that windlass manages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key:?} cannot be managed: {why}")]
pub struct RegistryPlaceError {
    /// The key that was given.
    pub key: String,
    /// What is wrong with it, and what was expected.
    pub why: &'static str,
}

#[cfg(test)]
mod tests {
    use View::{Bits32, Bits64};

    use super::*;

    #[test]
    fn each_place_has_one_spelling() {
        for (key, view, path, expected) in [
            (r"HKLM\SOFTWARE\Acme", Bits64, r"HKLM\SOFTWARE\Acme", Bits64),
            (r"hkey_local_machine\Software\\Acme\", Bits64, r"HKLM\Software\Acme", Bits64),
            (r"HKEY_USERS\.DEFAULT\Software\Acme", Bits32, r"HKU\.DEFAULT\Software\Acme", Bits64),
            (r"HKLM\SOFTWARE\Acme", Bits32, r"HKLM\SOFTWARE\Acme", Bits32),
            (r"HKLM\SOFTWARE\WOW6432Node\Acme", Bits64, r"HKLM\SOFTWARE\Acme", Bits32),
            (r"HKLM\SOFTWARE\Wow6432Node\Acme", Bits32, r"HKLM\SOFTWARE\Acme", Bits32),
            (r"HKLM\SOFTWARE\Wow6432Node\Wow6432Node\Acme", Bits64, r"HKLM\SOFTWARE\Acme", Bits32),
            (r"HKLM\SOFTWARE\Wow6432Node", Bits64, r"HKLM\SOFTWARE", Bits32),
            (r"HKLM\SOFTWARE\Acme\Wow6432Node", Bits64, r"HKLM\SOFTWARE\Acme\Wow6432Node", Bits64),
            (r"HKLM\SYSTEM\CurrentControlSet\Acme", Bits32, r"HKLM\SYSTEM\CurrentControlSet\Acme", Bits64),
            (r"HKLM\SOFTWARE\Policies\Acme", Bits32, r"HKLM\SOFTWARE\Policies\Acme", Bits64),
            (r"HKLM\SOFTWARE\Wow6432Node\Policies", Bits64, r"HKLM\SOFTWARE\Policies", Bits64),
            (r"HKLM\SOFTWARE\PoliciesOfAcme", Bits32, r"HKLM\SOFTWARE\PoliciesOfAcme", Bits32),
            (r"HKLM\SOFTWARE\Classes\.acme", Bits32, r"HKLM\SOFTWARE\Classes\.acme", Bits64),
            (r"HKLM\SOFTWARE\Classes\CLSID\{1}", Bits32, r"HKLM\SOFTWARE\Classes\CLSID\{1}", Bits32),
            (r"HKLM\SOFTWARE\Classes\Wow6432Node\CLSID\{1}", Bits64, r"HKLM\SOFTWARE\Classes\CLSID\{1}", Bits32),
            (r"HKLM\SOFTWARE\Wow6432Node\Classes\CLSID\{1}", Bits64, r"HKLM\SOFTWARE\Classes\CLSID\{1}", Bits32),
            (r"HKLM\SOFTWARE\Wow6432Node\Classes\AppId\x", Bits64, r"HKLM\SOFTWARE\Classes\AppId\x", Bits64),
            (r"HKLM\SOFTWARE\Wow6432Node\Classes\.a", Bits64, r"HKLM\SOFTWARE\Classes\Wow6432Node\.a", Bits64),
            (r"HKU\S-1-5-19_Classes\CLSID\x", Bits32, r"HKU\S-1-5-19_Classes\CLSID\x", Bits32),
        ] {
            let place = RegistryPlace::parse(key, "Line", view).expect(key);
            assert_eq!((place.path().as_str(), place.view()), (path, expected), "{key}");
            assert_eq!(RegistryPlace::parse(&place.path(), place.name(), place.view()), Ok(place), "{key} again");
        }
    }

    #[test]
    fn places_that_are_elsewhere_for_others_are_refused() {
        let long = format!(r"HKLM\SOFTWARE\{}", "a".repeat(256));
        for key in [
            "",
            "HKLM",
            r"HKLM\",
            r"HKCU\Software\Acme",
            r"HKEY_CURRENT_USER\Software\Acme",
            r"HKCR\.acme",
            r"HKCC\Software",
            r"SOFTWARE\Acme",
            r"Computer\HKLM\SOFTWARE\Acme",
            "HKLM/SOFTWARE/Acme",
            "HKLM\\SOFTWARE\\A\ncme",
            &long,
        ] {
            assert!(RegistryPlace::parse(key, "Line", Bits64).is_err(), "{key}");
        }
        assert!(RegistryPlace::parse(r"HKLM\SOFTWARE\Acme", &"n".repeat(256), Bits64).is_err());
        assert!(RegistryPlace::parse(r"HKLM\SOFTWARE\Acme", "a\0b", Bits64).is_err());
    }

    #[test]
    fn places_are_the_same_without_regard_to_case_only() {
        let identity = |key, name, view| RegistryPlace::parse(key, name, view).expect(key).identity();
        let here = identity(r"HKLM\SOFTWARE\Acme", "Line", Bits64);
        assert_eq!(here, identity(r"hklm\software\ACME", "LINE", Bits64));
        for other in [
            identity(r"HKLM\SOFTWARE\Acme", "Line", Bits32),
            identity(r"HKLM\SOFTWARE\Acme", "", Bits64),
            identity(r"HKLM\SOFTWARE", "Acme\\Line", Bits64),
            identity(r"HKLM\SOFTWARE\Acme\Line", "", Bits64),
            identity(r"HKU\SOFTWARE\Acme", "Line", Bits64),
        ] {
            assert_ne!(here, other);
        }
    }

    #[test]
    fn people_read_where_it_lies() {
        let show = |name, view| RegistryPlace::parse(r"HKLM\SOFTWARE\Acme", name, view).expect("place").to_string();
        assert_eq!(show("Line", Bits64), r"HKLM\SOFTWARE\Acme\Line");
        assert_eq!(show("", Bits32), r"HKLM\SOFTWARE\Acme\(Default) (32-bit)");
    }
}
