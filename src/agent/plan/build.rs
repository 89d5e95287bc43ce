//! The part of a plan that brings what is wanted into being: makes way, creates from the root downwards, writes.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Availability, Deed, IMPLICIT, REMOVAL, Situation, Standing};
use crate::{
    agent::{
        difference::Difference,
        entries::{Entry, Wanted},
        host::Reason,
        observe::State,
        place::{Kind, Place, Thing},
        retry::Trouble,
        store::{LedgerEntry, Origin},
    },
    model::{Attributes, Drift, PackageName},
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
    /// What is not a package is still to take its place: no installer runs before.
    holds_installs: bool,
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
        holds_installs: false,
    };
    let packages = situation.entries.iter().position(|entry| entry.kind() == Kind::Package);
    let (others, packages) = situation.entries.split_at(packages.unwrap_or(situation.entries.len()));
    let mut standings: Vec<Standing> = others.iter().map(|entry| builder.stand(entry)).collect();
    builder.holds_installs = builder.is_building();
    standings.extend(packages.iter().map(|entry| builder.stand(entry)));
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
        self.awaits_contents
            || !self.making_way.is_empty()
            || self.ordered.iter().any(|action| action.deed != Deed::Note)
    }

    fn stand(&mut self, entry: &Entry) -> Standing {
        // Before it is told whether it is in place: of what it may not touch, the cloud learns nothing either.
        match (self.s.policy.check_entry(entry), self.s.policy.unusable()) {
            (Ok(()), _) => {}
            (Err(_), Some(_)) if self.has_carried_out(entry) => {}
            (Err(_), Some(_)) => return Standing::Pending,
            (Err(refusal), None) => return Standing::Failed(refusal.into()),
        }
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
            None => self.s.ledger_lost && *seen != State::Absent,
        };
        let audited = entry.drift == Drift::Audit && carried_out;
        let difference = Difference::between(entry, seen);
        let origin = match (managed, seen) {
            (_, State::Absent) => Origin::Created,
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
                Ok(State::Directory(_) | State::Key) => {}
                Ok(State::Absent) => return Some(self.stand_below_absent(entry, &holder)),
                Ok(State::File { .. }) => return Some(self.clear_away(&holder, Kind::Directory, "a file")),
                Ok(State::Other(kind)) => return Some(self.clear_away(&holder, Kind::Directory, kind)),
                // These hold nothing, and lie at places of their own.
                Ok(State::Value(_) | State::OtherValue { .. } | State::Package { .. }) => {}
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
            Place::Path(path) => {
                (Thing::Directory(path.clone()), Deed::CreateDirectory(path.clone(), Attributes::default()))
            }
            Place::Key(key) => (Thing::Key(key.clone()), Deed::CreateKey(key.clone())),
            // These hold nothing.
            Place::Value(_) | Place::Package(..) => return Standing::Pending,
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
        let deed = match (&managed.thing, self.s.observed.at(place)) {
            (Thing::File(path), Ok(State::File { .. })) => Deed::RemoveFile(path.clone()),
            (Thing::Directory(path), Ok(State::Directory(_))) => {
                Deed::RemoveDirectory { path: path.clone(), or_leave: false }
            }
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

    /// Whether an entry wants a package of this name.
    pub(super) fn wants(&self, name: &PackageName) -> bool {
        let is_it = |entry: &Entry| matches!(&entry.wanted, Wanted::Package(wanted, _) if wanted == name);
        self.s.entries.iter().any(is_it)
    }

    fn act(&mut self, entry: &Entry, deed: Deed, afterwards: LedgerEntry) -> Standing {
        let was_absent = matches!(self.s.observed.at(&entry.place), Ok(State::Absent));
        let (thing, wish) = (entry.thing(), entry.wish.clone());
        let action = Action { thing, wish, deed, afterwards: Some(afterwards), was_absent };
        // Failed until it works, also while it is tried again: what is told does not flap.
        self.begin(action).map_or(Standing::Pending, Standing::Failed)
    }

    /// Orders an action if it is due; why it did not work last time.
    fn begin(&mut self, action: Action) -> Option<Trouble> {
        let last = self.s.retries.last(&action.place().identity(), &action.wish, self.s.now);
        let waits = self.holds_installs && action.deed.is_by_installer();
        if !waits && last.is_none_or(|(_, due)| due) {
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
        (Wanted::Directory(path, attributes) | Wanted::File(path, _, attributes), Difference::Attributes(_)) => {
            Deed::SetAttributes(path.clone(), attributes.clone())
        }
        (Wanted::Directory(path, attributes), _) => Deed::CreateDirectory(path.clone(), attributes.clone()),
        (Wanted::File(path, source, attributes), _) => {
            Deed::WriteFile(path.clone(), source.clone(), attributes.clone())
        }
        (Wanted::Value(place, data), _) => Deed::SetValue(place.clone(), data.clone()),
        (Wanted::Package(name, installer), _) => Deed::Install(name.clone(), installer.clone()),
    }
}

fn waiting_for(holder: &Place, why: &str) -> Standing {
    let (reason, what) = match holder {
        Place::Key(_) => ("WaitingForKey", "registry key"),
        _ => ("WaitingForDirectory", "directory"),
    };
    Standing::Failed(Trouble::new(reason, format!("the {what} {holder} {why}")))
}
