//! Decides what is to be done, in which order, and how each resource stands. Pure: what was seen, what is owned
//! and the time are arguments. Makes way first, then creates and writes from the root downwards; once all that
//! is done, installs; and once that is done too, prunes from the leaves upwards.

mod build;
mod prune;

use std::{collections::BTreeMap, time::Duration};

use super::{
    entries::Entry,
    observe::Observed,
    place::{Place, Thing},
    policy::Policy,
    product::Product,
    retry::{Retries, Trouble},
    store::LedgerEntry,
};
use crate::model::{
    Attributes, Digest, HostPath, Installer, PackageName, RegistryData, RegistryKey, RegistryPlace, Source,
};

/// All that a plan depends on.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'s> {
    /// What should be.
    pub entries: &'s [Entry],
    /// What is.
    pub observed: &'s Observed,
    /// What is managed, by `Place::identity`.
    pub ledger: &'s BTreeMap<String, LedgerEntry>,
    /// The store was damaged and nothing was carried out since: what is present may have been managed before.
    pub ledger_lost: bool,
    /// Contents of the document; one that is not here is on its way.
    pub contents: &'s BTreeMap<Digest, Availability>,
    /// What the node itself allows.
    pub policy: &'s Policy,
    /// What did not work.
    pub retries: &'s Retries,
    /// Since the agent's start.
    pub now: Duration,
}

/// Whether a content can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    /// It is held, whole and checked.
    Held,
    /// It cannot be had for now.
    Failing(Trouble),
}

/// What is to be done and how things stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order. All can be begun now.
    pub actions: Vec<Action>,
    /// How each entry stands, in the order of the entries.
    pub standings: Vec<Standing>,
    /// What is still to be removed or could not be.
    pub leftovers: Vec<(Thing, Standing)>,
}

/// How a resource stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// As it should be.
    InPlace,
    /// On the way: an action stands in the plan, or a content is yet to come.
    Pending,
    /// Differs, and is left so by its policy; says how.
    Drifted(String),
    /// Could not be made so.
    Failed(Trouble),
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// To what.
    pub thing: Thing,
    /// As in [`Retries`]: what it is for.
    pub wish: String,
    /// What.
    pub deed: Deed,
    /// The entry in the ledger afterwards; `None` where it is forgotten.
    pub afterwards: Option<LedgerEntry>,
    /// Nothing is there before.
    pub was_absent: bool,
}

impl Action {
    /// Where.
    pub fn place(&self) -> Place {
        self.thing.place()
    }
}

/// What an action does to the machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Deed {
    /// Creates a directory.
    CreateDirectory(HostPath, Attributes),
    /// Writes a file.
    WriteFile(HostPath, Source, Attributes),
    /// Sets mode, owner and group.
    SetAttributes(HostPath, Attributes),
    /// Removes a file that the agent created.
    RemoveFile(HostPath),
    /// Removes a directory that the agent created, if nothing lies in it.
    RemoveDirectory {
        /// Which.
        path: HostPath,
        /// Where something lies in it, that is no failure: it is left and forgotten.
        or_leave: bool,
    },
    /// Creates a key of the registry.
    CreateKey(RegistryKey),
    /// Sets a value of the registry.
    SetValue(RegistryPlace, RegistryData),
    /// Removes a value of the registry that the agent created.
    RemoveValue(RegistryPlace),
    /// Removes a key of the registry that the agent created; where something lies in it, it is left.
    RemoveKey(RegistryKey),
    /// Installs a package, or upgrades it.
    Install(PackageName, Installer),
    /// Removes a package that the agent installed.
    Uninstall(PackageName, Product),
    /// Nothing: only the ledger changes.
    Note,
}

impl Deed {
    /// For logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::CreateDirectory(..) => "create directory",
            Self::WriteFile(..) => "write file",
            Self::SetAttributes(..) => "set attributes",
            Self::RemoveFile(_) => "remove file",
            Self::RemoveDirectory { .. } => "remove directory",
            Self::CreateKey(_) => "create key",
            Self::SetValue(..) => "set value",
            Self::RemoveValue(_) => "remove value",
            Self::RemoveKey(_) => "remove key",
            Self::Install(..) => "install",
            Self::Uninstall(..) => "uninstall",
            Self::Note => "note",
        }
    }

    /// Whether a program of somebody else's does it, which may change anything on the machine.
    pub fn is_by_installer(&self) -> bool {
        matches!(self, Self::Install(..) | Self::Uninstall(..))
    }
}

/// Decides.
pub fn plan(situation: &Situation<'_>) -> Plan {
    let (builder, standings) = build::build(situation);
    let (prunes, leftovers) = prune::prune(&builder);
    Plan { actions: builder.actions().chain(prunes).collect(), standings, leftovers }
}

/// The wish of what holds things and that nobody named.
const IMPLICIT: &str = "implicit";
/// The wish of a removal.
const REMOVAL: &str = "removal";

#[cfg(test)]
mod tests;
