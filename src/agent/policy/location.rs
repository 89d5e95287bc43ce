//! Places that a policy names, and whether one lies in another: by component, and on Windows without regard to case.
//! What allows is compared strictly, what denies as widely as any file system folds case. Pure.

use std::fmt;

use crate::model::{HostPath, Platform, RegistryKey, RegistryPlace, View};

/// A folder, file or key of the registry, and all that lies in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// As written.
    text: String,
    /// The root (`/`, `c:`, `hklm`) and the components, folded where case makes no difference.
    parts: Vec<String>,
}

/// Stands for every drive.
const ANY_DRIVE: &str = "?:";

impl Location {
    /// Reads `/`, `/opt/acme`, `C:\` or `C:\Acme`; `?:\Acme` is on every drive.
    pub fn path(text: &str) -> Result<Self, String> {
        let is_any = text.starts_with("?:\\");
        let on_a_drive = if is_any { text.replacen('?', "C", 1) } else { text.to_owned() };
        let root = match on_a_drive.as_bytes() {
            b"/" => Some("/".to_owned()),
            [drive, b':', b'\\' | b'/'] if drive.is_ascii_alphabetic() => Some(on_a_drive[..2].to_lowercase()),
            _ => None,
        };
        let mut parts = match root {
            Some(root) => vec![root],
            None => Self::from(&HostPath::parse(&on_a_drive).map_err(|error| error.to_string())?).parts,
        };
        if is_any {
            parts[0] = ANY_DRIVE.to_owned();
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// Reads `HKLM`, `HKU` or a key below; programs of 32 and of 64 bits are not told apart.
    pub fn key(text: &str) -> Result<Self, String> {
        let hive = match text.to_ascii_uppercase().as_str() {
            "HKLM" | "HKEY_LOCAL_MACHINE" => Some("hklm"),
            "HKU" | "HKEY_USERS" => Some("hku"),
            _ => None,
        };
        if let Some(hive) = hive {
            return Ok(Self { text: text.to_owned(), parts: vec![hive.to_owned()] });
        }
        let place = RegistryPlace::parse(text, "", View::Bits64).map_err(|error| error.to_string())?;
        Ok(Self { text: text.to_owned(), ..Self::from(&place.holder()) })
    }

    /// Whether it is `other` or certainly lies in it.
    pub fn is_in(&self, other: &Self) -> bool {
        self.lies_in(other, |a, b| a == b)
    }

    /// Whether it is `other` or lies in it to anything that folds case more widely than [`HostPath::identity`].
    pub fn may_be_in(&self, other: &Self) -> bool {
        let folds = self.parts.first().is_some_and(|root| root != "/");
        self.lies_in(other, |a, b| a == b || folds && widest(a) == widest(b))
    }

    /// A component that may be the short name of something else, which no text tells.
    pub fn short_name(&self) -> Option<&str> {
        let is_on_windows = self.parts.first().is_some_and(|root| root.ends_with(':'));
        self.parts.iter().skip(1).find(|part| is_on_windows && may_be_short(part)).map(String::as_str)
    }

    /// Whether it is the unit that systemd runs the agent by, or what adds to it, in whichever folder.
    pub fn is_of_own_unit(&self) -> bool {
        self.parts.iter().any(|part| part.starts_with("windlass-agent.service"))
    }

    /// Whether it is a key of one of the agent's own services, or of its source in the event log.
    pub fn is_of_own_service(&self) -> bool {
        let is_of_services = matches!(self.parts.as_slice(), [hive, system, _, services, ..]
            if hive == "hklm" && system == "system" && services == "services");
        is_of_services && self.parts.iter().skip(4).any(|part| part.starts_with("windlass"))
    }

    fn lies_in(&self, other: &Self, same: impl Fn(&str, &str) -> bool) -> bool {
        let is_drive = |part: &str| part.len() == 2 && part.ends_with(':');
        self.parts.len() >= other.parts.len()
            && self
                .parts
                .iter()
                .zip(&other.parts)
                .all(|(a, b)| same(a, b) || (b == ANY_DRIVE && is_drive(a)) || (a == ANY_DRIVE && is_drive(b)))
    }
}

/// Kelvin signs, long s and dotless i become the letters that they may pass for.
fn widest(part: &str) -> String {
    part.to_uppercase().to_lowercase()
}

/// As `PROGRA~1.TXT`: up to eight characters that end in `~` and digits, and an ending of up to three.
fn may_be_short(part: &str) -> bool {
    let (stem, ending) = part.rsplit_once('.').unwrap_or((part, ""));
    let numbered = stem.rsplit_once('~').is_some_and(|(name, number)| {
        !name.is_empty() && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    numbered && stem.chars().count() <= 8 && ending.chars().count() <= 3
}

impl From<&HostPath> for Location {
    fn from(path: &HostPath) -> Self {
        let text = path.as_str().to_owned();
        let fold = |part: &str| match path.platform() {
            Platform::Posix => part.to_owned(),
            Platform::Windows => part.to_lowercase(),
        };
        let root = fold(path.root().trim_end_matches('\\'));
        Self { text, parts: std::iter::once(root).chain(path.components().map(fold)).collect() }
    }
}

impl From<&RegistryKey> for Location {
    fn from(key: &RegistryKey) -> Self {
        Self { text: key.path(), parts: key.path().split('\\').map(str::to_lowercase).collect() }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Location {
        Location::path(text).expect(text)
    }

    fn key(text: &str) -> Location {
        Location::key(text).expect(text)
    }

    #[test]
    fn what_lies_in_a_place_is_told_by_whole_components() {
        for (place, other, is_in) in [
            (path("/etc/acme"), path("/etc"), true),
            (path("/etc"), path("/etc"), true),
            (path("/etcetera"), path("/etc"), false),
            (path("/etc"), path("/"), true),
            (path("/ETC"), path("/etc"), false),
            (path(r"C:\ACME\x"), path(r"c:/Acme"), true),
            (path(r"C:\Acme"), path(r"C:\"), true),
            (path(r"D:\Acme"), path(r"C:\"), false),
            (path(r"D:\Windows\x"), path(r"?:\Windows"), true),
            (path("/Windows"), path(r"?:\Windows"), false),
            (key(r"HKLM\SOFTWARE\Wow6432Node\Acme"), key(r"HKEY_LOCAL_MACHINE\Software\acme"), true),
            (key(r"HKLM\SOFTWARE\Acme2"), key(r"HKLM\SOFTWARE\Acme"), false),
            (key(r"HKU\S-1-5-18\x"), key("HKU"), true),
            (key(r"HKU\S-1-5-18\x"), key("HKLM"), false),
        ] {
            assert_eq!(place.is_in(&other), is_in, "{place} in {other}");
            assert_eq!(place.may_be_in(&other), is_in, "{place} in {other}");
        }
    }

    #[test]
    fn what_denies_folds_case_more_widely_than_what_allows() {
        for (place, other) in [(r"C:\Window\u{17f}", r"C:\Windows"), (r"C:\\u{212a}iosk", r"C:\Kiosk")] {
            let text = place.replace(r"\u{17f}", "\u{17f}").replace(r"\u{212a}", "\u{212a}");
            assert!(path(&text).may_be_in(&path(other)), "{text}");
        }
        assert!(!path("C:\\Window\u{17f}").is_in(&path(r"C:\Windows")));
        assert!(!path("/\u{212a}iosk").may_be_in(&path("/Kiosk")), "Linux knows no case");
    }

    #[test]
    fn a_short_name_is_known_by_its_form() {
        for (text, short) in [
            (r"C:\PROGRA~1\x", Some("progra~1")),
            (r"C:\a\MICRO~12.EXE", Some("micro~12.exe")),
            (r"C:\notes~1.html", None),
            (r"C:\~1", None),
            (r"C:\a~b", None),
            (r"C:\longername~1", None),
            ("/PROGRA~1", None),
        ] {
            assert_eq!(path(text).short_name(), short, "{text}");
        }
    }

    #[test]
    fn what_names_no_place_is_refused() {
        for text in ["", "opt", "/opt/../etc", r"\\server\share", r"?:", r"C:\NUL", r"C:\a:b", "*"] {
            assert!(Location::path(text).is_err(), "{text}");
        }
        for text in ["", r"HKCU\Software", r"SOFTWARE\Acme"] {
            assert!(Location::key(text).is_err(), "{text}");
        }
    }
}
