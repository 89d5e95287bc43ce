//! Carries out one action: journal, do, settle; and after a crash or a failure finds out how far it came.
//! IO through the host and the store. "X was absent, will create" makes X owned; nothing else does.

use std::{
    collections::BTreeMap,
    fmt::Display,
    io::Read,
    sync::atomic::{AtomicU32, Ordering},
};

use super::{
    contents::Contents,
    difference::{self, Difference},
    entries::digest_of,
    host::{Host, HostError, ProductState, Reason, Removed},
    observe::{State, look},
    place::Thing,
    plan::{Action, Deed},
    policy::Policy,
    product::Product,
    retry::Trouble,
    store::{JournalEntry, LedgerEntry, Origin, Store, StoreError},
};
use crate::model::{Digest, Installer, PackageName, Salt};

/// Where actions are carried out.
#[derive(Clone, Copy)]
pub struct Ground<'g> {
    /// The machine.
    pub host: &'g dyn Host,
    /// Where intents and what is owned are kept.
    pub store: &'g dyn Store,
    /// Where bytes come from.
    pub contents: &'g dyn Contents,
    /// What may be done at all.
    pub policy: &'g Policy,
    /// For tests of crashes.
    pub crash: &'g CrashPoint,
}

/// Why an action was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undone {
    /// The machine did not do it.
    Trouble(Trouble),
    /// It could not be journaled or settled: nothing more is to be done before [`recover`] has run.
    Store(StoreError),
}

impl From<StoreError> for Undone {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Ends the process at the n-th journal step, for tests that kill the real program at each of them. There are
/// three steps to an action: after the journal was written, after the action, after it was settled.
#[derive(Debug, Default)]
pub struct CrashPoint(AtomicU32);

impl CrashPoint {
    /// At this step, counted from 1; 0 for never.
    pub fn at(step: u32) -> Self {
        Self(AtomicU32::new(step))
    }

    fn step(&self) {
        let left = self.0.load(Ordering::Relaxed);
        self.0.store(left.saturating_sub(1), Ordering::Relaxed);
        if left == 1 {
            std::process::abort();
        }
    }
}

/// Carries out one action, if the node's own policy allows it: there is no other way from a plan to the machine.
pub fn carry_out(
    ground: Ground<'_>,
    ledger: &mut BTreeMap<String, LedgerEntry>,
    action: &Action,
) -> Result<(), Undone> {
    let identity = action.place().identity();
    if action.deed == Deed::Note {
        return Ok(settle(ground, ledger, &identity, action.afterwards.as_ref())?);
    }
    if let Err(refusal) = ground.policy.check_deed(&action.thing, &action.deed) {
        return Err(Undone::Trouble(refusal.into()));
    }
    ground.store.set_journal(&intent(ledger.get(&identity), action))?;
    ground.crash.step();
    let done = act(ground, &action.deed);
    ground.crash.step();
    let ended = match done {
        Ok(()) => Ok(settle(ground, ledger, &identity, action.afterwards.as_ref())?),
        Err(trouble) => {
            find_out(ground, ledger, Begun::Ended)?;
            Err(Undone::Trouble(trouble))
        }
    };
    ground.crash.step();
    ended
}

/// What is known of an action that was begun and not settled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begun {
    /// It did not work.
    Ended,
    /// The agent was cut off: an installer goes on without it.
    CutOff,
}

/// Finds out what became of an action that a crash left unsettled.
pub fn recover(ground: Ground<'_>, ledger: &mut BTreeMap<String, LedgerEntry>) -> Result<(), StoreError> {
    find_out(ground, ledger, Begun::CutOff)
}

fn find_out(ground: Ground<'_>, ledger: &mut BTreeMap<String, LedgerEntry>, begun: Begun) -> Result<(), StoreError> {
    let Some(journal) = ground.store.journal()? else { return Ok(()) };
    let thing = &journal.entry.thing;
    let identity = thing.place().identity();
    if let (Thing::File(path), false) = (thing, journal.removal)
        && ground.policy.check_beside(path).is_ok()
    {
        // It could hold a secret. If it cannot be removed now, the next write of that file does it.
        let _ = ground.host.discard_interrupted(path);
    }
    let seen = look(ground.host, thing, salt(&journal)).ok();
    // Attributes may not have been set yet: they are looked at again.
    let created = || LedgerEntry { origin: Origin::Created, carried_out: String::new(), ..journal.entry.clone() };
    let may_come_yet = begun == Begun::CutOff && matches!(thing, Thing::Package(..)) && !journal.removal;
    let entry = match &seen {
        Some(State::Absent) if may_come_yet && journal.was_absent => Some(created()),
        Some(State::Absent) if !may_come_yet => None,
        Some(seen) if !journal.removal && journal.was_absent && is_intended(&journal, seen) => Some(created()),
        _ => ledger.get(&identity).cloned(),
    };
    settle(ground, ledger, &identity, entry.as_ref())
}

fn settle(
    ground: Ground<'_>,
    ledger: &mut BTreeMap<String, LedgerEntry>,
    identity: &str,
    entry: Option<&LedgerEntry>,
) -> Result<(), StoreError> {
    ground.store.settle(identity, entry)?;
    match entry {
        Some(entry) => ledger.insert(identity.to_owned(), entry.clone()),
        None => ledger.remove(identity),
    };
    Ok(())
}

fn intent(managed: Option<&LedgerEntry>, action: &Action) -> JournalEntry {
    let (digest, salt) = match &action.deed {
        Deed::WriteFile(_, source, _) => {
            (source.digest().to_string(), source.salt().map(|s| hex(s.as_bytes())).unwrap_or_default())
        }
        Deed::SetValue(_, data) => (digest_of(data).to_string(), String::new()),
        _ => (String::new(), String::new()),
    };
    let entry = action.afterwards.as_ref().or(managed).cloned().unwrap_or_else(|| LedgerEntry {
        thing: action.thing.clone(),
        origin: Origin::Adopted,
        carried_out: String::new(),
    });
    JournalEntry { entry, was_absent: action.was_absent, digest, salt, removal: action.afterwards.is_none() }
}

fn is_intended(journal: &JournalEntry, seen: &State) -> bool {
    match (&journal.entry.thing, seen) {
        (Thing::Directory(_), State::Directory(_)) | (Thing::Key(_), State::Key) => true,
        (Thing::File(_), State::File { digest, .. }) => digest.to_string() == journal.digest,
        (Thing::Value(_), State::Value(data)) => digest_of(data).to_string() == journal.digest,
        // Found by what it is known by, in whatever version.
        (Thing::Package(..), State::Package { .. }) => true,
        _ => false,
    }
}

fn act(ground: Ground<'_>, deed: &Deed) -> Result<(), Trouble> {
    let Ground { host, contents, .. } = ground;
    match deed {
        Deed::CreateDirectory(path, attributes) => host.create_directory(path, attributes)?,
        Deed::WriteFile(path, source, attributes) => {
            let mut content = open(contents, &source.digest(), path)?;
            host.write_file(path, content.as_mut(), attributes, source.is_secret())?;
        }
        Deed::SetAttributes(path, attributes) => host.set_attributes(path, attributes)?,
        Deed::RemoveFile(path) => host.remove_file(path)?,
        Deed::RemoveDirectory { path, or_leave } => {
            if host.remove_directory(path)? == Removed::NotEmpty && !or_leave {
                let message = format!("remove the directory {path}, where a file should be: things lie in it");
                return Err(Trouble::new(Reason::WrongKind.as_str(), message));
            }
        }
        Deed::CreateKey(key) => host.create_key(key)?,
        Deed::SetValue(place, data) => host.set_value(place, data)?,
        Deed::RemoveValue(place) => host.remove_value(place)?,
        Deed::RemoveKey(key) => drop(host.remove_key(key)?),
        Deed::Install(name, installer) => {
            let mut file = open(contents, &installer.artifact().sha256, name)?;
            host.install(name, installer, file.as_mut())?;
            expect_installed(host, name, installer)?;
        }
        Deed::Uninstall(name, product) => {
            host.uninstall(name, product)?;
            if product.observe(host)? != ProductState::Absent {
                return Err(install_failed(format!(
                    "remove the package {name}: its uninstaller succeeded, and it is there still"
                )));
            }
        }
        Deed::Note => {}
    }
    Ok(())
}

/// An installer that succeeds without doing what its package is for would be run again and again.
fn expect_installed(host: &dyn Host, name: &PackageName, installer: &Installer) -> Result<(), Trouble> {
    let found = match Product::from(installer).observe(host)? {
        ProductState::Absent => "is not found".to_owned(),
        ProductState::Installed { version } => match difference::version_of(version, installer) {
            Difference::Version(which) => format!("is installed in {which}"),
            _ => return Ok(()),
        },
    };
    Err(install_failed(format!("install the package {name}: its installer succeeded, and it {found} afterwards")))
}

fn install_failed(message: String) -> Trouble {
    Trouble::new(Reason::InstallFailed.as_str(), message)
}

fn open(contents: &dyn Contents, digest: &Digest, of: &dyn Display) -> Result<Box<dyn Read + Send>, Trouble> {
    contents.open(digest).map_err(|error| unreadable(of, &error))
}

fn unreadable(of: &dyn Display, error: &HostError) -> Trouble {
    Trouble::new(error.reason.as_str(), format!("read the contents of {of}: {}", error.message))
}

fn salt(journal: &JournalEntry) -> Option<Salt> {
    // Written as a digest is: 32 bytes in hex.
    Digest::from_hex(&journal.salt).ok().map(|bytes| Salt::new(*bytes.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_that_the_machine_does_not_let_be_read_keep_their_reason() {
        let error = HostError::new(Reason::BlockedByAntivirus, "open C:\\x: the virus scanner removed it");
        let trouble = unreadable(&"C:\\a.exe", &error);
        let message = "read the contents of C:\\a.exe: open C:\\x: the virus scanner removed it";
        assert_eq!(trouble, Trouble::new("BlockedByAntivirus", message.to_owned()));
    }
}
