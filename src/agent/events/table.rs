//! Ids of the event log: which log event stands under which one. They are stable: texts may change, an id keeps its
//! meaning, and one that is no longer used is not used again. The same ids stand in service/events.mc and in
//! docs/reference/events.md. Pure.

use super::Severity::{self, Error, Information, Warning};

/// A kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// As the event log shows it.
    pub id: u16,
    /// As documents and the message file have it.
    pub name: &'static str,
    /// How grave it is.
    pub severity: Severity,
    /// Module below `agent` that logs it; empty for the kinds that take what no other takes.
    module: &'static str,
    /// What it logs; empty for everything of that severity.
    message: &'static str,
}

impl Kind {
    /// The number of its message: severity and id. Source: Win32, "Event Identifiers".
    pub fn message_id(&self) -> u32 {
        self.severity.bits() << 30 | u32::from(self.id)
    }

    /// Where it is logged: module and message, for tests against the sources.
    pub fn source(&self) -> (&'static str, &'static str) {
        (self.module, self.message)
    }
}

const fn kind(id: u16, name: &'static str, severity: Severity, module: &'static str, message: &'static str) -> Kind {
    Kind { id, name, severity, module, message }
}

/// All of them. 1 to 9: no kind of their own; 1xx: the agent itself; 2xx: its link; 3xx: the machine; 4xx: services.
#[rustfmt::skip]
pub const KINDS: &[Kind] = &[
    kind(2, "OtherWarning", Warning, "", ""),
    kind(3, "OtherError", Error, "", ""),
    kind(100, "AgentStarts", Information, "serve", "windlass-agent starts"),
    kind(101, "AgentStopped", Information, "serve", "stopped"),
    kind(102, "AgentFailed", Error, "logging", "windlass-agent ended"),
    kind(103, "AgentPanicked", Error, "logging", "a part of windlass-agent panicked"),
    kind(104, "LogFileUnusable", Error, "logging", "the log file cannot be used"),
    kind(105, "ServiceSettingRefused", Warning, "service", "a setting of the service could not be set"),
    kind(106, "EnrollmentFileTaken", Information, "service", "the installer's enrollment file was taken"),
    kind(107, "EnrollmentFileRefused", Error, "service", "the installer's enrollment file cannot be used"),
    kind(108, "EnrollmentFileNotTaken", Error, "service", "the installer's enrollment file could not be taken and deleted"),
    kind(200, "Enrolled", Information, "link", "enrolled"),
    kind(201, "WaitsForEnrollment", Warning, "link", "there is no identity yet; waits for an enrollment file"),
    kind(202, "EnrollmentFileUnusable", Error, "link", "the enrollment file cannot be used"),
    kind(203, "NotEnrolledYet", Warning, "link", "not enrolled yet"),
    kind(204, "NotEnrolled", Error, "link", "not enrolled"),
    kind(205, "EnrollmentFileOfNoUse", Warning, "link", "the enrollment file is of no use; the identity there is goes on"),
    kind(206, "IdentityUnusable", Error, "link", "the identity cannot be used"),
    kind(210, "Connected", Information, "link", "connected"),
    kind(211, "ConnectionLost", Warning, "link", "connection lost"),
    kind(212, "NotConnected", Warning, "link", "not connected"),
    kind(213, "SentAway", Warning, "link", "sent away"),
    kind(214, "Released", Information, "link", "released: the EdgeNode is gone, the machine is left as it is"),
    kind(220, "TrustBegun", Information, "receipt", "the first trust bundle was taken from the operator's session"),
    kind(221, "TrustBundleRefused", Warning, "receipt", "a trust bundle is refused; the one before it stays"),
    kind(222, "DocumentRefused", Warning, "conversation", "a desired document is refused; the one before it stays in force"),
    kind(223, "StoredDocumentRefused", Error, "held", "the stored document is not put in force; waiting for the operator's"),
    kind(224, "SessionsForgotten", Warning, "conversation", "the operator knows of later sessions than this machine remembers; was its disk restored or copied?"),
    kind(300, "RevisionReceived", Information, "conversation", "desired document received"),
    kind(301, "RevisionApplied", Information, "state_loop", "applied"),
    kind(302, "ResourceFailed", Warning, "converge", ""),
    kind(303, "ArtifactFailed", Warning, "artifact", ""),
    kind(304, "StoreDamaged", Error, "state_loop", "StoreDamaged"),
    kind(305, "NothingJournaled", Error, "state_loop", "nothing can be journaled, so nothing is changed"),
    kind(306, "ReserveReleased", Warning, "store", "the agent's store could not be written; released the reserve"),
    kind(307, "DocumentUnreadable", Warning, "held", "the stored document cannot be read; waiting for the operator's"),
    kind(308, "PolicyUnusable", Error, "state_loop", "the local policy cannot be used, so nothing is changed"),
    kind(309, "PolicyInForce", Information, "state_loop", "the local policy is in force"),
    kind(310, "ServiceDenied", Warning, "state_loop", "is not allowed"),
    kind(400, "ServiceStarted", Information, "services", "started"),
    kind(401, "ServiceNotStarted", Warning, "services", "not started"),
    kind(402, "ServiceEnded", Information, "services", "ended"),
    kind(403, "ServiceKilled", Warning, "services", "does not stop and is killed"),
    kind(404, "ServiceNotStopped", Warning, "services", "could not be asked to stop"),
    kind(405, "ServiceLeftSomething", Warning, "services", "left something that could not be ended"),
    kind(406, "ServiceNotRemoved", Warning, "services", "could not be removed"),
    kind(407, "ServiceRemoved", Information, "services", "removed"),
];

/// The kind of a log event by the target (`windlass::agent::link`), severity and message. Warnings and errors always
/// have one; information only what is listed.
pub fn kind_of(target: &str, severity: Severity, message: &str) -> Option<&'static Kind> {
    let module = target.strip_prefix("windlass::agent::").and_then(|rest| rest.split("::").next()).unwrap_or("-");
    let listed = KINDS.iter().find(|kind| {
        kind.severity == severity && kind.module == module && (kind.message.is_empty() || kind.message == message)
    });
    listed.or_else(|| KINDS.iter().find(|kind| kind.severity == severity && kind.module.is_empty()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_log_event_stands_under_its_id_and_no_warning_or_error_under_none() {
        for (target, severity, message, id) in [
            ("windlass::agent::link", Error, "not enrolled", Some(204)),
            ("windlass::agent::link", Warning, "not enrolled", Some(2)),
            ("windlass::agent::services::supervise", Information, "started", Some(400)),
            ("windlass::agent::converge", Warning, "no such user", Some(302)),
            ("windlass::agent::link", Information, "not connected", None),
            ("windlass::agent::host::windows::pipe", Error, "?", Some(3)),
            ("h2::client", Warning, "?", Some(2)),
            ("reqwest", Information, "started", None),
        ] {
            assert_eq!(kind_of(target, severity, message).map(|kind| kind.id), id, "{target} {message}");
        }
    }

    #[test]
    fn ids_and_names_are_unique() {
        let ids: BTreeSet<_> = KINDS.iter().map(|kind| kind.id).collect();
        let names: BTreeSet<_> = KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!((ids.len(), names.len()), (KINDS.len(), KINDS.len()));
    }

    #[test]
    fn the_number_of_a_message_holds_its_severity() {
        let number = |id| KINDS.iter().find(|kind| kind.id == id).map(Kind::message_id);
        assert_eq!(number(204), Some(0xC000_00CC));
        assert_eq!(number(211), Some(0x8000_00D3));
        assert_eq!(number(100), Some(0x4000_0064));
    }
}
