//! What an installed package is known by and what removes it: all that is kept of it once its entry is gone.
//! Looks at the machine through the host; knows nothing of how a package is installed.

use super::host::{Host, HostError, PathState, ProductState, ValueState};
use crate::model::{Detect, Installer, ProductCode, RegistryData};

/// What an installed package is known by, and what removes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Product {
    /// A product of Windows Installer.
    Msi(ProductCode),
    /// What a program of its own installed.
    Exe {
        /// What is there once it is installed.
        detect: Detect,
        /// Program and arguments; empty: it cannot be removed.
        uninstall: Vec<String>,
        /// Exit codes that mean success.
        success_codes: Vec<i32>,
    },
}

impl From<&Installer> for Product {
    fn from(installer: &Installer) -> Self {
        match installer {
            Installer::Msi { product_code, .. } => Self::Msi(product_code.clone()),
            Installer::Exe { uninstall, detect, success_codes, .. } => {
                Self::Exe { detect: detect.clone(), uninstall: uninstall.clone(), success_codes: success_codes.clone() }
            }
        }
    }
}

impl Product {
    /// What all have in common that are found by the same thing on the machine.
    pub fn identity(&self) -> String {
        match self {
            Self::Msi(code) => code.to_string(),
            Self::Exe { detect, .. } => detect.identity(),
        }
    }

    /// Whether anything removes it.
    pub fn is_removable(&self) -> bool {
        match self {
            Self::Msi(_) => true,
            Self::Exe { uninstall, .. } => !uninstall.is_empty(),
        }
    }

    /// Whether it is installed. Of what a program installed, no version is known.
    pub fn observe(&self, host: &dyn Host) -> Result<ProductState, HostError> {
        let is_there = match self {
            Self::Msi(code) => return host.observe_product(code),
            Self::Exe { detect: Detect::File { path }, .. } => {
                matches!(host.observe(path, None)?, PathState::File { .. })
            }
            Self::Exe { detect: Detect::RegistryValue { place, equals }, .. } => {
                holds(&host.observe_value(place)?, equals.as_deref())
            }
        };
        Ok(if is_there { ProductState::Installed { version: None } } else { ProductState::Absent })
    }
}

fn holds(value: &ValueState, expected: Option<&str>) -> bool {
    match (value, expected) {
        (ValueState::Absent, _) => false,
        (ValueState::Holds(_) | ValueState::Other { .. }, None) => true,
        (ValueState::Other { .. }, Some(_)) => false,
        (ValueState::Holds(data), Some(expected)) => match data {
            RegistryData::String(text) | RegistryData::ExpandString(text) => text == expected,
            RegistryData::Dword(number) => number.to_string() == expected,
            RegistryData::Qword(number) => number.to_string() == expected,
            RegistryData::MultiString(_) | RegistryData::Binary(_) => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_compared_as_text_with_numbers_in_decimal() {
        let text = |text: &str| ValueState::Holds(RegistryData::String(text.into()));
        for (value, expected, is_there) in [
            (ValueState::Absent, None, false),
            (ValueState::Absent, Some(""), false),
            (text("4.8"), None, true),
            (text("4.8"), Some("4.8"), true),
            (text("4.8"), Some("4.9"), false),
            (ValueState::Holds(RegistryData::Dword(16)), Some("16"), true),
            (ValueState::Holds(RegistryData::Dword(16)), Some("0x10"), false),
            (ValueState::Holds(RegistryData::Qword(1 << 40)), Some("1099511627776"), true),
            (ValueState::Holds(RegistryData::Binary(vec![49])), Some("1"), false),
            (ValueState::Other { kind: 42, bytes: 1 }, None, true),
            (ValueState::Other { kind: 42, bytes: 1 }, Some("1"), false),
        ] {
            assert_eq!(holds(&value, expected), is_there, "{value:?} {expected:?}");
        }
    }
}
