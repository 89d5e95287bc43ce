//! The part of `validate` that reads the accounts of services and of access control lists.
//!
//! Source: Win32, "Service User Accounts" and `CreateServiceW`.

use super::{Check, InvalidReason as Reason};
use crate::{
    api::{AccessEntry, GrantEntry, KeyRef, RightsName, ServiceEntry},
    model::{Access, Grant, Rights},
    operator::references::{Kind, Reference},
};

/// What an account of Windows has to say who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Credential {
    /// Windows itself vouches for it.
    None,
    /// Its password.
    Password,
}

/// Accounts of the machine that have no password.
const BUILT_IN: [&str; 9] = [
    "localsystem",
    "localservice",
    "networkservice",
    r".\localsystem",
    r"nt authority\system",
    r"nt authority\localservice",
    r"nt authority\local service",
    r"nt authority\networkservice",
    r"nt authority\network service",
];

/// Holds a service's account against its password; returns where the password is.
pub(super) fn of_service(check: &mut Check, field: &str, entry: &ServiceEntry) -> Option<Reference> {
    let ServiceEntry { account, password_secret_ref, .. } = entry;
    let field_of = |name: &str| format!("{field}.{name}");
    if check.is_posix() {
        if password_secret_ref.is_some() {
            let message = "is for Windows, and the paths of this EdgeNode are of Linux; remove it";
            check.error(field_of("passwordSecretRef"), Reason::NotSupported, message);
        }
        return None;
    }
    let credential = match account.as_deref().map(credential) {
        None => Credential::None,
        Some(Ok(credential)) => credential,
        Some(Err(why)) => {
            check.error(field_of("account"), Reason::InvalidAccount, why);
            return None;
        }
    };
    match (credential, password_secret_ref) {
        (Credential::None, Some(_)) => {
            let account = account.as_deref().unwrap_or(r"NT AUTHORITY\LocalService, the default,");
            let message = format!("{account} has no password; remove it, or name the account that it is of");
            check.error(field_of("passwordSecretRef"), Reason::InvalidAccount, message);
            None
        }
        (Credential::Password, None) => {
            let account = account.as_deref().unwrap_or_default();
            let message =
                format!("{account} needs its password; set passwordSecretRef, or use NT SERVICE\\{}", entry.name);
            check.error(field_of("account"), Reason::InvalidAccount, message);
            None
        }
        (_, reference) => reference.as_ref().map(|r: &KeyRef| Reference::new(Kind::Secret, r)),
    }
}

fn credential(account: &str) -> Result<Credential, String> {
    let folded = account.to_lowercase();
    if account.chars().any(char::is_control) {
        return Err("holds a control character; remove it".to_owned());
    }
    if BUILT_IN.contains(&folded.as_str()) || folded.starts_with(r"nt service\") || folded.ends_with('$') {
        return Ok(Credential::None);
    }
    match folded.split_once('\\') {
        Some((domain, name)) if !domain.is_empty() && !name.is_empty() && !name.contains('\\') => {
            Ok(Credential::Password)
        }
        None if folded.contains('@') => Ok(Credential::Password),
        _ => Err(format!(
            "{account:?} names no account of a service; expected .\\name, DOMAIN\\name or NT SERVICE\\name"
        )),
    }
}

/// Reads the entries of an access control list.
pub(super) fn access(check: &mut Check, field: &str, entry: &AccessEntry) -> Access {
    let AccessEntry { inherit, grants: entries } = entry;
    let mut grants: Vec<Grant> = Vec::new();
    for (i, GrantEntry { account, rights }) in entries.iter().enumerate() {
        let field = format!("{field}.grants[{i}].account");
        if account.is_empty() || account.chars().any(char::is_control) {
            check.error(&field, Reason::InvalidAccount, "is empty or holds a control character");
        }
        if grants.iter().any(|grant| grant.account.to_lowercase() == account.to_lowercase()) {
            let message = format!("{account} is granted something twice; remove one");
            check.error(&field, Reason::DuplicateName, message);
        }
        let rights = match rights {
            RightsName::Read => Rights::Read,
            RightsName::ReadAndExecute => Rights::ReadAndExecute,
            RightsName::Modify => Rights::Modify,
            RightsName::FullControl => Rights::FullControl,
        };
        grants.push(Grant { account: account.clone(), rights });
    }
    grants.sort_by(|a, b| a.account.cmp(&b.account));
    Access { inherit: inherit.unwrap_or(false), grants }
}
