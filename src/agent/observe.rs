//! Looks at everything that a document or the ledger names, and at the directories above. IO through the host;
//! decides nothing.

use std::collections::BTreeMap;

use super::{
    host::{Host, HostError, PathState},
    store::LedgerEntry,
};
use crate::model::{DesiredState, HostPath, Salt};

/// What was seen, by `HostPath::identity`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed(BTreeMap<String, Seen>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    path: HostPath,
    salt: Option<Salt>,
    state: Result<PathState, HostError>,
}

impl Observed {
    /// What lies there; a path that was not looked at is absent.
    pub fn at(&self, path: &HostPath) -> Result<&PathState, &HostError> {
        self.0.get(&path.identity()).map_or(Ok(&PathState::Absent), |seen| seen.state.as_ref())
    }

    /// Looks again at one path and at what lies below it.
    pub fn refresh(&mut self, host: &dyn Host, path: &HostPath) {
        for seen in self.0.values_mut().filter(|seen| seen.path == *path || seen.path.is_below(path)) {
            seen.state = host.observe(&seen.path, seen.salt.as_ref());
        }
    }
}

/// Looks at everything once.
pub fn observe(host: &dyn Host, desired: &DesiredState, ledger: &BTreeMap<String, LedgerEntry>) -> Observed {
    let mut paths: BTreeMap<String, (HostPath, Option<Salt>)> = BTreeMap::new();
    let owned = ledger.values().filter_map(|entry| HostPath::parse(&entry.path).ok());
    let directories = desired.directories.iter().map(|directory| directory.path.clone());
    for path in owned.chain(directories) {
        paths.insert(path.identity(), (path, None));
    }
    for file in &desired.files {
        paths.insert(file.path.identity(), (file.path.clone(), file.source.salt().copied()));
    }
    let named: Vec<HostPath> = paths.values().map(|(path, _)| path.clone()).collect();
    for path in named {
        let mut above = path.parent();
        while let Some(directory) = above {
            above = directory.parent();
            paths.entry(directory.identity()).or_insert((directory, None));
        }
    }
    let look = |(identity, (path, salt)): (String, (HostPath, Option<Salt>))| {
        let state = host.observe(&path, salt.as_ref());
        (identity, Seen { path, salt, state })
    };
    Observed(paths.into_iter().map(look).collect())
}
