//! Decides what is to be done, in which order, and how each resource stands. Pure: what was seen, what is owned
//! and the time are arguments. Makes way first, then creates and writes from the root downwards, and once
//! all that is done, prunes from the leaves upwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    difference::Difference,
    entries::{Entry, Wanted, name},
    host::{PathState, Reason},
    observe::Observed,
    retry::{Retries, Trouble},
    store::{EntryKind, LedgerEntry, Origin},
};
use crate::model::{Attributes, Digest, Drift, HostPath, Platform, Source};

/// All that a plan depends on.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'s> {
    /// What should be.
    pub entries: &'s [Entry],
    /// What is.
    pub observed: &'s Observed,
    /// What is managed, by `HostPath::identity`.
    pub ledger: &'s BTreeMap<String, LedgerEntry>,
    /// The store was damaged and nothing was carried out since: what is present may have been managed before.
    pub ledger_lost: bool,
    /// Contents of the document; one that is not here is on its way.
    pub contents: &'s BTreeMap<Digest, Availability>,
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
    pub leftovers: Vec<(String, Standing)>,
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
    /// Where.
    pub path: HostPath,
    /// As in [`Retries`]: what it is for.
    pub wish: String,
    /// What.
    pub deed: Deed,
    /// The entry in the ledger afterwards; `None` where it is forgotten.
    pub afterwards: Option<LedgerEntry>,
    /// Nothing is there before.
    pub was_absent: bool,
}

/// What an action does to the machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Deed {
    /// Creates a directory.
    CreateDirectory(Attributes),
    /// Writes a file.
    WriteFile(Source, Attributes),
    /// Sets mode, owner and group.
    SetAttributes(Attributes),
    /// Removes a file that the agent created.
    RemoveFile,
    /// Removes a directory that the agent created, if nothing lies in it.
    RemoveDirectory {
        /// Where something lies in it, that is no failure: it is left and forgotten.
        or_leave: bool,
    },
    /// Nothing: only the ledger changes.
    Note,
}

impl Deed {
    /// For logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::CreateDirectory(_) => "create directory",
            Self::WriteFile(..) => "write file",
            Self::SetAttributes(_) => "set attributes",
            Self::RemoveFile => "remove file",
            Self::RemoveDirectory { .. } => "remove directory",
            Self::Note => "note",
        }
    }
}

/// Decides.
pub fn plan(situation: &Situation<'_>) -> Plan {
    let mut planner = Planner {
        s: situation,
        wanted: situation.entries.iter().map(|entry| (entry.identity.as_str(), entry)).collect(),
        above: above(situation.entries),
        making_way: BTreeMap::new(),
        making: BTreeMap::new(),
        ordered: Vec::new(),
        awaits_contents: false,
    };
    let standings = situation.entries.iter().map(|entry| planner.stand(entry)).collect();
    let (prunes, leftovers) = planner.prune();
    let Planner { making_way, ordered, .. } = planner;
    let mut way: Vec<Action> = making_way.into_values().collect();
    way.sort_by_key(|action| std::cmp::Reverse(action.path.components().count()));
    Plan { actions: way.into_iter().chain(ordered).chain(prunes).collect(), standings, leftovers }
}

/// Identities of all directories that something wanted lies in.
fn above(entries: &[Entry]) -> BTreeSet<String> {
    let mut above = BTreeSet::new();
    for entry in entries {
        let mut next = entry.path.parent();
        while let Some(directory) = next {
            if !above.insert(directory.identity()) {
                break;
            }
            next = directory.parent();
        }
    }
    above
}

struct Planner<'p> {
    s: &'p Situation<'p>,
    wanted: BTreeMap<&'p str, &'p Entry>,
    above: BTreeSet<String>,
    /// Removals of what the agent made and what now is in the way, by identity.
    making_way: BTreeMap<String, Action>,
    /// Directories that nobody named and that are created for what lies in them: how that stands.
    making: BTreeMap<String, Standing>,
    ordered: Vec<Action>,
    /// Contents are on their way.
    awaits_contents: bool,
}

/// The wish of directories that nobody named.
const IMPLICIT: &str = "implicit";
/// The wish of a removal.
const REMOVAL: &str = "removal";

impl Planner<'_> {
    fn stand(&mut self, entry: &Entry) -> Standing {
        if let Some(standing) = self.stand_of_above(entry) {
            return standing;
        }
        if entry.kind() == EntryKind::File && self.above.contains(&entry.identity) {
            let message = format!("{} should be a file, but other entries lie below it", entry.path);
            return Standing::Failed(Trouble::new(Reason::WrongKind.as_str(), message));
        }
        let managed = self.s.ledger.get(&entry.identity);
        let seen = match self.s.observed.at(&entry.path) {
            Ok(seen) => seen,
            Err(error) => return Standing::Failed(error.clone().into()),
        };
        let carried_out = match managed {
            Some(managed) => managed.carried_out == entry.wish,
            None => self.s.ledger_lost && *seen != PathState::Absent,
        };
        let audited = entry.drift == Drift::Audit && carried_out;
        let difference = Difference::between(entry, seen);
        let origin = match (managed, seen) {
            (_, PathState::Absent) => Origin::Created,
            (Some(managed), _) if managed.kind == entry.kind() => managed.origin,
            _ => Origin::Adopted,
        };
        let afterwards =
            LedgerEntry { path: entry.path.to_string(), kind: entry.kind(), origin, carried_out: entry.wish.clone() };
        match difference {
            Difference::None => {
                if managed != Some(&afterwards) {
                    self.note(entry, afterwards);
                }
                Standing::InPlace
            }
            difference if audited => {
                if managed.is_none() {
                    self.note(entry, afterwards);
                }
                Standing::Drifted(difference.to_string())
            }
            Difference::Attributes(_) => self.act(entry, Deed::SetAttributes(entry.attributes.clone()), afterwards),
            Difference::Kind(_) | Difference::Missing | Difference::Contents => {
                if let Some(standing) = self.stand_without_contents(entry) {
                    return standing;
                }
                if let Difference::Kind(kind) = difference {
                    return self.clear_away(&entry.path, entry.kind(), kind);
                }
                let deed = match &entry.wanted {
                    Wanted::Directory => Deed::CreateDirectory(entry.attributes.clone()),
                    Wanted::File(source) => Deed::WriteFile(source.clone(), entry.attributes.clone()),
                };
                self.act(entry, deed, afterwards)
            }
        }
    }

    /// How a file stands whose contents are not held; `None` where nothing is lacking.
    fn stand_without_contents(&mut self, entry: &Entry) -> Option<Standing> {
        let Wanted::File(source) = &entry.wanted else { return None };
        match self.s.contents.get(&source.digest()) {
            Some(Availability::Held) => None,
            Some(Availability::Failing(trouble)) => Some(Standing::Failed(trouble.clone())),
            None => {
                self.awaits_contents = true;
                Some(Standing::Pending)
            }
        }
    }

    /// How an entry stands for the directories above it; `None` where all are there.
    fn stand_of_above(&mut self, entry: &Entry) -> Option<Standing> {
        let mut directories: Vec<HostPath> = std::iter::successors(entry.path.parent(), HostPath::parent).collect();
        directories.reverse();
        for directory in directories {
            match self.s.observed.at(&directory) {
                Ok(PathState::Directory(_)) => {}
                Ok(PathState::Absent) => return Some(self.stand_below_absent(entry, &directory)),
                Ok(PathState::File { .. }) => {
                    return Some(self.clear_away(&directory, EntryKind::Directory, "a file"));
                }
                Ok(PathState::Other(kind)) => {
                    return Some(self.clear_away(&directory, EntryKind::Directory, kind));
                }
                Err(error) => return Some(Standing::Failed(error.clone().into())),
            }
        }
        None
    }

    fn stand_below_absent(&mut self, entry: &Entry, directory: &HostPath) -> Standing {
        let identity = directory.identity();
        if let Some(named) = self.wanted.get(identity.as_str()) {
            // Created as an entry of its own, which went before.
            let waits = match self.s.retries.last(&identity, &named.wish, self.s.now) {
                Some(_) => Some("could not be created"),
                None if named.drift == Drift::Audit && self.has_carried_out(named) => {
                    Some("is missing, and is left so under Audit")
                }
                None => None,
            };
            return waits.map_or(Standing::Pending, |why| waiting_for(directory, why));
        }
        if entry.drift == Drift::Audit && self.has_carried_out(entry) {
            return Standing::Drifted(Difference::Missing.to_string());
        }
        if let Some(standing) = self.stand_without_contents(entry) {
            return standing;
        }
        if let Some(standing) = self.making.get(&identity) {
            return standing.clone();
        }
        let action = Action {
            path: directory.clone(),
            wish: IMPLICIT.to_owned(),
            deed: Deed::CreateDirectory(Attributes::default()),
            afterwards: Some(LedgerEntry {
                path: directory.to_string(),
                kind: EntryKind::Directory,
                origin: Origin::Created,
                carried_out: String::new(),
            }),
            was_absent: true,
        };
        let standing = match self.s.retries.last(&identity, IMPLICIT, self.s.now) {
            Some((trouble, due)) => {
                if due {
                    self.ordered.push(action);
                }
                waiting_for(directory, &format!("could not be created: {}", trouble.message))
            }
            None => {
                self.ordered.push(action);
                Standing::Pending
            }
        };
        self.making.insert(identity, standing.clone());
        standing
    }

    /// What lies there is of the wrong kind: removed if the agent made it, else in the way.
    fn clear_away(&mut self, path: &HostPath, expected: EntryKind, found: &str) -> Standing {
        let identity = path.identity();
        let in_the_way = Trouble::new(
            Reason::WrongKind.as_str(),
            format!("{found} that windlass did not create is at {path}; expected {}", kind_word(expected)),
        );
        let Some(managed) = self.s.ledger.get(&identity) else { return Standing::Failed(in_the_way) };
        let deed = match (managed.kind, self.s.observed.at(path)) {
            (EntryKind::File, Ok(PathState::File { .. })) => Deed::RemoveFile,
            (EntryKind::Directory, Ok(PathState::Directory(_))) => Deed::RemoveDirectory { or_leave: false },
            _ => return Standing::Failed(in_the_way),
        };
        let is_wanted = self.wanted.get(identity.as_str()).is_some_and(|entry| entry.kind() == managed.kind);
        if managed.origin != Origin::Created || is_wanted {
            return Standing::Failed(in_the_way);
        }
        if self.owns_below(path) {
            return Standing::Pending;
        }
        let action = Action { path: path.clone(), wish: REMOVAL.to_owned(), deed, afterwards: None, was_absent: false };
        match self.s.retries.last(&identity, REMOVAL, self.s.now) {
            Some((trouble, due)) => {
                if due {
                    self.making_way.insert(identity, action);
                }
                Standing::Failed(trouble.clone())
            }
            None => {
                self.making_way.insert(identity, action);
                Standing::Pending
            }
        }
    }

    fn act(&mut self, entry: &Entry, deed: Deed, afterwards: LedgerEntry) -> Standing {
        let was_absent = matches!(self.s.observed.at(&entry.path), Ok(PathState::Absent));
        let action = Action {
            path: entry.path.clone(),
            wish: entry.wish.clone(),
            deed,
            afterwards: Some(afterwards),
            was_absent,
        };
        match self.s.retries.last(&entry.identity, &entry.wish, self.s.now) {
            Some((trouble, due)) => {
                if due {
                    self.ordered.push(action);
                }
                // Failed until it works, also while it is tried again: what is told does not flap.
                Standing::Failed(trouble.clone())
            }
            None => {
                self.ordered.push(action);
                Standing::Pending
            }
        }
    }

    fn note(&mut self, entry: &Entry, afterwards: LedgerEntry) {
        self.ordered.push(Action {
            path: entry.path.clone(),
            wish: entry.wish.clone(),
            deed: Deed::Note,
            afterwards: Some(afterwards),
            was_absent: false,
        });
    }

    fn prune(&self) -> (Vec<Action>, Vec<(String, Standing)>) {
        let mut actions = Vec::new();
        let mut leftovers = Vec::new();
        // What is old stays until what is new has taken its place.
        let is_building = self.awaits_contents || self.ordered.iter().any(|action| action.deed != Deed::Note);
        let gone = self.s.ledger.iter().filter(|(identity, _)| !self.wanted.contains_key(identity.as_str()));
        for (identity, managed) in gone {
            let Ok(path) = HostPath::parse(&managed.path) else { continue };
            let forget = Action {
                path: path.clone(),
                wish: REMOVAL.to_owned(),
                deed: Deed::Note,
                afterwards: None,
                was_absent: false,
            };
            let remove = |deed| Action { deed, ..forget.clone() };
            let action = match (managed.origin, managed.kind, self.s.observed.at(&path)) {
                (Origin::Adopted, ..) => forget,
                (Origin::Created, EntryKind::Directory, Ok(PathState::Directory(_))) => {
                    if self.above.contains(identity) {
                        // Still needed by what lies in it.
                        continue;
                    }
                    if self.owns_below(&path) {
                        // Goes once that has gone.
                        leftovers.push((name(managed.kind, &managed.path), Standing::Pending));
                        continue;
                    }
                    remove(Deed::RemoveDirectory { or_leave: true })
                }
                (Origin::Created, EntryKind::File, Ok(PathState::File { .. })) => {
                    if self.making_way.contains_key(identity) {
                        continue;
                    }
                    remove(Deed::RemoveFile)
                }
                (Origin::Created, _, Ok(_)) => forget,
                // Something else took the place of a directory above: what was created is not there any more.
                (Origin::Created, _, Err(e)) if matches!(e.reason, Reason::WrongKind | Reason::LinkInPath) => forget,
                (Origin::Created, kind, Err(error)) => {
                    leftovers.push((name(kind, &managed.path), Standing::Failed(error.clone().into())));
                    continue;
                }
            };
            if is_building && action.deed != Deed::Note {
                leftovers.push((name(managed.kind, &managed.path), Standing::Pending));
                continue;
            }
            let standing = match self.s.retries.last(identity, REMOVAL, self.s.now) {
                Some((trouble, due)) => {
                    if due {
                        actions.push(action);
                    }
                    Standing::Failed(trouble.clone())
                }
                None => {
                    actions.push(action);
                    Standing::Pending
                }
            };
            leftovers.push((name(managed.kind, &managed.path), standing));
        }
        actions.sort_by_key(|action| std::cmp::Reverse(action.path.components().count()));
        (actions, leftovers)
    }

    fn has_carried_out(&self, entry: &Entry) -> bool {
        self.s.ledger.get(&entry.identity).is_some_and(|managed| managed.carried_out == entry.wish)
    }

    /// Whether the ledger names anything below it.
    fn owns_below(&self, path: &HostPath) -> bool {
        let separator = if path.platform() == Platform::Windows { '\\' } else { '/' };
        let first = format!("{}{separator}", path.identity());
        self.s.ledger.range(first.clone()..).next().is_some_and(|(identity, _)| identity.starts_with(&first))
    }
}

fn waiting_for(directory: &HostPath, why: &str) -> Standing {
    Standing::Failed(Trouble::new("WaitingForDirectory", format!("the directory {directory} {why}")))
}

fn kind_word(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Directory => "a directory",
        EntryKind::File => "a file",
    }
}

#[cfg(test)]
mod tests;
