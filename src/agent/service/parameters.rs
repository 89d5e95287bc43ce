//! Settings of the service that an administrator, a group policy or the MSI keeps in the registry, as arguments of
//! the command line. Pure; the source of the values is `HKLM\SOFTWARE\windlass\Agent`.

use std::ffi::OsString;

/// Below `HKEY_LOCAL_MACHINE`.
pub const KEY: &str = r"SOFTWARE\windlass\Agent";
/// Value of that key with the path of a file that the service takes its enrollment from and then deletes.
pub const ENROLLMENT_FILE: &str = "EnrollmentFile";

/// A value of the key, and the flag that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Name of the value.
    pub name: &'static str,
    /// The flag.
    pub flag: &'static str,
    /// Verbs that take it beside the service.
    pub verbs: &'static [&'static str],
}

/// All of them, as docs/windows.md has them.
pub const PARAMETERS: &[Parameter] = &[
    Parameter { name: "StateDir", flag: "--state-dir", verbs: &["status", "policy"] },
    Parameter { name: "PolicyFile", flag: "--policy", verbs: &["policy"] },
    Parameter { name: "DriftPeriodSeconds", flag: "--drift-period-seconds", verbs: &[] },
    Parameter { name: "MaxArtifactBytes", flag: "--max-artifact-bytes", verbs: &[] },
    Parameter { name: "Proxy", flag: "--proxy", verbs: &[] },
    Parameter { name: "AdditionalCa", flag: "--additional-ca", verbs: &[] },
    Parameter { name: "LogFormat", flag: "--log-format", verbs: &[] },
    Parameter { name: "LogLevel", flag: "--log-level", verbs: &[] },
];

/// The arguments with those flags in front of the given ones, which count more. Values count for `run --service` and
/// the verbs that take them; an empty one is none.
pub fn with_parameters(given: Vec<OsString>, value_of: impl Fn(&str) -> Option<String>) -> Vec<OsString> {
    let is_service = given.iter().any(|word| word == "--service");
    let verb = given.get(1).and_then(|verb| verb.to_str()).unwrap_or_default();
    let taken = |parameter: &&Parameter| parameter.verbs.contains(&verb) || verb == "run" && is_service;
    let flags = PARAMETERS.iter().filter(taken).filter_map(|parameter| {
        let value = value_of(parameter.name).filter(|value| !value.is_empty())?;
        Some(OsString::from(format!("{}={value}", parameter.flag)))
    });
    let flags: Vec<OsString> = flags.collect();
    let mut arguments = given;
    let after_the_verb = arguments.len().min(2);
    arguments.splice(after_the_verb..after_the_verb, flags);
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(given: &str) -> String {
        let value_of = |name: &str| match name {
            "StateDir" => Some(r"D:\windlass".to_owned()),
            "LogLevel" => Some("debug".to_owned()),
            "LogFormat" => Some(String::new()),
            _ => None,
        };
        let given = given.split(' ').map(OsString::from).collect();
        let words: Vec<_> =
            with_parameters(given, value_of).iter().map(|word| word.to_string_lossy().into_owned()).collect();
        words.join(" ")
    }

    #[test]
    fn values_of_the_registry_count_for_the_service_and_less_than_its_command() {
        for (given, taken) in [
            (
                "agent run --service --log-level warn",
                r"agent run --state-dir=D:\windlass --log-level=debug --service --log-level warn",
            ),
            ("agent run", "agent run"),
            ("agent status -o json", r"agent status --state-dir=D:\windlass -o json"),
            ("agent policy example", r"agent policy --state-dir=D:\windlass example"),
            ("agent install --service", "agent install --service"),
            ("agent", "agent"),
        ] {
            assert_eq!(arguments(given), taken);
        }
    }
}
