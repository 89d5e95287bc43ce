//! Looks at everything that a document or the ledger names, and at what holds it. IO through the host;
//! decides nothing.

use std::collections::BTreeMap;

use super::{
    entries::{Entry, Wanted},
    host::{Host, HostError, Ownership, PathState, ProductState, ValueState},
    place::{Place, Thing},
    product::Product,
    store::LedgerEntry,
};
use crate::model::{Digest, HostPath, MsiVersion, RegistryData, RegistryKey, RegistryPlace, Salt};

/// What lies at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Absent,
    /// A directory.
    Directory(Ownership),
    /// A regular file.
    File {
        /// SHA-256(salt ‖ bytes) with the salt that its entry has.
        digest: Digest,
        /// Whose.
        ownership: Ownership,
    },
    /// A link, device, socket or pipe; the word names it for people.
    Other(&'static str),
    /// A key of the registry.
    Key,
    /// A value of the registry.
    Value(RegistryData),
    /// A value of a type that no document names.
    OtherValue {
        /// Number of the type.
        kind: u32,
        /// How much it holds.
        bytes: usize,
    },
    /// An installed package.
    Package {
        /// Where the machine says it.
        version: Option<MsiVersion>,
    },
}

/// What was seen, by `Place::identity`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed(BTreeMap<String, Seen>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    look: Look,
    state: Result<State, HostError>,
}

/// Where and how something is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Look {
    Path(HostPath, Option<Salt>),
    Key(RegistryKey),
    Value(RegistryPlace),
    Package(Product),
}

impl Observed {
    /// What lies there; a place that was not looked at is empty.
    pub fn at(&self, place: &Place) -> Result<&State, &HostError> {
        self.0.get(&place.identity()).map_or(Ok(&State::Absent), |seen| seen.state.as_ref())
    }

    /// Looks again at one place and at what lies below it.
    pub fn refresh(&mut self, host: &dyn Host, place: &Place) {
        let (itself, below) = (place.identity(), place.identity_below());
        for (_, seen) in self.0.iter_mut().filter(|(at, _)| **at == itself || at.starts_with(&below)) {
            seen.state = seen.look.take(host);
        }
    }
}

/// Looks at everything once.
pub fn observe(host: &dyn Host, entries: &[Entry], ledger: &BTreeMap<String, LedgerEntry>) -> Observed {
    let mut looks: BTreeMap<String, Look> = BTreeMap::new();
    for (identity, managed) in ledger {
        looks.insert(identity.clone(), Look::at(&managed.thing, None));
    }
    for entry in entries {
        let salt = match &entry.wanted {
            Wanted::File(_, source, _) => source.salt().copied(),
            Wanted::Directory(..) | Wanted::Value(..) | Wanted::Package(..) => None,
        };
        looks.insert(entry.identity.clone(), Look::at(&entry.thing(), salt));
    }
    let things = ledger.values().map(|managed| managed.thing.place());
    for holder in things.chain(entries.iter().map(|entry| entry.place.clone())).flat_map(|place| holders(&place)) {
        looks.entry(holder.0).or_insert(holder.1);
    }
    let look = |(identity, look): (String, Look)| (identity, Seen { state: look.take(host), look });
    Observed(looks.into_iter().map(look).collect())
}

/// What is there of one thing now; of a file, the digest with this salt.
pub fn look(host: &dyn Host, thing: &Thing, salt: Option<Salt>) -> Result<State, HostError> {
    Look::at(thing, salt).take(host)
}

fn holders(place: &Place) -> Vec<(String, Look)> {
    let look = |holder: Place| {
        let identity = holder.identity();
        match holder {
            Place::Path(path) => Some((identity, Look::Path(path, None))),
            Place::Key(key) => Some((identity, Look::Key(key))),
            // These hold nothing.
            Place::Value(_) | Place::Package(..) => None,
        }
    };
    place.above().filter_map(look).collect()
}

impl Look {
    fn at(thing: &Thing, salt: Option<Salt>) -> Self {
        match thing {
            Thing::Directory(path) | Thing::File(path) => Self::Path(path.clone(), salt),
            Thing::Key(key) => Self::Key(key.clone()),
            Thing::Value(place) => Self::Value(place.clone()),
            Thing::Package(_, product) => Self::Package(product.clone()),
        }
    }

    fn take(&self, host: &dyn Host) -> Result<State, HostError> {
        Ok(match self {
            Self::Path(path, salt) => match host.observe(path, salt.as_ref())? {
                PathState::Absent => State::Absent,
                PathState::Directory(ownership) => State::Directory(ownership),
                PathState::File { digest, ownership } => State::File { digest, ownership },
                PathState::Other(kind) => State::Other(kind),
            },
            Self::Key(key) if host.observe_key(key)? => State::Key,
            Self::Key(_) => State::Absent,
            Self::Value(place) => match host.observe_value(place)? {
                ValueState::Absent => State::Absent,
                ValueState::Holds(data) => State::Value(data),
                ValueState::Other { kind, bytes } => State::OtherValue { kind, bytes },
            },
            Self::Package(product) => match product.observe(host)? {
                ProductState::Absent => State::Absent,
                ProductState::Installed { version } => State::Package { version },
            },
        })
    }
}
