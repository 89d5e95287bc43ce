//! Owner, access list and file attributes: from a document's words to the machine's and back. Does IO where names of
//! accounts are looked up.

use windows_sys::Win32::{
    Security::{CONTAINER_INHERIT_ACE, OBJECT_INHERIT_ACE},
    Storage::FileSystem::{
        FILE_ALL_ACCESS, FILE_ATTRIBUTE_ARCHIVE, FILE_ATTRIBUTE_HIDDEN, FILE_ATTRIBUTE_READONLY, FILE_ATTRIBUTE_SYSTEM,
    },
};

use super::{
    accounts::{Accounts, Sid},
    handles::Kind,
    place::failed_io,
    security::Descriptor,
};
use crate::{
    agent::host::{HostError, Ownership, Reason},
    model::{Access, Attributes, Grant, Rights},
};

/// Rights as the Security tab gives them: FILE_GENERIC_READ; with FILE_EXECUTE; with what writes and deletes; all.
const RIGHTS: [(Rights, u32); 4] = [
    (Rights::Read, 0x0012_0089),
    (Rights::ReadAndExecute, 0x0012_00a9),
    (Rights::Modify, 0x0013_01bf),
    (Rights::FullControl, FILE_ALL_ACCESS),
];

/// SYSTEM and Administrators: no list of the agent's keeps them out.
const ALWAYS: [&str; 2] = ["S-1-5-18", "S-1-5-32-544"];

/// Attributes that people set; the others are the filesystem's.
const SETTABLE: u32 = FILE_ATTRIBUTE_READONLY | FILE_ATTRIBUTE_HIDDEN | FILE_ATTRIBUTE_SYSTEM | FILE_ATTRIBUTE_ARCHIVE;

/// What a document asks for, in the machine's terms.
pub(super) struct Asked {
    /// Whose.
    pub(super) owner: Option<Sid>,
    /// Who may do what.
    pub(super) access: Option<Descriptor>,
}

impl Asked {
    /// Looks the accounts up, and refuses what Windows does not have.
    pub(super) fn of(
        accounts: &Accounts,
        attributes: &Attributes,
        kind: Kind,
        trying: &str,
    ) -> Result<Self, HostError> {
        let Attributes { mode, owner, group, access, read_only: _, hidden: _ } = attributes;
        if mode.is_some() || group.is_some() {
            let message = format!("{trying}: Windows has no mode and no group; expected access and owner");
            return Err(HostError::new(Reason::NotSupportedHere, message));
        }
        let owner = owner.as_deref().map(|owner| accounts.sid(owner)).transpose()?;
        let access = access.as_ref().map(|access| described(accounts, access, kind, trying)).transpose()?;
        Ok(Self { owner, access })
    }
}

/// As SDDL, for what lies below as well where it is a directory. SYSTEM and administrators are in every list that
/// inherits nothing: the agent must be able to mend what it has set.
fn described(accounts: &Accounts, access: &Access, kind: Kind, trying: &str) -> Result<Descriptor, HostError> {
    let inheritance = if kind == Kind::Directory { "OICI" } else { "" };
    let mut sddl = if access.inherit { "D:".to_owned() } else { "D:P".to_owned() };
    let mut grant = |sid: &Sid, mask: u32| sddl += &format!("(A;{inheritance};{mask:#x};;;{})", sid.as_text());
    let always = always(accounts)?;
    if !access.inherit {
        always.iter().for_each(|sid| grant(sid, FILE_ALL_ACCESS));
    }
    for Grant { account, rights } in &access.grants {
        let sid = accounts.sid(account)?;
        if access.inherit || !always.contains(&sid) {
            grant(&sid, RIGHTS.iter().find(|(known, _)| known == rights).map_or(0, |(_, mask)| *mask));
        }
    }
    Descriptor::parse(&sddl).map_err(|error| failed_io(trying, &error))
}

fn always(accounts: &Accounts) -> Result<[Sid; 2], HostError> {
    let [system, administrators] = ALWAYS.map(|account| accounts.sid(account));
    Ok([system?, administrators?])
}

/// Accounts as the machine names them, and lists as they are read back: without those that are in every list.
pub(super) fn spelled(accounts: &Accounts, attributes: &Attributes) -> Attributes {
    let mut spelled = attributes.clone();
    spelled.owner = spelled.owner.map(|owner| accounts.spelled(&owner));
    let always = ALWAYS.map(|account| accounts.spelled(account));
    spelled.access = spelled.access.map(|Access { inherit, mut grants }| {
        for grant in &mut grants {
            grant.account = accounts.spelled(&grant.account);
        }
        grants.retain(|grant| inherit || !always.contains(&grant.account));
        grants.sort_by(|a, b| a.account.cmp(&b.account));
        Access { inherit, grants }
    });
    spelled
}

/// As an observation says it.
pub(super) fn ownership(accounts: &Accounts, security: &Descriptor, attributes: u32, kind: Kind) -> Ownership {
    let name = |sid: &Option<Sid>| sid.as_ref().map(|sid| accounts.name(sid)).unwrap_or_default();
    let owner = security.owner();
    Ownership {
        mode: 0,
        owner: name(&owner),
        group: name(&security.group()),
        access: access(accounts, security, kind),
        closed: is_closed(accounts, security, owner.as_ref()),
        read_only: attributes & FILE_ATTRIBUTE_READONLY != 0,
        hidden: attributes & FILE_ATTRIBUTE_HIDDEN != 0,
    }
}

/// `None` where the list says more, or of SYSTEM and administrators less, than one that [`described`] makes.
fn access(accounts: &Accounts, security: &Descriptor, kind: Kind) -> Option<Access> {
    let inheritance = if kind == Kind::Directory { OBJECT_INHERIT_ACE | CONTAINER_INHERIT_ACE } else { 0 };
    let inherit = !security.is_protected();
    let always = always(accounts).ok()?;
    let mut missing = if inherit { 0 } else { always.len() };
    let mut grants = Vec::new();
    for entry in security.entries()?.into_iter().filter(|entry| !entry.inherited) {
        let rights = RIGHTS.iter().find(|(_, mask)| *mask == entry.mask).map(|(rights, _)| *rights)?;
        if !entry.allows || u32::from(entry.flags) != inheritance {
            return None;
        }
        if !inherit && always.contains(&entry.sid) && rights == Rights::FullControl {
            missing = missing.saturating_sub(1);
            continue;
        }
        grants.push(Grant { account: accounts.name(&entry.sid), rights });
    }
    grants.sort_by(|a, b| a.account.cmp(&b.account));
    (missing == 0).then_some(Access { inherit, grants })
}

/// An owner, as administrators, can give itself any right.
fn is_closed(accounts: &Accounts, security: &Descriptor, owner: Option<&Sid>) -> bool {
    let (Ok(always), Some(entries)) = (always(accounts), security.entries()) else { return false };
    entries.iter().all(|entry| entry.denies || always.contains(&entry.sid) || Some(&entry.sid) == owner)
}

/// The file attributes that are to be set on what has `before`; `None` where nothing changes.
pub(super) fn file_attributes(asked: &Attributes, before: u32) -> Option<u32> {
    let mut after = before & SETTABLE;
    for (is_asked, bit) in [(asked.read_only, FILE_ATTRIBUTE_READONLY), (asked.hidden, FILE_ATTRIBUTE_HIDDEN)] {
        match is_asked {
            Some(true) => after |= bit,
            Some(false) => after &= !bit,
            None => {}
        }
    }
    (after != before & SETTABLE).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::host::windows::security::PRIVATE;

    fn grant(account: &str, rights: Rights) -> Grant {
        Grant { account: account.into(), rights }
    }

    fn described(accounts: &Accounts, access: &Access, kind: Kind) -> Descriptor {
        super::described(accounts, access, kind, "describe").unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn no_list_keeps_the_agent_out() {
        let accounts = Accounts::default();
        let access = Access { inherit: false, grants: vec![grant("SYSTEM", Rights::Read)] };
        let entries = described(&accounts, &access, Kind::File).entries().expect("a list");
        let full: Vec<_> =
            entries.iter().filter(|e| e.mask == FILE_ALL_ACCESS).map(|e| accounts.name(&e.sid)).collect();
        assert_eq!(full, ["NT AUTHORITY\\SYSTEM", "BUILTIN\\Administrators"]);
        assert_eq!(entries.len(), 2);
        let wanted = Attributes { access: Some(access), ..Attributes::default() };
        assert_eq!(spelled(&accounts, &wanted).access, Some(Access::default()), "as it is read back");
    }

    #[test]
    fn an_account_has_one_spelling() {
        let accounts = Accounts::default();
        for spelling in ["S-1-5-32-545", "s-1-5-32-545", "Users", "BUILTIN\\Users", "builtin\\users"] {
            assert_eq!(accounts.spelled(spelling), "BUILTIN\\Users");
        }
        assert_eq!(accounts.spelled("no-such-account"), "no-such-account");
    }

    #[test]
    fn a_list_is_read_as_it_was_written() {
        let accounts = Accounts::default();
        let access = Access {
            inherit: false,
            grants: vec![grant("Users", Rights::ReadAndExecute), grant("S-1-5-19", Rights::Modify)],
        };
        for kind in [Kind::File, Kind::Directory] {
            let security = described(&accounts, &access, kind);
            let wanted = Attributes { access: Some(access.clone()), ..Attributes::default() };
            let read = super::access(&accounts, &security, kind);
            assert_eq!(read, spelled(&accounts, &wanted).access, "{kind:?}");
            assert_eq!(read.map(|access| access.grants.len()), Some(2));
        }
        let others = ["", "(A;;0x1;;;BU)", "(D;;FA;;;BU)", "(A;OI;FA;;;BU)"];
        let others = others.map(|entry| if entry.is_empty() { "D:P".into() } else { format!("{PRIVATE}{entry}") });
        for other in others.iter().map(|other| other.replace("OICI", "")) {
            let security = Descriptor::parse(&other).expect("SDDL");
            assert_eq!(super::access(&accounts, &security, Kind::File), None, "{other}");
        }
    }

    #[test]
    fn what_others_may_open_is_not_closed() {
        let accounts = Accounts::default();
        for (list, closed) in [
            (PRIVATE, true),
            ("O:LSD:(A;;FA;;;SY)(A;;FA;;;LS)", true),
            ("O:LSD:(A;;FA;;;SY)(D;;FA;;;BU)", true),
            ("O:BAD:(A;;FA;;;SY)(A;;FA;;;LS)", false),
            ("O:BAD:(A;;FA;;;SY)(A;ID;FR;;;BU)", false),
            ("O:BA", false),
        ] {
            let security = Descriptor::parse(list).expect(list);
            assert_eq!(is_closed(&accounts, &security, security.owner().as_ref()), closed, "{list}");
        }
    }

    #[test]
    fn only_attributes_that_are_asked_for_change() {
        let asked = |read_only, hidden| Attributes { read_only, hidden, ..Attributes::default() };
        assert_eq!(file_attributes(&asked(None, None), FILE_ATTRIBUTE_READONLY), None);
        assert_eq!(file_attributes(&asked(Some(true), None), FILE_ATTRIBUTE_READONLY), None);
        assert_eq!(file_attributes(&asked(Some(false), Some(true)), 0x21), Some(0x22));
        assert_eq!(file_attributes(&asked(Some(false), None), 0x801), Some(0), "compression is the filesystem's");
    }
}
