//! Brings the machine to its desired state and keeps it there: on a new document, on contents that came, when
//! something failed is due, and every drift period. In and out over channels that hold the latest value each.
//! The deciding is done below, in [`super::converge`] and [`super::report`]; this is when.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    task::spawn_blocking,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    apply::CrashPoint,
    contents::Contents,
    converge::{Converger, Outcome},
    entries::{Entry, Wanted, entries},
    held::Held,
    host::{Host, HostError, Reason, Watch},
    plan::Standing,
    policy::Policy,
    report::{Known, report},
    retry::Trouble,
    services::{ServiceInputs, ServiceReports, release::to_come},
    store::{Store, StoreError},
};
use crate::model::{
    Artifact, Content, DesiredState, Digest, HostPath, NodeFacts, RegistryKey, Report, Revision, Service, Source,
};

/// Where the state loop meets the agent's other loops.
pub struct StateEnds {
    /// The document in force.
    pub desired: watch::Receiver<Option<Arc<Held>>>,
    /// Why a document is not in force that came or was kept.
    pub refused: watch::Receiver<Option<String>>,
    /// Told when a content or an artifact has come.
    pub arrived: Arc<Notify>,
    /// Artifacts that cannot be had.
    pub failing: watch::Receiver<Arc<BTreeMap<Digest, Trouble>>>,
    /// What the node itself allows, asked at each look.
    pub policy: ReadPolicy,
    /// What the supervisor says.
    pub services: watch::Receiver<Arc<ServiceReports>>,
    /// Contents that are lacking.
    pub wanted: watch::Sender<Vec<Content>>,
    /// Artifacts that are lacking.
    pub artifacts: watch::Sender<Vec<Artifact>>,
    /// What the services should be.
    pub inputs: watch::Sender<Arc<ServiceInputs>>,
    /// How the node stands.
    pub report: watch::Sender<Arc<Report>>,
}

/// Reads the node's own policy. Blocks.
pub type ReadPolicy = Arc<dyn Fn() -> Policy + Send + Sync>;

/// A change that is done within this time is told once, when it is done.
const TELL_OF_PROGRESS_AFTER: Duration = Duration::from_millis(500);
/// Values of one program are often set together, and some programs set theirs without end.
const CHANGES_SETTLE: Duration = Duration::from_secs(1);
/// What is under way when the agent is told to end gets this long. The installer of its own next version waits 30 s for
/// it, and whoever stops it by hand three times that.
const FINISH_WITHIN: Duration = Duration::from_secs(20);
/// After the store could not be written.
const STORE_RETRY: Duration = Duration::from_secs(5);

/// The state loop and what it knows.
pub struct StateLoop {
    /// `None` only while a pass has it.
    converger: Option<Converger>,
    host: Arc<dyn Host>,
    /// Told when somebody changes a value of the registry that the document names, as long as `watch` is kept.
    changed: Arc<Notify>,
    watch: Watch,
    store: Arc<dyn Store>,
    contents: Arc<dyn Contents>,
    facts: NodeFacts,
    drift_period: Duration,
    /// As it was read last.
    policy: Arc<Policy>,
    /// Services of the document that it refuses, by `ServiceName::identity`.
    refused: BTreeMap<String, HostError>,
    ends: StateEnds,
    started: Instant,
    held: Option<Arc<Held>>,
    outcome: Option<Outcome>,
    applied: Option<Revision>,
    damage: Option<String>,
    unwritable: Option<String>,
    /// Files in use that services are about to let go.
    to_come: BTreeSet<HostPath>,
    /// The document after which contents were discarded.
    discarded_for: Option<Digest>,
    /// Since when something is under way that was not told yet.
    progressing_since: Option<Instant>,
}

impl StateLoop {
    /// Settles what a crash left unsettled.
    pub async fn open(
        host: Arc<dyn Host>,
        store: Arc<dyn Store>,
        contents: Arc<dyn Contents>,
        crash: Arc<CrashPoint>,
        facts: NodeFacts,
        drift_period: Duration,
        ends: StateEnds,
    ) -> Result<Self, StoreError> {
        let applied = store.applied()?.and_then(|text| Revision::parse(&text).ok());
        let damage = store.damage();
        if let Some(what) = &damage {
            error!(what, "StoreDamaged");
        }
        let (opened, kept, held, read) = (host.clone(), store.clone(), contents.clone(), ends.policy.clone());
        let opening = move || {
            let policy = Arc::new(read());
            Ok((Converger::open(opened, kept, held, crash, policy.clone())?, policy))
        };
        let (converger, policy) = blocking(opening).await?;
        tell_of(&policy);
        Ok(Self {
            converger: Some(converger),
            host,
            changed: Arc::default(),
            watch: Watch::default(),
            store,
            contents,
            facts,
            drift_period,
            policy,
            refused: BTreeMap::new(),
            ends,
            started: Instant::now(),
            held: None,
            outcome: None,
            applied,
            damage,
            unwritable: None,
            to_come: BTreeSet::new(),
            discarded_for: None,
            progressing_since: None,
        })
    }

    /// Runs until `shutdown`. A step that was begun is finished, unless it takes long, as an installer may: then it is
    /// left to itself, and the journal has the next agent look what became of it.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut look_at = Instant::now();
        while !shutdown.is_cancelled() {
            if look_at <= Instant::now() {
                let Some(again_at) = self.look(&shutdown).await else { return };
                look_at = again_at;
            }
            self.tell();
            if self.let_go() {
                look_at = Instant::now();
                continue;
            }
            let tell_at = self.progressing_since.map(|since| since + TELL_OF_PROGRESS_AFTER);
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = self.ends.desired.changed() => match changed {
                    Ok(()) => look_at = Instant::now(),
                    Err(_) => return,
                },
                () = self.ends.arrived.notified() => look_at = Instant::now(),
                changed = self.ends.failing.changed() => match changed {
                    Ok(()) => look_at = Instant::now(),
                    Err(_) => return,
                },
                changed = self.ends.refused.changed() => if changed.is_err() { return },
                () = self.changed.notified() => look_at = look_at.min(Instant::now() + CHANGES_SETTLE),
                changed = self.ends.services.changed() => if changed.is_err() { return },
                () = sleep_until(look_at) => {}
                () = sleep_until(tell_at.unwrap_or(look_at)), if tell_at.is_some() => {}
            }
        }
    }

    /// One pass; when to look again. `None` if it was left to itself.
    async fn look(&mut self, shutdown: &CancellationToken) -> Option<Instant> {
        let held = self.ends.desired.borrow_and_update().clone();
        if held.as_ref().map(|h| h.digest) != self.held.as_ref().map(|h| h.digest) {
            self.outcome = None;
            if let Some(held) = &held {
                info!(revision = %held.revision, "holding");
            }
        }
        self.held = held.clone();
        let failing = self.ends.failing.borrow_and_update().clone();
        self.want(held.as_deref());
        self.tell();
        let ended = self.pass(held, failing, shutdown).await?;
        Some(match ended {
            Ok(outcome) => {
                self.unwritable = None;
                if let Some(outcome) = outcome.as_ref().filter(|outcome| outcome.begun > 0) {
                    info!(actions = outcome.begun, finished = outcome.finished, "carried out");
                }
                let due = outcome.as_ref().and_then(|outcome| outcome.due);
                let finished = outcome.as_ref().is_none_or(|outcome| outcome.finished);
                self.outcome = outcome;
                self.instruct();
                self.want(self.held.clone().as_deref());
                if !finished {
                    return Some(Instant::now());
                }
                self.discard_contents();
                let drift = Instant::now() + self.drift_period;
                due.map_or(drift, |due| drift.min(self.started + due))
            }
            Err(error) => {
                error!(%error, "nothing can be journaled, so nothing is changed");
                self.unwritable = Some(error.to_string());
                self.to_come = BTreeSet::new();
                Instant::now() + STORE_RETRY
            }
        })
    }

    async fn pass(
        &mut self,
        held: Option<Arc<Held>>,
        failing: Arc<BTreeMap<Digest, Trouble>>,
        shutdown: &CancellationToken,
    ) -> Option<Result<Option<Outcome>, StoreError>> {
        let Some(mut converger) = self.converger.take() else {
            return Some(Err(StoreError("the last pass did not come back".to_owned())));
        };
        let now = self.started.elapsed();
        let (read_policy, before) = (self.ends.policy.clone(), self.policy.clone());
        let stop = Arc::new(AtomicBool::new(false));
        let store = self.store.clone();
        let told = stop.clone();
        let (host, changed, watched) = (self.host.clone(), self.changed.clone(), std::mem::take(&mut self.watch));
        let mut work = spawn_blocking(move || {
            watched.end();
            let policy = Some(read_policy()).filter(|policy| *policy != *before).map_or(before, |policy| {
                let policy = Arc::new(policy);
                tell_of(&policy);
                converger.set_policy(policy.clone());
                policy
            });
            let refused = held.as_deref().map(|held| refused(&held.document, &policy, &*host)).unwrap_or_default();
            // Before the first look, so that no change falls between.
            let keys = held.as_deref().map(|held| keys(&held.document)).unwrap_or_default();
            let mut watch = host.watch(&keys, changed.clone());
            let ended = match held {
                Some(held) if held.document.suspended || !held.lacking().is_empty() || policy.unusable().is_some() => {
                    converger.survey(&held.document, now).map(Some)
                }
                Some(held) => converger.pass(&held.document, &failing, now, &|| told.load(Ordering::Relaxed)).map(Some),
                None => store.released().and_then(
                    |released| {
                        if released { converger.release().map(|()| None) } else { Ok(None) }
                    },
                ),
            };
            if matches!(&ended, Ok(Some(outcome)) if outcome.begun > 0) {
                // Keys may be there now that were not.
                watch.end();
                watch = host.watch(&keys, changed);
            }
            (converger, watch, ended, policy, refused)
        });
        let out_of_time = async {
            shutdown.cancelled().await;
            stop.store(true, Ordering::Relaxed);
            sleep(FINISH_WITHIN).await;
        };
        tokio::pin!(out_of_time);
        let ended = loop {
            let stopping = stop.load(Ordering::Relaxed);
            tokio::select! {
                ended = &mut work => break ended,
                () = &mut out_of_time => {
                    warn!("what is under way goes on without the agent, which looks what became of it when it starts");
                    return None;
                }
                // A newer document replaces this one at once, between two actions.
                changed = self.ends.desired.changed(), if !stopping => {
                    stop.store(true, Ordering::Relaxed);
                    if changed.is_ok() {
                        self.ends.desired.mark_changed();
                    }
                }
            }
        };
        Some(match ended {
            Ok((converger, watch, ended, policy, refused)) => {
                self.converger = Some(converger);
                self.tell_refused(&refused);
                (self.watch, self.policy, self.refused) = (watch, policy, refused);
                ended
            }
            Err(error) => Err(StoreError(error.to_string())),
        })
    }

    /// Once for each refusal.
    fn tell_refused(&self, refused: &BTreeMap<String, HostError>) {
        for (service, HostError { message, .. }) in
            refused.iter().filter(|(id, why)| self.refused.get(*id) != Some(why))
        {
            warn!(service, message, "is not allowed");
        }
    }

    /// Says which contents and artifacts are lacking.
    fn want(&self, held: Option<&Held>) {
        let mut contents: BTreeMap<Digest, Content> = BTreeMap::new();
        let mut artifacts: BTreeMap<Digest, Artifact> = BTreeMap::new();
        let active = held.filter(|held| held.lacking().is_empty());
        for file in active.iter().flat_map(|held| &held.document.files) {
            let digest = file.source.digest();
            if self.contents.has(&digest) {
                continue;
            }
            match &file.source {
                // Also where the file is in place: it may be put back without a network one day.
                Source::Content(content) => drop(contents.insert(digest, content.clone())),
                // These may be large: only where the file is not in place.
                Source::Artifact(artifact) if self.needs(&digest) => drop(artifacts.insert(digest, artifact.clone())),
                Source::Artifact(_) => {}
            }
        }
        for password in active.iter().flat_map(|held| &held.document.services).filter_map(|s| s.password.as_ref()) {
            if !self.contents.has(&password.digest) {
                contents.insert(password.digest, password.clone());
            }
        }
        for package in active.iter().flat_map(|held| &held.document.packages) {
            let artifact = package.installer.artifact();
            if !self.contents.has(&artifact.sha256) && self.needs(&artifact.sha256) {
                artifacts.insert(artifact.sha256, artifact.clone());
            }
        }
        replace(&self.ends.wanted, contents.into_values().collect());
        replace(&self.ends.artifacts, artifacts.into_values().collect());
    }

    /// Whether something is yet to be made of these contents, as far as the last pass saw.
    fn needs(&self, digest: &Digest) -> bool {
        let Some(outcome) = &self.outcome else { return false };
        outcome.entries.iter().zip(&outcome.plan.standings).any(|(entry, standing)| {
            let is_to_come = match standing {
                Standing::Pending => true,
                Standing::Failed(trouble) => trouble.reason != Reason::DeniedByLocalPolicy.as_str(),
                Standing::InPlace | Standing::Drifted(_) => false,
            };
            entry.content() == Some(*digest) && is_to_come
        })
    }

    /// Tells the supervisor what the services should be.
    fn instruct(&mut self) {
        self.to_come = BTreeSet::new();
        let Some(held) = &self.held else {
            self.send_inputs(ServiceInputs::default());
            return;
        };
        let Some(outcome) = &self.outcome else { return };
        let mut files_in_place = BTreeMap::new();
        let mut files = BTreeSet::new();
        for (entry, standing) in outcome.entries.iter().zip(&outcome.plan.standings) {
            let Wanted::File(path, source, _) = &entry.wanted else { continue };
            files.insert(path.clone());
            // What differs under Audit is left so: no service waits for it.
            if matches!(standing, Standing::InPlace | Standing::Drifted(_)) {
                files_in_place.insert(path.clone(), source.digest());
            }
        }
        let files_to_release: BTreeSet<HostPath> = outcome.files_in_use().cloned().collect();
        let services = &held.document.services;
        self.to_come = to_come(files_to_release.clone(), services, &self.ends.services.borrow());
        self.send_inputs(ServiceInputs {
            number: 0,
            known: held.lacking().is_empty(),
            suspended: held.document.suspended,
            services: held.document.services.clone(),
            files_in_place,
            files,
            files_to_release,
            policy: self.policy.clone(),
            refused: self.refused.clone(),
        });
    }

    /// Whether files that could not be replaced may have been let go.
    fn let_go(&mut self) -> bool {
        let Some(held) = self.held.as_ref().filter(|_| !self.to_come.is_empty()) else { return false };
        let still = to_come(self.to_come.clone(), &held.document.services, &self.ends.services.borrow());
        let has = still.len() < self.to_come.len();
        if let Some(converger) = self.converger.as_mut().filter(|_| has) {
            converger.retry_files_in_use();
        }
        has
    }

    fn send_inputs(&self, inputs: ServiceInputs) {
        self.ends.inputs.send_if_modified(|before| {
            let number = before.number;
            let differs = **before != ServiceInputs { number, ..inputs.clone() };
            if differs || number == 0 {
                *before = Arc::new(ServiceInputs { number: number + 1, ..inputs });
                return true;
            }
            false
        });
    }

    /// Reports where it differs from what was reported. That something is under way waits a moment: most
    /// changes are done by then, and cost one report.
    fn tell(&mut self) {
        let inputs = self.ends.inputs.borrow().clone();
        let services = self.ends.services.borrow_and_update().clone();
        let refused = self.ends.refused.borrow_and_update().clone();
        let revision = self.held.as_ref().map(|held| held.revision.clone());
        if self.applied != revision && self.known(&inputs, &services, refused.as_deref()).is_carried_out() {
            self.keep_applied(revision);
        }
        let report = report(&self.known(&inputs, &services, refused.as_deref()));
        if report.progressing {
            let since = *self.progressing_since.get_or_insert_with(Instant::now);
            let told = self.ends.report.borrow().progressing;
            if !told && since.elapsed() < TELL_OF_PROGRESS_AFTER {
                return;
            }
        }
        self.progressing_since = None;
        self.ends.report.send_if_modified(|before| {
            let differs = **before != report;
            if differs {
                *before = Arc::new(report);
            }
            differs
        });
    }

    fn known<'k>(
        &'k self,
        inputs: &'k ServiceInputs,
        services: &'k ServiceReports,
        refused: Option<&'k str>,
    ) -> Known<'k> {
        Known {
            held: self.held.as_deref(),
            outcome: self.outcome.as_ref(),
            inputs,
            services,
            to_come: &self.to_come,
            applied: self.applied.as_ref(),
            facts: &self.facts,
            refused,
            policy: &self.policy,
            damage: self.damage.as_deref(),
            unwritable: self.unwritable.as_deref(),
        }
    }

    fn keep_applied(&mut self, revision: Option<Revision>) {
        if let Err(error) = self.store.set_applied(revision.as_ref().map(Revision::as_str)) {
            error!(%error, "cannot keep that the revision is applied");
        }
        if let Some(revision) = &revision {
            info!(%revision, "applied");
        }
        self.applied = revision;
    }

    /// Contents that the document does not name are not needed any more: once for each document.
    fn discard_contents(&mut self) {
        let Some(held) = self.held.as_ref().filter(|held| self.discarded_for != Some(held.digest)) else { return };
        let mut keep: HashSet<Digest> = entries(&held.document).iter().filter_map(Entry::content).collect();
        keep.extend(held.document.services.iter().filter_map(|s| s.password.as_ref()).map(|password| password.digest));
        keep.insert(held.digest);
        match self.contents.retain(&keep) {
            Ok(()) => self.discarded_for = Some(held.digest),
            Err(error) => warn!(%error, "cannot discard contents that are no longer needed"),
        }
    }
}

/// Services of the document that the policy does not allow, and why.
fn refused(document: &DesiredState, policy: &Policy, host: &dyn Host) -> BTreeMap<String, HostError> {
    if policy.unusable().is_some() {
        return BTreeMap::new();
    }
    let check = |service: &Service| policy.check_service(service, &host.runs_as(service)).err();
    let refused = document.services.iter().filter_map(|s| Some((s.name.identity(), check(s)?.into())));
    refused.collect()
}

fn tell_of(policy: &Policy) {
    match policy {
        Policy::InForce(rules) => info!(file = rules.file, given = rules.is_given, "the local policy is in force"),
        Policy::Unusable(why) => error!(why, "the local policy cannot be used, so nothing is changed"),
        Policy::Unrestricted => {}
    }
}

/// Keys of the registry that hold what the document names.
fn keys(document: &DesiredState) -> Vec<RegistryKey> {
    let keys: BTreeSet<RegistryKey> = document.registry_values.iter().map(|value| value.place.holder()).collect();
    keys.into_iter().collect()
}

fn replace<T: PartialEq>(sender: &watch::Sender<Vec<T>>, value: Vec<T>) {
    sender.send_if_modified(|before| {
        let differs = *before != value;
        if differs {
            *before = value;
        }
        differs
    });
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    spawn_blocking(work).await.map_err(|e| StoreError(e.to_string()))?
}
