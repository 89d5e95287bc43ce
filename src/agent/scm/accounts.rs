//! Accounts of services, as they are written in documents and as the SCM knows them. Pure.
//! Source: Win32, "Service User Accounts", and CreateServiceW.

use crate::{agent::policy::RunsAs, model::Service};

/// What a service runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// The machine itself, without bounds.
    LocalSystem,
    /// Little may be done, and nothing on the network: the default.
    LocalService,
    /// Little may be done; on the network it is the machine.
    NetworkService,
    /// The service's own (`NT SERVICE\name`), made by Windows.
    Virtual(String),
    /// One of a domain whose password Windows keeps (`DOMAIN\name$`).
    GroupManaged(String),
    /// A person's or a service's, with a password.
    Named(String),
}

impl Account {
    /// As written in a document; `None` is the default.
    pub fn parse(text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::LocalService };
        let lower = text.to_ascii_lowercase();
        let bare = lower.strip_prefix("nt authority\\").or(lower.strip_prefix(".\\")).unwrap_or(&lower);
        match bare {
            "localsystem" | "system" => Self::LocalSystem,
            "localservice" | "local service" => Self::LocalService,
            "networkservice" | "network service" => Self::NetworkService,
            _ if lower.starts_with("nt service\\") => Self::Virtual(text.to_owned()),
            _ if text.ends_with('$') => Self::GroupManaged(text.to_owned()),
            // Of this machine, unless a domain is named.
            _ if text.contains(['\\', '@']) => Self::Named(text.to_owned()),
            _ => Self::Named(format!(".\\{text}")),
        }
    }

    /// As the SCM is told.
    pub fn scm_name(&self) -> &str {
        match self {
            Self::LocalSystem => "LocalSystem",
            Self::LocalService => r"NT AUTHORITY\LocalService",
            Self::NetworkService => r"NT AUTHORITY\NetworkService",
            Self::Virtual(name) | Self::GroupManaged(name) | Self::Named(name) => name,
        }
    }

    /// Whether the SCM's name for it means this one; without a name, the SCM means LocalSystem.
    pub fn is(&self, scm_name: &str) -> bool {
        let scm_name = if scm_name.is_empty() { "LocalSystem" } else { scm_name };
        match (self, Self::parse(Some(scm_name))) {
            (Self::Virtual(a), Self::Virtual(b))
            | (Self::GroupManaged(a), Self::GroupManaged(b))
            | (Self::Named(a), Self::Named(b)) => a.eq_ignore_ascii_case(&b),
            (a, b) => *a == b,
        }
    }

    /// Whether it must be granted the right to log on as a service: the others have it.
    pub fn needs_logon_right(&self) -> bool {
        matches!(self, Self::Named(_) | Self::GroupManaged(_))
    }

    /// Whether it logs on with a password.
    pub fn has_password(&self) -> bool {
        matches!(self, Self::Named(_))
    }
}

/// Whom a service runs as. Of a named account no name tells whether it is an administrator's, nor of a virtual one that
/// is another service's.
pub fn runs_as(service: &Service) -> RunsAs {
    let account = Account::parse(service.account.as_deref());
    let is_administrative = match &account {
        Account::LocalSystem | Account::Named(_) | Account::GroupManaged(_) => true,
        Account::LocalService | Account::NetworkService => false,
        Account::Virtual(name) => {
            !name.rsplit('\\').next().is_some_and(|of| of.eq_ignore_ascii_case(service.name.as_str()))
        }
    };
    RunsAs { name: account.scm_name().to_owned(), is_administrative }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_known_by_all_their_names() {
        for (text, scm_name) in [
            (None, r"NT AUTHORITY\LocalService"),
            (Some("LocalService"), r"NT AUTHORITY\LocalService"),
            (Some(r"nt authority\local service"), r"NT AUTHORITY\LocalService"),
            (Some("NetworkService"), r"NT AUTHORITY\NetworkService"),
            (Some("LocalSystem"), "LocalSystem"),
            (Some(r"NT AUTHORITY\SYSTEM"), "LocalSystem"),
            (Some(r".\LocalSystem"), "LocalSystem"),
            (Some(r"NT SERVICE\Acme"), r"NT SERVICE\Acme"),
            (Some(r"PLANT\acme$"), r"PLANT\acme$"),
            (Some("acme"), r".\acme"),
            (Some(r"PLANT\acme"), r"PLANT\acme"),
            (Some("acme@plant.example"), "acme@plant.example"),
        ] {
            assert_eq!(Account::parse(text).scm_name(), scm_name, "{text:?}");
            assert!(Account::parse(text).is(&scm_name.to_ascii_uppercase()), "{text:?}");
        }
        assert!(!Account::parse(Some("acme")).is(r".\other"));
        assert!(!Account::parse(None).is("LocalSystem"));
        assert!(Account::LocalSystem.is("") && !Account::LocalService.is(""));
    }

    #[test]
    fn only_accounts_of_people_and_domains_need_a_grant() {
        let needs = |text| (Account::parse(text).needs_logon_right(), Account::parse(text).has_password());
        assert_eq!(needs(None), (false, false));
        assert_eq!(needs(Some(r"NT SERVICE\a")), (false, false));
        assert_eq!(needs(Some(r"D\a$")), (true, false));
        assert_eq!(needs(Some("a")), (true, true));
    }
}
