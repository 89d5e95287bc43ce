//! Looks at everything that a document or the ledger names, and at what holds it. IO through the host;
//! decides nothing.

use std::collections::BTreeMap;

use super::{
    entries::{Entry, Wanted},
    host::{Host, HostError, PathState},
    place::Place,
    store::LedgerEntry,
};
use crate::model::Salt;

/// What was seen, by `Place::identity`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed(BTreeMap<String, Seen>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    look: Look,
    state: Result<PathState, HostError>,
}

/// Where and how something is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    place: Place,
    salt: Option<Salt>,
}

impl Look {
    fn take(self, host: &dyn Host) -> Seen {
        let state = look(host, &self.place, self.salt.as_ref());
        Seen { look: self, state }
    }
}

/// What lies there now.
pub fn look(host: &dyn Host, place: &Place, salt: Option<&Salt>) -> Result<PathState, HostError> {
    match place {
        Place::Path(path) => host.observe(path, salt),
    }
}

impl Observed {
    /// What lies there; a place that was not looked at is empty.
    pub fn at(&self, place: &Place) -> Result<&PathState, &HostError> {
        self.0.get(&place.identity()).map_or(Ok(&PathState::Absent), |seen| seen.state.as_ref())
    }

    /// Looks again at one place and at what lies below it.
    pub fn refresh(&mut self, host: &dyn Host, place: &Place) {
        let (itself, below) = (place.identity(), place.identity_below());
        for (_, seen) in self.0.iter_mut().filter(|(at, _)| **at == itself || at.starts_with(&below)) {
            *seen = seen.look.clone().take(host);
        }
    }
}

/// Looks at everything once.
pub fn observe(host: &dyn Host, entries: &[Entry], ledger: &BTreeMap<String, LedgerEntry>) -> Observed {
    let mut looks: BTreeMap<String, Look> = BTreeMap::new();
    for managed in ledger.values() {
        let place = managed.thing.place();
        looks.insert(place.identity(), Look { place, salt: None });
    }
    for entry in entries {
        let salt = match &entry.wanted {
            Wanted::File(_, source, _) => source.salt().copied(),
            Wanted::Directory(..) => None,
        };
        looks.insert(entry.identity.clone(), Look { place: entry.place.clone(), salt });
    }
    let named: Vec<Place> = looks.values().map(|look| look.place.clone()).collect();
    for above in named.iter().flat_map(Place::above) {
        looks.entry(above.identity()).or_insert(Look { place: above, salt: None });
    }
    Observed(looks.into_iter().map(|(identity, look)| (identity, look.take(host))).collect())
}
