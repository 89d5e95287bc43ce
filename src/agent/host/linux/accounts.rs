//! Users and groups by name and by number, as the machine's name service has them. Does IO.

use std::{
    collections::HashMap,
    ffi::CString,
    sync::{Mutex, PoisonError},
};

use nix::unistd::{Gid, Group, Uid, User, geteuid, getgrouplist};
use rustix::fs as sys;

use crate::{
    agent::{
        host::{HostError, Reason},
        policy::RunsAs,
    },
    model::Attributes,
};

/// Names that were looked up already. A number without a name is asked for each time, as it may get one.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    users: Mutex<HashMap<u32, String>>,
    groups: Mutex<HashMap<u32, String>>,
}

impl Accounts {
    /// Numbers of the owner and group that are asked for.
    pub(super) fn ids(&self, attributes: &Attributes) -> Result<(Option<sys::Uid>, Option<sys::Gid>), HostError> {
        let owner = attributes.owner.as_deref().map(|name| self.user(name)).transpose()?;
        let group = attributes.group.as_deref().map(|name| self.group(name)).transpose()?;
        Ok((owner.map(sys::Uid::from_raw), group.map(sys::Gid::from_raw)))
    }

    /// Its name, or its number where it has none.
    pub(super) fn user_name(&self, uid: u32) -> String {
        named(&self.users, uid, || User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name))
    }

    /// Its name, or its number where it has none.
    pub(super) fn group_name(&self, gid: u32) -> String {
        named(&self.groups, gid, || Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name))
    }

    fn user(&self, name: &str) -> Result<u32, HostError> {
        match User::from_name(name) {
            Ok(Some(user)) => Ok(user.uid.as_raw()),
            _ => unnamed(name, |uid| self.user_name(uid)).ok_or_else(|| unknown("user", name)),
        }
    }

    fn group(&self, name: &str) -> Result<u32, HostError> {
        match Group::from_name(name) {
            Ok(Some(group)) => Ok(group.gid.as_raw()),
            _ => unnamed(name, |gid| self.group_name(gid)).ok_or_else(|| unknown("group", name)),
        }
    }
}

/// The user of that name, or of that number where it has no name.
pub(super) fn find_user(account: &str) -> Result<User, HostError> {
    if let Ok(Some(user)) = User::from_name(account) {
        return Ok(user);
    }
    let uid = Accounts::default().user(account)?;
    Ok(nameless_user(Uid::from_raw(uid)))
}

/// Groups whose members can become root: by a command, a container, or the disk itself.
const OF_ADMINISTRATORS: [&str; 11] =
    ["root", "wheel", "sudo", "admin", "docker", "lxd", "incus-admin", "libvirt", "disk", "kmem", "shadow"];

/// Whom a service with this account runs as; without one as the agent does. An unknown one is found out at its start.
pub(super) fn runs_as(account: Option<&str>) -> RunsAs {
    let user = match account {
        Some(account) => find_user(account).ok(),
        None => User::from_uid(geteuid()).ok().flatten().or_else(|| Some(nameless_user(geteuid()))),
    };
    let Some(user) = user else {
        return RunsAs { name: account.unwrap_or_default().to_owned(), is_administrative: false };
    };
    // An agent that is no administrator makes none of what it starts.
    let is_administrative = user.uid.is_root() || account.is_some() && is_in_a_group_of_administrators(&user);
    RunsAs { name: user.name, is_administrative }
}

fn is_in_a_group_of_administrators(user: &User) -> bool {
    let groups = CString::new(user.name.as_str()).ok().and_then(|name| getgrouplist(&name, user.gid).ok());
    let named = |gid: Gid| Group::from_gid(gid).ok().flatten().map(|group| group.name);
    let groups = groups.unwrap_or_else(|| vec![user.gid]);
    groups
        .into_iter()
        .any(|gid| gid.as_raw() == 0 || named(gid).is_some_and(|name| OF_ADMINISTRATORS.contains(&name.as_str())))
}

/// A user that only its number is known of.
pub(super) fn nameless_user(uid: Uid) -> User {
    User {
        name: uid.to_string(),
        passwd: CString::default(),
        uid,
        gid: Gid::from_raw(uid.as_raw()),
        gecos: CString::default(),
        dir: "/".into(),
        shell: "/bin/sh".into(),
    }
}

fn named(known: &Mutex<HashMap<u32, String>>, id: u32, look_up: impl FnOnce() -> Option<String>) -> String {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(name) = known.get(&id) {
        return name.clone();
    }
    match look_up() {
        Some(name) => known.entry(id).or_insert(name).clone(),
        None => id.to_string(),
    }
}

/// A number stands for itself only where it has no name, so that each account has one spelling.
fn unnamed(text: &str, name_of: impl FnOnce(u32) -> String) -> Option<u32> {
    text.parse().ok().filter(|id| name_of(*id) == text)
}

fn unknown(kind: &str, name: &str) -> HostError {
    let hint = if name.parse::<u32>().is_ok() { "; a number is taken only where it has no name" } else { "" };
    HostError::new(Reason::UnknownAccount, format!("look up the {kind} {name:?}: this machine has none{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_a_name_and_an_unknown_number_stands_for_itself() {
        let accounts = Accounts::default();
        assert_eq!(accounts.user_name(0), "root");
        assert_eq!(accounts.user("root"), Ok(0));
        assert_eq!(accounts.user_name(3_999_999_001), "3999999001");
        assert_eq!(accounts.user("3999999001"), Ok(3_999_999_001));
        assert_eq!(accounts.group("3999999001"), Ok(3_999_999_001));
    }

    #[test]
    fn an_account_that_is_not_there_is_an_error_that_names_it() {
        let accounts = Accounts::default();
        for name in ["no-such-user", "0"] {
            let error = accounts.user(name).expect_err(name);
            assert_eq!(error.reason, Reason::UnknownAccount);
            assert!(error.message.contains(name), "{error}");
        }
    }

    #[test]
    fn root_and_whoever_can_become_it_are_administrators() {
        let is_administrative = |account| runs_as(account).is_administrative;
        assert!(is_administrative(Some("root")));
        assert!(!is_administrative(Some("nobody")) && !is_administrative(Some("3999999001")));
        assert!(!is_administrative(Some("no-such-user")), "it cannot be started either");
        assert_eq!(runs_as(None).is_administrative, geteuid().is_root());
        let in_shadow = User { gid: Gid::from_raw(42), ..nameless_user(Uid::from_raw(3_999_999_001)) };
        let is_named = Group::from_gid(in_shadow.gid).ok().flatten().is_some_and(|group| group.name == "shadow");
        assert_eq!(is_in_a_group_of_administrators(&in_shadow), is_named, "as on Debian");
    }
}
