//! Absolute paths of either platform, parsed on any platform. Pure: says nothing of what lies there.

use std::fmt;

/// Which rules a path follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Platform {
    /// `/etc/acme`
    Posix,
    /// `C:\ProgramData\Acme`
    Windows,
}

/// An absolute, normalised path: no `.` or `..`, no empty components, no trailing separator; on Windows
/// also no reserved device names, alternate streams, wildcards or UNC.
///
/// Source: Win32, "Naming Files, Paths, and Namespaces".
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPath {
    platform: Platform,
    text: String,
}

/// Longest path, in bytes of UTF-8.
const MAX_BYTES: usize = 1024;
/// Longest component: NAME_MAX of Linux in bytes, and of NTFS in UTF-16 units.
const MAX_COMPONENT: usize = 255;

impl HostPath {
    /// Parses `/…` as POSIX and `X:\…` or `X:/…` as Windows.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let fail = |why| Err(PathError { path: text.chars().take(MAX_BYTES).collect(), why });
        if text.len() > MAX_BYTES {
            return fail("it is longer than 1024 bytes");
        }
        if text.chars().any(char::is_control) {
            return fail("it holds a control character");
        }
        let (platform, root, rest) = match text.as_bytes() {
            [b'/', ..] => (Platform::Posix, "/".to_owned(), &text[1..]),
            [drive, b':', b'\\' | b'/', ..] if drive.is_ascii_alphabetic() => {
                (Platform::Windows, format!("{}:\\", drive.to_ascii_uppercase() as char), &text[3..])
            }
            [b'\\', b'\\', ..] => {
                return fail("UNC and device paths are not taken; expected a local path such as C:\\Acme");
            }
            _ => return fail("it is not absolute; expected /… or C:\\…"),
        };
        let separators: &[char] = if platform == Platform::Windows { &['\\', '/'] } else { &['/'] };
        let components: Vec<&str> = rest.split(separators).filter(|c| !c.is_empty()).collect();
        for component in &components {
            if let Some(why) = wrong_component(platform, component) {
                return fail(why);
            }
        }
        if components.is_empty() {
            return fail("it names the root, which is not for windlass to manage");
        }
        let separator = if platform == Platform::Windows { "\\" } else { "/" };
        Ok(Self { platform, text: root + &components.join(separator) })
    }

    /// Whose rules it follows.
    pub fn platform(&self) -> Platform {
        self.platform
    }

    /// The normalised path.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What two spellings of one path share: on Windows, the path without regard to case.
    pub fn identity(&self) -> String {
        match self.platform {
            Platform::Posix => self.text.clone(),
            Platform::Windows => self.text.to_lowercase(),
        }
    }

    /// Between components.
    pub fn separator(&self) -> char {
        match self.platform {
            Platform::Posix => '/',
            Platform::Windows => '\\',
        }
    }

    /// The components below the root, outermost first; at least one.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.text[self.root().len()..].split(self.separator())
    }

    /// `/` or `C:\`.
    pub fn root(&self) -> &str {
        match self.platform {
            Platform::Posix => &self.text[..1],
            Platform::Windows => &self.text[..3],
        }
    }

    /// The directory that it lies in; `None` where that is the root.
    pub fn parent(&self) -> Option<Self> {
        let end = self.text.rfind(self.separator())?;
        (end >= self.root().len()).then(|| Self { platform: self.platform, text: self.text[..end].to_owned() })
    }

    /// Whether it lies anywhere below `other`.
    pub fn is_below(&self, other: &Self) -> bool {
        self.platform == other.platform
            && self.identity().strip_prefix(&other.identity()).is_some_and(|rest| rest.starts_with(self.separator()))
    }
}

fn wrong_component(platform: Platform, component: &str) -> Option<&'static str> {
    if matches!(component, "." | "..") {
        return Some("it has a component . or ..");
    }
    match platform {
        Platform::Posix => (component.len() > MAX_COMPONENT).then_some("a component is longer than 255 bytes"),
        Platform::Windows if component.encode_utf16().count() > MAX_COMPONENT => {
            Some("a component is longer than 255 UTF-16 units")
        }
        Platform::Windows if component.contains(':') => Some("it names an alternate data stream"),
        Platform::Windows if component.contains(['<', '>', '"', '|', '?', '*']) => {
            Some("a component holds one of < > \" | ? *")
        }
        Platform::Windows if component.ends_with(['.', ' ']) => Some("a component ends with a dot or a space"),
        Platform::Windows if is_device(component) => Some("a component is a reserved device name"),
        Platform::Windows => None,
    }
}

/// CON, PRN, AUX, NUL, COM0-9, LPT0-9 and their superscript digits, also before a dot.
pub(super) fn is_device(component: &str) -> bool {
    let stem = component.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    if matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$") {
        return true;
    }
    let digit = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
    digit.is_some_and(|d| matches!(d, "¹" | "²" | "³") || (d.len() == 1 && d.as_bytes()[0].is_ascii_digit()))
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

/// Why something is not a path that windlass manages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} cannot be managed: {why}")]
pub struct PathError {
    /// What was given.
    pub path: String,
    /// What is wrong with it, and what was expected.
    pub why: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised() {
        for (given, expected) in [
            ("/etc//acme/", "/etc/acme"),
            ("/a", "/a"),
            ("c:/Acme\\x", "C:\\Acme\\x"),
            ("C:\\Acme\\", "C:\\Acme"),
            ("/tmp/Größe/日本.txt", "/tmp/Größe/日本.txt"),
            ("/a/C:\\b", "/a/C:\\b"),
        ] {
            assert_eq!(HostPath::parse(given).map(|p| p.to_string()), Ok(expected.to_owned()));
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        let long = format!("/{}", "a".repeat(256));
        for path in [
            "",
            "a",
            "/",
            "C:\\",
            "C:a",
            "/a/../b",
            "/a/./b",
            "C:\\a\\..\\b",
            "\\\\server\\share",
            "\\\\?\\C:\\a",
            "C:\\a:stream",
            "C:\\NUL",
            "C:\\a\\com1.txt",
            "C:\\lpt¹",
            "C:\\a.",
            "C:\\a ",
            "C:\\a?",
            "/a\0b",
            "/a\nb",
            &long,
        ] {
            assert!(HostPath::parse(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn windows_paths_have_one_identity_whatever_the_case() {
        let path = |t| HostPath::parse(t).expect("valid");
        assert_eq!(path("C:\\Acme\\X").identity(), path("c:/acme/x").identity());
        assert_ne!(path("/Acme").identity(), path("/acme").identity());
    }

    #[test]
    fn parents_end_before_the_root() {
        let path = |t| HostPath::parse(t).expect("valid");
        assert_eq!(path("/a/b").parent(), Some(path("/a")));
        assert_eq!(path("/a").parent(), None);
        assert_eq!(path("C:\\a\\b").parent(), Some(path("C:\\a")));
        assert_eq!(path("C:\\a").parent(), None);
        assert!(path("/a/b/c").is_below(&path("/a")));
        assert!(!path("/ab").is_below(&path("/a")));
        assert!(path("c:\\A\\b").is_below(&path("C:\\a")));
        assert_eq!(path("C:\\a\\b").components().collect::<Vec<_>>(), ["a", "b"]);
    }
}
