//! What the SCM's error codes mean, for conditions and for people. Pure.
//! Source: Win32, "System Error Codes (1000-1299)" and "(1300-1699)".

use crate::agent::host::{HostError, Reason};

/// Access is denied.
pub const ACCESS_DENIED: u32 = 5;
/// A path of it does not exist; also one that does, but is no drive's.
pub const FILE_NOT_FOUND: u32 = 2;
/// A directory on the way does not exist.
pub const PATH_NOT_FOUND: u32 = 3;
/// The query does not know this kind of information: Wine, of delayed starts and other late additions.
pub const INVALID_LEVEL: u32 = 124;
/// Not a program of this machine.
pub const BAD_EXE_FORMAT: u32 = 193;
/// A virus scanner took the file.
pub const VIRUS_INFECTED: u32 = 225;
/// Services that depend on it run.
pub const DEPENDENT_SERVICES_RUNNING: u32 = 1051;
/// The control does not fit the service, or the service accepts it not.
pub const INVALID_SERVICE_CONTROL: u32 = 1052;
/// It did not answer its start or a control.
pub const REQUEST_TIMEOUT: u32 = 1053;
/// It runs.
pub const ALREADY_RUNNING: u32 = 1056;
/// No such service.
pub const DOES_NOT_EXIST: u32 = 1060;
/// It starts or stops and takes no control meanwhile.
pub const CANNOT_ACCEPT_CONTROL: u32 = 1061;
/// It does not run.
pub const NOT_ACTIVE: u32 = 1062;
/// It gave a number of its own instead of a code.
pub const SERVICE_SPECIFIC: u32 = 1066;
/// It ended without saying so.
pub const PROCESS_ABORTED: u32 = 1067;
/// It is to be deleted.
pub const MARKED_FOR_DELETE: u32 = 1072;
/// A service of this name is there.
pub const EXISTS: u32 = 1073;

/// Reason and words for a code, `None` for one that has no words here.
pub fn meaning(code: u32) -> Option<(Reason, &'static str)> {
    let meaning = match code {
        FILE_NOT_FOUND | PATH_NOT_FOUND => (Reason::NotExecutable, "its program is not there"),
        ACCESS_DENIED => (Reason::PermissionDenied, "access is denied"),
        87 => (Reason::Refused, "the machine takes no such configuration"),
        BAD_EXE_FORMAT | 216 => (Reason::NotExecutable, "its program is not one for this machine"),
        VIRUS_INFECTED => (Reason::BlockedByAntivirus, "a virus scanner keeps its program from running"),
        267 => (Reason::NotExecutable, "its working directory is not there"),
        740 => (Reason::NotExecutable, "its program asks for elevation, which a service cannot have"),
        DEPENDENT_SERVICES_RUNNING => (Reason::DependentServicesRunning, "services that depend on it run"),
        INVALID_SERVICE_CONTROL => (Reason::Refused, "it does not accept this control"),
        REQUEST_TIMEOUT => {
            (Reason::TimedOut, "it did not answer in time; a program that is no service needs wrap: true")
        }
        1054 => (Reason::IoError, "no thread could be made for it"),
        1055 => (Reason::InUse, "the SCM's database of services is locked"),
        ALREADY_RUNNING => (Reason::InUse, "it runs already"),
        1057 => (Reason::UnknownAccount, "its account does not exist or is not one for services"),
        1058 => (Reason::Refused, "it is disabled"),
        1059 => (Reason::Refused, "services depend on each other in a circle"),
        DOES_NOT_EXIST => (Reason::NotInstalled, "there is no such service"),
        CANNOT_ACCEPT_CONTROL => (Reason::InUse, "it starts or stops and takes no control meanwhile"),
        NOT_ACTIVE => (Reason::IoError, "it does not run"),
        1063 => (Reason::NotExecutable, "its program is no service; it needs wrap: true"),
        1064 => (Reason::IoError, "it failed while handling the control"),
        PROCESS_ABORTED => (Reason::IoError, "it ended without saying so"),
        1068 => (Reason::DependencyFailed, "a service that it depends on could not be started"),
        1069 => (
            Reason::LogonFailed,
            "its account could not log on; its password or its right to log on as a service is wrong",
        ),
        1070 => (Reason::TimedOut, "it hung while it started"),
        1071 => (Reason::IoError, "the SCM's database of services is locked for another reason than expected"),
        MARKED_FOR_DELETE => (
            Reason::MarkedForDeletion,
            "it is to be deleted, once every program (such as services.msc) has let go of it",
        ),
        EXISTS => (Reason::InUse, "a service of this name is there already"),
        1075 => (Reason::DependencyFailed, "a service that it depends on does not exist"),
        1077 => (Reason::IoError, "it was never started since the machine's start"),
        1078 => (Reason::InUse, "another service has this display name"),
        1079 => (Reason::Refused, "its process is shared with services of another account"),
        1115 => (Reason::Refused, "the machine is shutting down"),
        1332 => (Reason::UnknownAccount, "there is no such account"),
        1385 => (Reason::LogonFailed, "its account may not log on as a service"),
        1326 | 1327 | 1330 | 1331 | 1907 | 1909 => {
            (Reason::LogonFailed, "its account could not log on with this password, is disabled or locked")
        }
        _ => return None,
    };
    Some(meaning)
}

/// What was tried, and why it was not done.
pub fn error(tried: &str, code: u32) -> HostError {
    match meaning(code) {
        Some((reason, words)) => HostError::new(reason, format!("{tried}: {words} (error {code})")),
        None => HostError::new(Reason::IoError, format!("{tried}: error {code}")),
    }
}

/// How a service that stopped says that it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// `dwWin32ExitCode`.
    pub code: u32,
    /// `dwServiceSpecificExitCode`.
    pub specific: u32,
}

impl Stopped {
    /// The code that tells most: the service's own, else Windows', else that of its process.
    pub fn exit_code(self, process: Option<u32>) -> Option<u32> {
        match self.code {
            SERVICE_SPECIFIC => Some(self.specific),
            PROCESS_ABORTED => Some(process.unwrap_or(PROCESS_ABORTED)),
            0 => process,
            code => Some(code),
        }
    }

    /// Why it stopped while it was to start.
    pub fn not_started(self, tried: &str) -> HostError {
        match self.code {
            0 => HostError::new(Reason::NotStarted, format!("{tried}: it stopped at once, with code 0")),
            SERVICE_SPECIFIC => {
                HostError::new(Reason::NotStarted, format!("{tried}: it stopped with its own code {}", self.specific))
            }
            code => error(tried, code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_a_person_can_act_on_have_words() {
        for (code, reason, words) in [
            (2, Reason::NotExecutable, "program is not there"),
            (5, Reason::PermissionDenied, "denied"),
            (193, Reason::NotExecutable, "not one for this machine"),
            (225, Reason::BlockedByAntivirus, "virus scanner"),
            (1051, Reason::DependentServicesRunning, "depend on it run"),
            (1052, Reason::Refused, "does not accept"),
            (1053, Reason::TimedOut, "wrap: true"),
            (1055, Reason::InUse, "locked"),
            (1056, Reason::InUse, "runs already"),
            (1057, Reason::UnknownAccount, "account"),
            (1058, Reason::Refused, "disabled"),
            (1060, Reason::NotInstalled, "no such service"),
            (1061, Reason::InUse, "takes no control"),
            (1062, Reason::IoError, "does not run"),
            (1063, Reason::NotExecutable, "wrap: true"),
            (1067, Reason::IoError, "without saying so"),
            (1068, Reason::DependencyFailed, "depends on"),
            (1069, Reason::LogonFailed, "log on"),
            (1070, Reason::TimedOut, "hung"),
            (1072, Reason::MarkedForDeletion, "let go"),
            (1073, Reason::InUse, "already"),
            (1075, Reason::DependencyFailed, "does not exist"),
            (1077, Reason::IoError, "never started"),
            (1332, Reason::UnknownAccount, "no such account"),
        ] {
            let error = error("start Acme", code);
            assert_eq!(error.reason, reason, "{code}");
            assert!(error.message.starts_with("start Acme: ") && error.message.contains(words), "{error}");
            assert!(error.message.ends_with(&format!("(error {code})")), "{error}");
        }
        assert_eq!(error("start Acme", 99999), HostError::new(Reason::IoError, "start Acme: error 99999"));
    }

    #[test]
    fn the_exit_code_that_tells_most_is_told() {
        for (code, specific, process, expected) in [
            (0, 0, Some(3), Some(3)),
            (0, 0, None, None),
            (1066, 7, Some(0), Some(7)),
            (1067, 0, Some(9), Some(9)),
            (1067, 0, None, Some(1067)),
            (1069, 0, Some(0), Some(1069)),
        ] {
            assert_eq!(Stopped { code, specific }.exit_code(process), expected, "{code} {specific} {process:?}");
        }
        let stopped = |code| Stopped { code, specific: 7 }.not_started("start Acme").message;
        assert_eq!(stopped(0), "start Acme: it stopped at once, with code 0");
        assert_eq!(stopped(1066), "start Acme: it stopped with its own code 7");
        assert_eq!(stopped(1067), "start Acme: it ended without saying so (error 1067)");
    }
}
