//! Why a verb of the service came to nothing, in words that say what to do, and the code to exit with. Pure.

use super::NAME;

/// Why a verb came to nothing.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {}", self.why())]
pub struct VerbError {
    what: String,
    code: u32,
    said: String,
}

impl VerbError {
    /// What was tried, the Win32 code that it met, and what the system says of that code.
    pub fn new(what: impl Into<String>, code: u32, said: impl Into<String>) -> Self {
        Self { what: what.into(), code, said: said.into() }
    }

    /// What the program exits with: the Win32 code, as sc.exe does.
    pub fn exit_code(&self) -> u32 {
        self.code
    }

    fn why(&self) -> String {
        match words(self.code) {
            Some(words) => format!("{words} (error {})", self.code),
            None => format!("{} (error {})", self.said.trim_end(), self.code),
        }
    }
}

/// Codes that people meet, and what to do. Source: Win32, "System Error Codes".
pub const ACCESS_DENIED: u32 = 5;
/// The service runs already.
pub const ALREADY_RUNNING: u32 = 1056;
/// The service's start mode is Disabled.
pub const DISABLED: u32 = 1058;
/// There is no such service.
pub const NO_SUCH_SERVICE: u32 = 1060;
/// The service cannot take a control now.
pub const CANNOT_ACCEPT: u32 = 1061;
/// The service does not run.
pub const NOT_RUNNING: u32 = 1062;
/// StartServiceCtrlDispatcher was not called by the SCM's child.
pub const NOT_A_SERVICE: u32 = 1063;
/// The service's program ended with a code of its own.
pub const ENDED_BY_ITSELF: u32 = 1066;
/// The service was deleted and somebody still holds it open.
pub const MARKED_FOR_DELETE: u32 = 1072;
/// There is such a service already.
pub const EXISTS: u32 = 1073;
/// It did not get there in time.
pub const TIMED_OUT: u32 = 1053;
/// This Windows does not do that.
pub const NOT_SUPPORTED: u32 = 50;

fn words(code: u32) -> Option<String> {
    let words = match code {
        ACCESS_DENIED => "access is denied; expected a console that was opened with \"Run as administrator\"".to_owned(),
        ALREADY_RUNNING => "it runs already".to_owned(),
        DISABLED => format!("it is disabled; expected start mode Automatic, as set by: sc.exe config {NAME} start= auto"),
        NO_SUCH_SERVICE => "it is not installed; expected: windlass-agent install".to_owned(),
        CANNOT_ACCEPT => "it is starting or stopping at present; try again when it has".to_owned(),
        NOT_RUNNING => "it does not run".to_owned(),
        NOT_A_SERVICE => {
            "--service is for the service control manager; expected: windlass-agent start, or run without it".to_owned()
        }
        ENDED_BY_ITSELF => {
            format!("it ended; the Application event log (source {NAME}) and logs\\agent.log in its state directory say why")
        }
        MARKED_FOR_DELETE => {
            "it is being removed, and goes once nobody holds it open; close services.msc and other consoles that show it, \
             or restart the machine"
                .to_owned()
        }
        EXISTS => "it is installed already; to install it anew, first: windlass-agent uninstall".to_owned(),
        _ => return None,
    };
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_that_people_meet_says_what_to_do_and_is_what_the_program_exits_with() {
        for (code, told) in [
            (5, "Run as administrator"),
            (1056, "runs already"),
            (1058, "start= auto"),
            (1060, "windlass-agent install"),
            (1061, "try again"),
            (1062, "does not run"),
            (1063, "windlass-agent start"),
            (1066, "event log"),
            (1072, "services.msc"),
            (1073, "windlass-agent uninstall"),
        ] {
            let error = VerbError::new("install the service", code, "The system's own words.\r\n");
            let text = error.to_string();
            assert!(text.starts_with("install the service: ") && text.contains(told), "{code}: {text}");
            assert!(text.ends_with(&format!("(error {code})")) && !text.contains("system's"), "{code}: {text}");
            assert_eq!(error.exit_code(), code);
        }
    }

    #[test]
    fn a_code_that_nobody_expected_is_told_in_the_systems_words() {
        let error = VerbError::new("stop the service", 1717, "The interface is unknown.\r\n");
        assert_eq!(error.to_string(), "stop the service: The interface is unknown. (error 1717)");
    }
}
