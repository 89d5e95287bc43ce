//! Whether a key that was opened is the one that was named: a link of the registry's may lead elsewhere, and whoever
//! may write a key can make one. Pure.

use crate::model::{Hive, RegistryKey};

/// Compares with the name that the kernel gives a key, such as `\REGISTRY\MACHINE\SOFTWARE\Acme`. Links that Windows
/// itself has are the same: to the control set in use, to the classes of an account, to the account SYSTEM, and
/// between what programs of 32 and of 64 bits see.
pub fn is_named(key: &RegistryKey, kernel: &str) -> bool {
    let kernel = kernel.to_lowercase();
    let hive = match key.hive() {
        Hive::LocalMachine => "machine",
        Hive::Users => "user",
    };
    let below = kernel.strip_prefix("\\registry\\").and_then(|rest| rest.strip_prefix(hive)?.strip_prefix('\\'));
    below.is_some_and(|below| one_spelling(key.hive(), below) == one_spelling(key.hive(), &key.key().to_lowercase()))
}

fn one_spelling(hive: Hive, below: &str) -> Vec<String> {
    let mut parts: Vec<String> = below.split('\\').filter(|part| *part != "wow6432node").map(str::to_owned).collect();
    match hive {
        Hive::LocalMachine => {
            if parts.first().is_some_and(|first| first == "system") && parts.get(1).is_some_and(|p| is_control_set(p)) {
                parts[1] = "currentcontrolset".to_owned();
            }
        }
        Hive::Users => {
            if parts.first().is_some_and(|first| first == "s-1-5-18") {
                parts[0] = ".default".to_owned();
            }
            if parts.len() > 2 && parts[1] == "software" && parts[2] == "classes" {
                let account = parts[0].clone();
                parts.splice(..3, [format!("{account}_classes")]);
            }
        }
    }
    parts
}

fn is_control_set(part: &str) -> bool {
    part.strip_prefix("controlset")
        .is_some_and(|digits| digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use crate::model::{RegistryPlace, View};

    fn is_named(key: &str, kernel: &str) -> bool {
        let place = RegistryPlace::parse(key, "", View::Bits64).expect(key);
        super::is_named(&place.holder(), kernel)
    }

    #[test]
    fn a_key_is_the_one_that_was_named() {
        for (key, kernel) in [
            (r"HKLM\SOFTWARE\Acme", r"\REGISTRY\MACHINE\SOFTWARE\ACME"),
            (r"HKLM\SOFTWARE\Wow6432Node\Acme", r"\REGISTRY\MACHINE\SOFTWARE\WOW6432Node\Acme"),
            (r"HKLM\SOFTWARE\Classes\CLSID\{1}", r"\Registry\Machine\Software\Classes\Wow6432Node\CLSID\{1}"),
            (r"HKLM\SYSTEM\CurrentControlSet\Services\x", r"\REGISTRY\MACHINE\SYSTEM\ControlSet001\Services\x"),
            (r"HKU\S-1-5-19\Software\Acme", r"\REGISTRY\USER\S-1-5-19\Software\Acme"),
            (r"HKU\S-1-5-18\Software\Acme", r"\REGISTRY\USER\.DEFAULT\Software\Acme"),
            (r"HKU\S-1-5-19\Software\Classes\x", r"\REGISTRY\USER\S-1-5-19_Classes\x"),
        ] {
            assert!(is_named(key, kernel), "{key} {kernel}");
        }
    }

    #[test]
    fn a_key_that_a_link_leads_to_is_not_the_one_that_was_named() {
        for (key, kernel) in [
            (r"HKLM\SOFTWARE\Acme", r"\REGISTRY\MACHINE\SYSTEM\ControlSet001\Services\x"),
            (r"HKLM\SOFTWARE\Acme", r"\REGISTRY\MACHINE\SOFTWARE\Acme2"),
            (r"HKLM\SOFTWARE\Acme", r"\REGISTRY\MACHINE\SOFTWARE"),
            (r"HKLM\SOFTWARE\Acme", r"\REGISTRY\USER\SOFTWARE\Acme"),
            (r"HKLM\SYSTEM\CurrentControlSet\x", r"\REGISTRY\MACHINE\SYSTEM\ControlSets\x"),
            (r"HKU\S-1-5-19\Software\Acme", r"\REGISTRY\USER\S-1-5-20\Software\Acme"),
            (r"HKLM\SOFTWARE\Acme", ""),
        ] {
            assert!(!is_named(key, kernel), "{key} {kernel}");
        }
    }
}
