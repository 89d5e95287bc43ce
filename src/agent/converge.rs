//! One node's way to its desired state: look, plan, carry out, until nothing is left to do. Blocks.
//! In: the document, the time, and what cannot be downloaded. Out: how everything stands.
//! Knows nothing of tasks, tunnels or reports.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tracing::{debug, warn};

use super::{
    apply::{CrashPoint, Ground, Undone, carry_out, recover},
    contents::Contents,
    entries::{Entry, Wanted, entries},
    host::{Host, Reason},
    observe::{Observed, observe},
    plan::{Availability, Deed, Plan, Situation, Standing, plan},
    policy::Policy,
    retry::{Retries, Trouble},
    store::{LedgerEntry, Store, StoreError},
};
use crate::model::{DesiredState, Digest, HostPath};

/// What the agent knows of its machine.
pub struct Converger {
    host: Arc<dyn Host>,
    store: Arc<dyn Store>,
    contents: Arc<dyn Contents>,
    crash: Arc<CrashPoint>,
    policy: Arc<Policy>,
    ledger: BTreeMap<String, LedgerEntry>,
    retries: Retries,
    /// An action was begun that could not be settled.
    unsettled: bool,
}

/// What was done in a pass: where, for what, and what; nothing where somebody else was there before it.
type Done = (String, String, Option<Deed>);

/// How everything stands after a pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What the document wants, but for services.
    pub entries: Vec<Entry>,
    /// How each stands, in the same order, and what could not be removed.
    pub plan: Plan,
    /// Actions that were begun.
    pub begun: usize,
    /// Nothing is left to do by now; false where the pass was told to stop.
    pub finished: bool,
    /// When something that failed is due, since the agent's start.
    pub due: Option<Duration>,
    /// The machine waits for a restart.
    pub restart_pending: bool,
}

impl Outcome {
    /// Files that cannot be replaced, as running programs use them: whoever runs those must stop them first.
    pub fn files_in_use(&self) -> impl Iterator<Item = &HostPath> {
        let standings = self.entries.iter().zip(&self.plan.standings);
        standings.filter_map(|(entry, standing)| match (&entry.wanted, standing) {
            (Wanted::File(path, ..), Standing::Failed(trouble)) if trouble.reason == Reason::InUse.as_str() => {
                Some(path)
            }
            _ => None,
        })
    }
}

impl Converger {
    /// Reads the ledger, and settles what a crash left unsettled.
    pub fn open(
        host: Arc<dyn Host>,
        store: Arc<dyn Store>,
        contents: Arc<dyn Contents>,
        crash: Arc<CrashPoint>,
        policy: Arc<Policy>,
    ) -> Result<Self, StoreError> {
        let ledger = store.ledger()?.into_iter().collect();
        let (retries, unsettled) = (Retries::default(), true);
        let mut converger = Self { host, store, contents, crash, policy, ledger, retries, unsettled };
        converger.settle()?;
        Ok(converger)
    }

    /// Brings the machine nearer to the document until nothing is left to do, or `stop` says so. It is asked
    /// between actions; one that installs a package takes minutes, in which neither a newer document nor drift is
    /// looked at. Running an installer beside the rest would not change that: until it has ended, nobody knows
    /// what it will leave.
    ///
    /// On an error nothing could be journaled, so nothing more was done.
    pub fn pass(
        &mut self,
        desired: &DesiredState,
        failing: &BTreeMap<Digest, Trouble>,
        now: Duration,
        stop: &dyn Fn() -> bool,
    ) -> Result<Outcome, StoreError> {
        self.settle()?;
        let entries = self.entries(desired);
        let contents = self.availability(&entries, failing);
        let mut observed = observe(self.host.as_ref(), &entries, &self.ledger);
        let mut begun = 0;
        let mut done: HashSet<Done> = HashSet::new();
        loop {
            let plan = self.plan(&entries, &observed, &contents, now)?;
            if plan.actions.is_empty() || stop() {
                let finished = plan.actions.is_empty();
                self.note_failures(&entries, &plan, now);
                let (due, restart_pending) = (self.retries.next(), self.host.restart_pending());
                return Ok(Outcome { entries, plan, begun, finished, due, restart_pending });
            }
            for action in &plan.actions {
                if stop() {
                    break;
                }
                let place = action.place();
                let identity = place.identity();
                let planned_on = observed.at(&place).cloned().map_err(Clone::clone);
                observed.refresh(self.host.as_ref(), &place);
                let is_as_planned = planned_on.as_ref() == observed.at(&place);
                let deed = is_as_planned.then(|| action.deed.clone());
                if !done.insert((identity.clone(), action.wish.clone(), deed.clone())) {
                    let message = format!("{place} changes while it is managed, and does not stay as it was made");
                    self.retries.failed(&identity, &action.wish, Trouble::new("DoesNotStay", message), now);
                    continue;
                }
                if deed.is_none() {
                    // Somebody else was here in the meantime: decide again.
                    break;
                }
                begun += 1;
                debug!(thing = %action.thing, deed = action.deed.word());
                let ground = ground(&self.host, &self.store, &self.contents, &self.policy, &self.crash);
                match carry_out(ground, &mut self.ledger, action) {
                    Ok(()) => self.retries.worked(&identity),
                    Err(Undone::Trouble(trouble)) => {
                        // Once for each trouble, not for each time it is tried again.
                        if self.retries.last(&identity, &action.wish, now).is_none_or(|(last, _)| *last != trouble) {
                            warn!(thing = %action.thing, reason = trouble.reason, trouble.message);
                        }
                        self.retries.failed(&identity, &action.wish, trouble, now);
                    }
                    Err(Undone::Store(error)) => {
                        self.unsettled = true;
                        return Err(error);
                    }
                }
                if action.deed.is_by_installer() {
                    // It may have changed whatever it liked: what it undid may be done once more. Minutes may have
                    // passed, so a newer document is asked for before anything else is begun.
                    observed = observe(self.host.as_ref(), &entries, &self.ledger);
                    done.retain(|(.., deed): &Done| deed.as_ref().is_some_and(Deed::is_by_installer));
                    break;
                }
                observed.refresh(self.host.as_ref(), &place);
            }
        }
    }

    /// What is allowed from now on. What was refused before is tried at once.
    pub fn set_policy(&mut self, policy: Arc<Policy>) {
        self.policy = policy;
        self.retries.hasten(Reason::DeniedByLocalPolicy);
    }

    /// Files in use may have been let go: they are tried again in the next pass.
    pub fn retry_files_in_use(&mut self) {
        self.retries.hasten(Reason::InUse);
    }

    /// How everything stands, without changing anything.
    pub fn survey(&mut self, desired: &DesiredState, now: Duration) -> Result<Outcome, StoreError> {
        self.settle()?;
        let entries = self.entries(desired);
        let contents = self.availability(&entries, &BTreeMap::new());
        let observed = observe(self.host.as_ref(), &entries, &self.ledger);
        let plan = self.plan(&entries, &observed, &contents, now)?;
        let restart_pending = self.host.restart_pending();
        Ok(Outcome { entries, plan, begun: 0, finished: true, due: None, restart_pending })
    }

    /// With attributes as this machine spells them, so that what is observed can be compared with them.
    fn entries(&self, desired: &DesiredState) -> Vec<Entry> {
        let mut entries = entries(desired);
        for entry in &mut entries {
            if let Wanted::Directory(_, attributes) | Wanted::File(_, _, attributes) = &mut entry.wanted {
                *attributes = self.host.spelled(attributes);
            }
        }
        entries
    }

    /// Forgets what is owned: the machine stays as it is, and nothing is managed any more.
    pub fn release(&mut self) -> Result<(), StoreError> {
        self.settle()?;
        while let Some((identity, _)) = self.ledger.first_key_value() {
            let identity = identity.clone();
            self.store.settle(&identity, None)?;
            self.ledger.remove(&identity);
        }
        self.retries = Retries::default();
        Ok(())
    }

    /// What is owned and adopted, by `Place::identity`.
    pub fn ledger(&self) -> &BTreeMap<String, LedgerEntry> {
        &self.ledger
    }

    fn plan(
        &self,
        entries: &[Entry],
        observed: &Observed,
        contents: &BTreeMap<Digest, Availability>,
        now: Duration,
    ) -> Result<Plan, StoreError> {
        let ledger_lost = self.store.damage().is_some() && self.store.applied()?.is_none();
        Ok(plan(&Situation {
            entries,
            observed,
            ledger: &self.ledger,
            ledger_lost,
            contents,
            policy: &self.policy,
            retries: &self.retries,
            now,
        }))
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        if self.unsettled {
            recover(ground(&self.host, &self.store, &self.contents, &self.policy, &self.crash), &mut self.ledger)?;
            self.unsettled = false;
        }
        Ok(())
    }

    fn availability(&self, entries: &[Entry], failing: &BTreeMap<Digest, Trouble>) -> BTreeMap<Digest, Availability> {
        let digests = entries.iter().filter_map(Entry::content);
        let known = digests.filter_map(|digest| {
            let failing = || failing.get(&digest).cloned().map(Availability::Failing);
            let held = self.contents.has(&digest).then_some(Availability::Held);
            Some((digest, held.or_else(failing)?))
        });
        known.collect()
    }

    /// What could not even be begun is due again later as well.
    fn note_failures(&mut self, entries: &[Entry], plan: &Plan, now: Duration) {
        let standing: BTreeMap<&str, &Standing> =
            entries.iter().map(|entry| entry.identity.as_str()).zip(&plan.standings).collect();
        let ledger = &self.ledger;
        let is_above = |key: &str| entries.iter().any(|entry| entry.identity.starts_with(key));
        self.retries.retain(|key| match standing.get(key) {
            Some(standing) => !matches!(standing, Standing::InPlace | Standing::Drifted(_)),
            None => ledger.contains_key(key) || is_above(key),
        });
        for (entry, standing) in entries.iter().zip(&plan.standings) {
            let Standing::Failed(trouble) = standing else { continue };
            let last = self.retries.last(&entry.identity, &entry.wish, now);
            let is_denied = trouble.reason == Reason::DeniedByLocalPolicy.as_str();
            if is_denied && last.is_none_or(|(last, _)| last != trouble) {
                warn!(thing = %entry.thing(), reason = trouble.reason, trouble.message);
            }
            if last.is_none_or(|(_, due)| due) {
                self.retries.failed(&entry.identity, &entry.wish, trouble.clone(), now);
            }
        }
    }
}

fn ground<'g>(
    host: &'g Arc<dyn Host>,
    store: &'g Arc<dyn Store>,
    contents: &'g Arc<dyn Contents>,
    policy: &'g Policy,
    crash: &'g CrashPoint,
) -> Ground<'g> {
    Ground { host: host.as_ref(), store: store.as_ref(), contents: contents.as_ref(), policy, crash }
}
