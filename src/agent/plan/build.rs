//! The part of a plan that brings what is wanted into being: makes way, creates from the root downwards, writes.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Availability, Deed, IMPLICIT, REMOVAL, Situation, Standing};
use crate::{
    agent::{
        difference::Difference,
        entries::{Entry, Wanted},
        host::{PathState, Reason},
        place::{Kind, Place, Thing},
        retry::Trouble,
        store::{LedgerEntry, Origin},
    },
    model::{Attributes, Drift},
};

/// What is known once all entries were looked at.
pub(super) struct Builder<'p> {
    pub(super) s: &'p Situation<'p>,
    /// By identity.
    pub(super) wanted: BTreeMap<&'p str, &'p Entry>,
    /// Identities of all that holds something wanted.
    pub(super) above: BTreeSet<String>,
    /// Removals of what the agent made and what now is in the way, by identity.
    pub(super) making_way: BTreeMap<String, Action>,
    /// What nobody named and is created to hold something wanted: how that stands.
    making: BTreeMap<String, Standing>,
    ordered: Vec<Action>,
    /// Contents are on their way.
    awaits_contents: bool,
}

/// How each entry stands, in their order, and what follows.
pub(super) fn build<'p>(situation: &'p Situation<'p>) -> (Builder<'p>, Vec<Standing>) {
    let mut builder = Builder {
        s: situation,
        wanted: situation.entries.iter().map(|entry| (entry.identity.as_str(), entry)).collect(),
        above: above(situation.entries),
        making_way: BTreeMap::new(),
        making: BTreeMap::new(),
        ordered: Vec::new(),
        awaits_contents: false,
    };
    let standings = situation.entries.iter().map(|entry| builder.stand(entry)).collect();
    (builder, standings)
}

fn above(entries: &[Entry]) -> BTreeSet<String> {
    let mut above = BTreeSet::new();
    for entry in entries {
        for holder in entry.place.above() {
            if !above.insert(holder.identity()) {
                break;
            }
        }
    }
    above
}

impl Builder<'_> {
    /// What makes way, from the leaves upwards, and then what is made.
    pub(super) fn actions(&self) -> impl Iterator<Item = Action> {
        let mut way: Vec<Action> = self.making_way.values().cloned().collect();
        way.sort_by_key(|action| std::cmp::Reverse(action.place().depth()));
        way.into_iter().chain(self.ordered.iter().cloned())
    }

    /// Whether anything is still to take its place.
    pub(super) fn is_building(&self) -> bool {
        self.awaits_contents || self.ordered.iter().any(|action| action.deed != Deed::Note)
    }

    fn stand(&mut self, entry: &Entry) -> Standing {
        if let Some(standing) = self.stand_of_above(entry) {
            return standing;
        }
        if entry.kind() == Kind::File && self.above.contains(&entry.identity) {
            let message = format!("{} should be a file, but other entries lie below it", entry.place);
            return Standing::Failed(Trouble::new(Reason::WrongKind.as_str(), message));
        }
        let managed = self.s.ledger.get(&entry.identity);
        let seen = match self.s.observed.at(&entry.place) {
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
            (Some(managed), _) if managed.thing.kind() == entry.kind() => managed.origin,
            _ => Origin::Adopted,
        };
        let afterwards = LedgerEntry { thing: entry.thing(), origin, carried_out: entry.wish.clone() };
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
            difference => {
                if let Some(standing) = self.stand_without_contents(entry, &difference) {
                    return standing;
                }
                if let Difference::Kind(kind) = difference {
                    return self.clear_away(&entry.place, entry.kind(), kind);
                }
                self.act(entry, deed(entry, &difference), afterwards)
            }
        }
    }

    /// How an entry stands whose contents are needed and not held; `None` where nothing is lacking.
    fn stand_without_contents(&mut self, entry: &Entry, difference: &Difference) -> Option<Standing> {
        let content = entry.content().filter(|_| !matches!(difference, Difference::Attributes(_)))?;
        match self.s.contents.get(&content) {
            Some(Availability::Held) => None,
            Some(Availability::Failing(trouble)) => Some(Standing::Failed(trouble.clone())),
            None => {
                self.awaits_contents = true;
                Some(Standing::Pending)
            }
        }
    }

    /// How an entry stands for what is to hold it; `None` where all of that is there.
    fn stand_of_above(&mut self, entry: &Entry) -> Option<Standing> {
        let mut holders: Vec<Place> = entry.place.above().collect();
        holders.reverse();
        for holder in holders {
            match self.s.observed.at(&holder) {
                Ok(PathState::Directory(_)) => {}
                Ok(PathState::Absent) => return Some(self.stand_below_absent(entry, &holder)),
                Ok(PathState::File { .. }) => return Some(self.clear_away(&holder, Kind::Directory, "a file")),
                Ok(PathState::Other(kind)) => return Some(self.clear_away(&holder, Kind::Directory, kind)),
                Err(error) => return Some(Standing::Failed(error.clone().into())),
            }
        }
        None
    }

    fn stand_below_absent(&mut self, entry: &Entry, holder: &Place) -> Standing {
        let identity = holder.identity();
        if let Some(named) = self.wanted.get(identity.as_str()) {
            // Created as an entry of its own, which went before.
            let waits = match self.s.retries.last(&identity, &named.wish, self.s.now) {
                Some(_) => Some("could not be created"),
                None if named.drift == Drift::Audit && self.has_carried_out(named) => {
                    Some("is missing, and is left so under Audit")
                }
                None => None,
            };
            return waits.map_or(Standing::Pending, |why| waiting_for(holder, why));
        }
        if entry.drift == Drift::Audit && self.has_carried_out(entry) {
            return Standing::Drifted(Difference::Missing.to_string());
        }
        if let Some(standing) = self.stand_without_contents(entry, &Difference::Missing) {
            return standing;
        }
        if let Some(standing) = self.making.get(&identity) {
            return standing.clone();
        }
        let (thing, deed) = match holder {
            Place::Path(path) => (Thing::Directory(path.clone()), Deed::CreateDirectory(Attributes::default())),
        };
        let afterwards = LedgerEntry { thing: thing.clone(), origin: Origin::Created, carried_out: String::new() };
        let action = Action { thing, wish: IMPLICIT.to_owned(), deed, afterwards: Some(afterwards), was_absent: true };
        let standing = match self.begin(action) {
            Some(trouble) => waiting_for(holder, &format!("could not be created: {}", trouble.message)),
            None => Standing::Pending,
        };
        self.making.insert(identity, standing.clone());
        standing
    }

    /// What lies there is of the wrong kind: removed if the agent made it, else in the way.
    fn clear_away(&mut self, place: &Place, expected: Kind, found: &str) -> Standing {
        let identity = place.identity();
        let in_the_way = Trouble::new(
            Reason::WrongKind.as_str(),
            format!("{found} that windlass did not create is at {place}; expected {}", expected.expected()),
        );
        let Some(managed) = self.s.ledger.get(&identity) else { return Standing::Failed(in_the_way) };
        let deed = match (managed.thing.kind(), self.s.observed.at(place)) {
            (Kind::File, Ok(PathState::File { .. })) => Deed::RemoveFile,
            (Kind::Directory, Ok(PathState::Directory(_))) => Deed::RemoveDirectory { or_leave: false },
            _ => return Standing::Failed(in_the_way),
        };
        let is_wanted = self.wanted.get(identity.as_str()).is_some_and(|entry| entry.kind() == managed.thing.kind());
        if managed.origin != Origin::Created || is_wanted {
            return Standing::Failed(in_the_way);
        }
        if self.owns_below(place) {
            return Standing::Pending;
        }
        let thing = managed.thing.clone();
        let action = Action { thing, wish: REMOVAL.to_owned(), deed, afterwards: None, was_absent: false };
        let last = self.s.retries.last(&identity, REMOVAL, self.s.now);
        if last.is_none_or(|(_, due)| due) {
            self.making_way.insert(identity, action);
        }
        last.map_or(Standing::Pending, |(trouble, _)| Standing::Failed(trouble.clone()))
    }

    fn act(&mut self, entry: &Entry, deed: Deed, afterwards: LedgerEntry) -> Standing {
        let was_absent = matches!(self.s.observed.at(&entry.place), Ok(PathState::Absent));
        let (thing, wish) = (entry.thing(), entry.wish.clone());
        let action = Action { thing, wish, deed, afterwards: Some(afterwards), was_absent };
        // Failed until it works, also while it is tried again: what is told does not flap.
        self.begin(action).map_or(Standing::Pending, Standing::Failed)
    }

    /// Orders an action if it is due; why it did not work last time.
    fn begin(&mut self, action: Action) -> Option<Trouble> {
        let last = self.s.retries.last(&action.place().identity(), &action.wish, self.s.now);
        if last.is_none_or(|(_, due)| due) {
            self.ordered.push(action);
        }
        last.map(|(trouble, _)| trouble.clone())
    }

    fn note(&mut self, entry: &Entry, afterwards: LedgerEntry) {
        let (thing, wish) = (entry.thing(), entry.wish.clone());
        self.ordered.push(Action { thing, wish, deed: Deed::Note, afterwards: Some(afterwards), was_absent: false });
    }

    fn has_carried_out(&self, entry: &Entry) -> bool {
        self.s.ledger.get(&entry.identity).is_some_and(|managed| managed.carried_out == entry.wish)
    }

    /// Whether the ledger names anything below it.
    pub(super) fn owns_below(&self, place: &Place) -> bool {
        let first = place.identity_below();
        self.s.ledger.range(first.clone()..).next().is_some_and(|(identity, _)| identity.starts_with(&first))
    }
}

/// What makes an entry that differs so what it should be.
fn deed(entry: &Entry, difference: &Difference) -> Deed {
    match (&entry.wanted, difference) {
        (Wanted::Directory(_, attributes) | Wanted::File(_, _, attributes), Difference::Attributes(_)) => {
            Deed::SetAttributes(attributes.clone())
        }
        (Wanted::Directory(_, attributes), _) => Deed::CreateDirectory(attributes.clone()),
        (Wanted::File(_, source, attributes), _) => Deed::WriteFile(source.clone(), attributes.clone()),
    }
}

fn waiting_for(holder: &Place, why: &str) -> Standing {
    Standing::Failed(Trouble::new("WaitingForDirectory", format!("the directory {holder} {why}")))
}
