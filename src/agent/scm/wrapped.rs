//! A program that is no service of Windows, as the service host that stands in for it is told. Pure.
//! Written by the agent to a file that only administrators and the service's account can read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::Service;

/// Name of the host's program, beside the agent's.
pub const HOST: &str = "windlass-service-host.exe";
/// Name of the file.
pub const FILE: &str = "program.json";
/// Name of the folder beside it for what the program writes.
pub const OUTPUT: &str = "output";

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wrapped {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Beside the account's own.
    pub env: BTreeMap<String, String>,
    /// `None`: that of the program.
    pub working_directory: Option<String>,
    /// Between asking it to stop and ending it.
    pub stop_timeout_seconds: u32,
}

impl Wrapped {
    /// From its entry in the document.
    pub fn of(service: &Service) -> Self {
        Self {
            command: service.command.clone(),
            env: service.env.iter().map(|variable| (variable.name.clone(), variable.value.clone())).collect(),
            working_directory: service.working_directory.as_ref().map(|directory| directory.as_str().to_owned()),
            // The agent ends the host after the whole time; the host is to be done before.
            stop_timeout_seconds: service.stop_timeout_seconds.saturating_sub(1).max(1),
        }
    }

    /// As it stands in the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// Its environment: the account's, and what it is told.
    pub fn environment(&self, account: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
        let is_told = |name: &str| self.env.keys().any(|told| told.eq_ignore_ascii_case(name));
        let kept = account.into_iter().filter(|(name, _)| !is_told(name));
        kept.chain(self.env.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{agent::services::samples::service, model::EnvVar};

    #[test]
    fn a_program_reads_back_as_it_was_written() {
        let mut service = service("a");
        service.env = vec![EnvVar { name: "ACME".into(), value: "a=b".into() }];
        let wrapped = Wrapped::of(&service);
        assert_eq!(serde_json::from_slice::<Wrapped>(&wrapped.to_bytes()).ok(), Some(wrapped.clone()));
        assert_eq!(wrapped.stop_timeout_seconds, 29);
    }

    #[test]
    fn what_it_is_told_takes_the_place_of_what_the_account_has() {
        let mut service = service("a");
        service.env = vec![EnvVar { name: "Path".into(), value: "mine".into() }];
        let account = [("PATH", "theirs"), ("TEMP", "t")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = Wrapped::of(&service).environment(account);
        let expected = [("Path", "mine"), ("TEMP", "t")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(environment, expected.into());
    }
}
