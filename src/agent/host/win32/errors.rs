//! What the error codes of Windows mean to windlass. Pure, and the same on every platform, so that its tests are.
//!
//! Source: Win32, "System Error Codes".

use crate::agent::host::Reason;

/// The reason that a code stands for, as far as the code alone tells.
pub fn reason_of(code: u32) -> Reason {
    match code {
        // ACCESS_DENIED, PRIVILEGE_NOT_HELD, LOGON_FAILURE
        5 | 1314 | 1326 => Reason::PermissionDenied,
        // INVALID_OWNER, NONE_MAPPED, NO_SUCH_USER, INVALID_SID
        1307 | 1332 | 1317 | 1337 => Reason::UnknownAccount,
        // SHARING_VIOLATION, LOCK_VIOLATION, BUSY, DELETE_PENDING, USER_MAPPED_FILE
        32 | 33 | 170 | 303 | 1224 => Reason::InUse,
        // VIRUS_INFECTED, VIRUS_DELETED
        225 | 226 => Reason::BlockedByAntivirus,
        // HANDLE_DISK_FULL, DISK_FULL, DISK_QUOTA_EXCEEDED
        39 | 112 | 1295 => Reason::DiskFull,
        // WRITE_PROTECT
        19 => Reason::ReadOnlyFilesystem,
        // FILE_EXISTS, ALREADY_EXISTS, DIRECTORY
        80 | 183 | 267 => Reason::WrongKind,
        // CANT_ACCESS_FILE, STOPPED_ON_SYMLINK, REPARSE_POINT_ENCOUNTERED
        1920 | 681 | 4395 => Reason::LinkInPath,
        // NOT_SUPPORTED
        50 => Reason::NotSupportedHere,
        _ => Reason::IoError,
    }
}

/// What a code means and what to do, where Windows' own words do not say so.
pub fn words_of(code: u32) -> Option<&'static str> {
    Some(match code {
        32 => "a program holds it open; expected one that shares it, or none",
        33 => "a program has locked a part of it",
        303 => "it is marked for deletion until the last program closes it",
        1224 => "a program has mapped it into its memory",
        225 => "the virus scanner takes it for malicious or unwanted; expected it to be allowed there",
        226 => "the virus scanner removed it; expected it to be allowed there",
        1314 => "the agent lacks the privilege for it; expected it to run as LocalSystem",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_one_reason() {
        for (code, reason) in [
            (2, Reason::IoError),
            (3, Reason::IoError),
            (5, Reason::PermissionDenied),
            (19, Reason::ReadOnlyFilesystem),
            (32, Reason::InUse),
            (33, Reason::InUse),
            (39, Reason::DiskFull),
            (50, Reason::NotSupportedHere),
            (80, Reason::WrongKind),
            (112, Reason::DiskFull),
            (170, Reason::InUse),
            (183, Reason::WrongKind),
            (225, Reason::BlockedByAntivirus),
            (226, Reason::BlockedByAntivirus),
            (267, Reason::WrongKind),
            (303, Reason::InUse),
            (1224, Reason::InUse),
            (1295, Reason::DiskFull),
            (1307, Reason::UnknownAccount),
            (1314, Reason::PermissionDenied),
            (1332, Reason::UnknownAccount),
            (1920, Reason::LinkInPath),
            (4395, Reason::LinkInPath),
            (u32::MAX, Reason::IoError),
        ] {
            assert_eq!(reason_of(code), reason, "{code}");
        }
    }

    #[test]
    fn what_a_person_must_act_on_is_said_in_words() {
        for code in [32, 33, 1224, 225, 226] {
            assert!(words_of(code).is_some(), "{code}");
        }
        assert_eq!(words_of(2), None);
    }
}
