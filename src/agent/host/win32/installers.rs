//! How installers are started and what their exit codes mean. Pure.
//!
//! Sources: Windows Installer, "Command-Line Options", "Error Codes"; Win32, "MsiExec.exe and InstMsi.exe Error
//! Messages".

use crate::{
    agent::host::{HostError, Reason},
    model::ProductCode,
};

/// What Windows Installer is to do.
#[derive(Debug, Clone, Copy)]
pub enum MsiJob<'j> {
    /// Install from a file.
    Install {
        /// Path of the .msi file.
        file: &'j str,
        /// Public properties and their values.
        properties: &'j [(String, String)],
        /// The product of the file is there in another version.
        over_itself: bool,
    },
    /// Remove a product.
    Uninstall {
        /// Which.
        code: &'j ProductCode,
    },
}

/// The arguments of msiexec.exe, as one text: it reads its command line by rules of its own, where a value may hold
/// spaces between quotes, and a quote is written twice.
pub fn msiexec(job: &MsiJob<'_>, log: &str) -> String {
    const QUIETLY: &str = "/qn /norestart REBOOT=ReallySuppress";
    let (what, properties): (String, &[(String, String)]) = match job {
        MsiJob::Install { file, properties, over_itself: false } => (format!("/i {}", quoted(file)), properties),
        MsiJob::Install { file, properties, over_itself: true } => {
            (format!("/i {} REINSTALL=ALL REINSTALLMODE=vomus", quoted(file)), properties)
        }
        MsiJob::Uninstall { code } => (format!("/x {code}"), &[]),
    };
    let mut line = format!("{what} {QUIETLY} /L*v {}", quoted(log));
    for (name, value) in properties {
        line += &format!(" {name}={}", quoted(value));
    }
    line
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// How an installer ended, if well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installed {
    /// It has done what it was started for.
    Done,
    /// The same, and the machine is to be started anew.
    RestartPending,
}

/// What msiexec.exe says by its exit code. `log` is the end of its log.
pub fn msi_outcome(code: i32, uninstalling: bool, trying: &str, log: &str) -> Result<Installed, HostError> {
    match code {
        0 => Ok(Installed::Done),
        // SUCCESS_REBOOT_INITIATED, SUCCESS_REBOOT_REQUIRED
        1641 | 3010 => Ok(Installed::RestartPending),
        // UNKNOWN_PRODUCT, PRODUCT_UNINSTALLED
        1605 | 1614 if uninstalling => Ok(Installed::Done),
        1618 => {
            let message = format!("{trying}: another installation is under way (exit code 1618)");
            Err(HostError::new(Reason::InstallerBusy, message))
        }
        _ => Err(failed(trying, &words(code), log)),
    }
}

/// What a program of its own says: beside the exit codes that are declared to mean success, those that ask for a
/// restart do, as they are what Windows Installer within many a program ended with.
pub fn exe_outcome(code: i32, success_codes: &[i32], trying: &str) -> Result<Installed, HostError> {
    match code {
        1641 | 3010 => Ok(Installed::RestartPending),
        _ if success_codes.contains(&code) => Ok(Installed::Done),
        _ => {
            let expected: Vec<String> = success_codes.iter().map(ToString::to_string).collect();
            Err(failed(trying, &format!("exit code {code}, expected {}", expected.join(" or ")), ""))
        }
    }
}

fn failed(trying: &str, why: &str, log: &str) -> HostError {
    let log = if log.is_empty() { String::new() } else { format!("; its log ends with: {log}") };
    HostError::new(Reason::InstallFailed, format!("{trying}: {why}{log}"))
}

fn words(code: i32) -> String {
    let words = match code {
        1601 => "the Windows Installer service cannot be reached",
        1602 => "it was cancelled",
        1603 => "a fatal error",
        1605 => "the product is not installed",
        1612 | 1635 => "the source of the product is not there",
        1613 | 1636 => "the package needs another version of Windows Installer",
        1619 => "the package could not be opened",
        1620 => "it is no package of Windows Installer",
        1622 => "the log could not be opened",
        1623 => "the package is in a language that this machine does not have",
        1624 => "a transform could not be applied",
        1625 | 1643 | 1644 => "a policy of this machine forbids it",
        1632 => "the folder for temporary files is full or cannot be reached",
        1633 => "the package is for another kind of machine",
        1638 => "another version of the product is installed, which this package does not replace",
        1639 => "a property is not as Windows Installer takes it",
        1654 => "the package cannot be installed on this version of Windows",
        _ => return format!("exit code {code}"),
    };
    format!("{words} (exit code {code})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn msiexec_is_told_quietly_and_with_its_own_quotes() {
        let property = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let properties = [
            property("INSTALLDIR", r"C:\Program Files\Acme\"),
            property("GREETING", r#"say "hi""#),
            property("EMPTY", ""),
        ];
        let file = r"C:\ProgramData\windlass\packages\acme.msi";
        let install = MsiJob::Install { file, properties: &properties, over_itself: false };
        assert_eq!(
            msiexec(&install, r"C:\a b\acme.log"),
            "/i \"C:\\ProgramData\\windlass\\packages\\acme.msi\" /qn /norestart REBOOT=ReallySuppress \
             /L*v \"C:\\a b\\acme.log\" INSTALLDIR=\"C:\\Program Files\\Acme\\\" GREETING=\"say \"\"hi\"\"\" EMPTY=\"\""
        );
        let again = msiexec(&MsiJob::Install { file, properties: &[], over_itself: true }, "l");
        assert!(again.contains(" REINSTALL=ALL REINSTALLMODE=vomus /qn "), "{again}");
        let code = ProductCode::parse("{01234567-89AB-CDEF-0123-456789ABCDEF}").expect("code");
        assert_eq!(
            msiexec(&MsiJob::Uninstall { code: &code }, "l"),
            "/x {01234567-89AB-CDEF-0123-456789ABCDEF} /qn /norestart REBOOT=ReallySuppress /L*v \"l\""
        );
    }

    #[test]
    fn exit_codes_of_windows_installer_are_told_apart() {
        let busy = Err(Reason::InstallerBusy);
        let failed = Err(Reason::InstallFailed);
        for (code, installing, uninstalling) in [
            (0, Ok(Installed::Done), Ok(Installed::Done)),
            (1641, Ok(Installed::RestartPending), Ok(Installed::RestartPending)),
            (3010, Ok(Installed::RestartPending), Ok(Installed::RestartPending)),
            (1605, failed, Ok(Installed::Done)),
            (1614, failed, Ok(Installed::Done)),
            (1618, busy, busy),
            (1602, failed, failed),
            (1603, failed, failed),
            (1619, failed, failed),
            (1625, failed, failed),
            (1638, failed, failed),
            (-1, failed, failed),
        ] {
            for (is_uninstalling, expected) in [(false, installing), (true, uninstalling)] {
                let outcome = msi_outcome(code, is_uninstalling, "install acme", "").map_err(|error| error.reason);
                assert_eq!(outcome, expected, "{code} {is_uninstalling}");
            }
        }
    }

    #[test]
    fn a_failure_says_its_code_in_words_and_how_the_log_ends() {
        let error = msi_outcome(1603, false, "install acme", "Error 1925.").expect_err("failed");
        assert_eq!(error.message, "install acme: a fatal error (exit code 1603); its log ends with: Error 1925.");
        let error = exe_outcome(7, &[0, 2], "install acme").expect_err("failed");
        assert_eq!(error.message, "install acme: exit code 7, expected 0 or 2");
    }

    #[test]
    fn programs_succeed_with_the_codes_that_are_declared_and_with_those_that_ask_for_a_restart() {
        assert_eq!(exe_outcome(2, &[0, 2], "x"), Ok(Installed::Done));
        assert_eq!(exe_outcome(3010, &[0], "x"), Ok(Installed::RestartPending));
        assert_eq!(exe_outcome(1641, &[2], "x"), Ok(Installed::RestartPending));
        assert!(exe_outcome(0, &[2], "x").is_err());
    }
}
