//! The services of a node: started in dependency order, kept running, stopped in reverse.
//! In: the desired services and which of their files are in place. Out: one report per service.
//! Knows nothing of the tunnel or of how files come to be.

mod configuring;
pub mod fingerprint;
mod order;
mod pausing;
pub mod probe;
pub mod release;
mod report;
#[cfg(test)]
pub(crate) mod samples;
mod settle;
pub mod step;
pub mod supervise;
#[cfg(test)]
mod tests;
mod thresholds;
mod unit;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{host::HostError, policy::Policy};
use crate::model::{Digest, HostPath, Service, ServiceReport};

/// Time since the supervisor began.
pub type Moment = Duration;

/// What a probe decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProbeKind {
    /// Whether the service is ready.
    Readiness,
    /// Whether it is to be restarted.
    Liveness,
}

/// What the services should be now; each replaces the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceInputs {
    /// Counts these inputs up, so that [`ServiceReports::answers`] can say which of them were seen.
    pub number: u64,
    /// False until the first document is known: then nothing is started or stopped.
    pub known: bool,
    /// Change nothing, report only.
    pub suspended: bool,
    /// Desired services. One that runs and is not here any more is stopped and removed.
    pub services: Vec<Service>,
    /// Digests of the managed files that are in their desired state. A service waits while a file of the
    /// document that it names (in `restartOnChange` or as a word of its command) is not here.
    pub files_in_place: BTreeMap<HostPath, Digest>,
    /// All managed files of the document.
    pub files: BTreeSet<HostPath>,
    /// Those that cannot be replaced while programs use them: a service that names one stops, as far as it may be
    /// the one that does.
    pub files_to_release: BTreeSet<HostPath>,
    /// What the node itself allows. As long as it cannot be used, nothing is changed.
    pub policy: Arc<Policy>,
    /// Why a service of the document, by `ServiceName::identity`, is left as it is.
    pub refused: BTreeMap<String, HostError>,
}

impl ServiceInputs {
    /// Whether what runs is looked after, and no more.
    pub fn changes_nothing(&self) -> bool {
        self.suspended || self.policy.unusable().is_some()
    }
}

impl Default for ServiceInputs {
    fn default() -> Self {
        Self {
            number: 0,
            known: false,
            suspended: false,
            services: Vec::new(),
            files_in_place: BTreeMap::new(),
            files: BTreeSet::new(),
            files_to_release: BTreeSet::new(),
            policy: Arc::new(Policy::Unrestricted),
            refused: BTreeMap::new(),
        }
    }
}

/// What the services are doing, in answer to some inputs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceReports {
    /// [`ServiceInputs::number`] of the inputs that these reports have taken account of; 0 before the first.
    pub answers: u64,
    /// Whether every desired service was started (or found running) with its configuration and files as of
    /// those inputs, or is stopped where it should be, and those no longer desired are stopped. Readiness and
    /// later ends do not matter.
    pub carried_out: bool,
    /// One for each desired service, in order of the document.
    pub services: Vec<ServiceReport>,
    /// Services that are not desired any more and may not be removed: their names, and why not.
    pub leftovers: Vec<(String, HostError)>,
}
