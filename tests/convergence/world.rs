//! A machine, an agent on it, and other people: what happens to them, and what must be true in the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use proptest::{prop_assert, prop_assert_eq, test_runner::TestCaseError};
use windlass::{
    agent::{
        apply::CrashPoint,
        contents::Contents,
        converge::{Converger, Outcome},
        entries::{Wanted, entries},
        host::memory::{MemoryHost, MemoryNode},
        place::Place,
        plan::Standing,
        policy::Policy,
        store::{
            JournalEntry, KeptDocument, LedgerEntry, MemoryContents, MemoryStore, Origin, ServiceRecord, Store,
            StoreError, Voucher,
        },
    },
    model::{DesiredState, Detect, Digest, HostPath, Installer, Platform, RegistryPlace, View},
};

use super::BYTES;

/// Something that happens.
#[derive(Debug, Clone)]
pub enum Event {
    /// The operator delivers a document.
    Desired(DesiredState),
    /// The agent starts, and everything is cut off after so many durable steps.
    Crash(u32),
    /// The agent, running or started, makes a pass.
    Pass,
    /// Contents come no more.
    Disconnect,
    /// Contents come.
    Connect,
    /// Somebody else puts something there, or removes what is there.
    Other(Place, Option<MemoryNode>),
    /// A service runs whose program this file is: until it stops, the file can neither be replaced nor removed.
    Run(HostPath),
}

/// The machine, the agent's durable state, and what is remembered for judging.
pub struct World {
    host: Arc<MemoryHost>,
    store: Arc<MemoryStore>,
    contents: Arc<MemoryContents>,
    agent: Option<Converger>,
    desired: DesiredState,
    connected: bool,
    now: Duration,
    /// What somebody else made where the agent owned nothing, and has not removed since; by identity.
    foreign: BTreeMap<String, MemoryNode>,
    /// Wherever somebody else ever did something, and above.
    touched: BTreeSet<String>,
    /// Whatever stood in a document.
    named: BTreeSet<String>,
    /// Programs of services that run.
    running: Arc<Mutex<BTreeSet<String>>>,
}

impl Default for World {
    fn default() -> Self {
        let (host, running) = (Arc::new(MemoryHost::default()), Arc::new(Mutex::new(BTreeSet::new())));
        let programs = running.clone();
        host.set_in_use(move |path| programs.lock().expect("lock").contains(&path.identity()));
        // As on every machine.
        let software = software();
        host.put_at(&software, Some(MemoryNode::Key));
        Self {
            host,
            store: Arc::default(),
            contents: Arc::default(),
            agent: None,
            desired: DesiredState::default(),
            connected: false,
            now: Duration::ZERO,
            foreign: BTreeMap::new(),
            touched: [software.identity()].into(),
            named: BTreeSet::new(),
            running,
        }
    }
}

fn software() -> Place {
    Place::Key(RegistryPlace::parse(r"HKLM\SOFTWARE", "", View::Bits64).expect("place").holder())
}

impl World {
    /// Lets it happen.
    pub fn happens(&mut self, event: Event) {
        match event {
            Event::Desired(desired) => {
                self.named.extend(entries(&desired).into_iter().map(|entry| entry.identity));
                self.desired = desired;
            }
            Event::Crash(steps) => drop(self.crash_at(steps)),
            Event::Pass => drop(self.pass()),
            Event::Disconnect => self.connected = false,
            Event::Connect => self.connected = true,
            Event::Other(place, node) => self.somebody_puts(&place, node),
            Event::Run(path) => drop(self.running.lock().expect("lock").insert(path.identity())),
        }
    }

    /// Starts the agent and cuts everything off after so many durable steps; whether it came to that.
    pub fn crash_at(&mut self, steps: u32) -> bool {
        self.agent = None;
        self.host.fuse().light(steps);
        let _ = self.pass();
        let blown = self.host.fuse().is_blown();
        self.host.fuse().put_out();
        self.agent = None;
        blown
    }

    /// Passes with time between them, until nothing is left to do.
    pub fn comes_to_rest(&mut self) {
        for _ in 0..20 {
            let before = (self.host.everything(), self.store.ledger());
            let outcome = self.pass().expect("the store works");
            self.now += Duration::from_secs(60);
            self.stop_what_holds_files(&outcome);
            let pending = outcome.plan.standings.contains(&Standing::Pending);
            if outcome.finished && !pending && before == (self.host.everything(), self.store.ledger()) {
                return;
            }
        }
        panic!("it never comes to rest: {:?}", self.pass());
    }

    fn pass(&mut self) -> Result<Outcome, StoreError> {
        if self.connected {
            self.fetch();
        }
        self.now += Duration::from_millis(100);
        if self.agent.is_none() {
            let store = Arc::new(FusedStore { store: self.store.clone(), host: self.host.clone() });
            let crash = Arc::new(CrashPoint::default());
            self.agent = Some(Converger::open(
                self.host.clone(),
                store,
                self.contents.clone(),
                crash,
                Arc::new(Policy::Unrestricted),
            )?);
        }
        let agent = self.agent.as_mut().expect("started");
        agent.pass(&self.desired, &BTreeMap::new(), self.now, &|| false)
    }

    /// As the supervisor does it: who names a file that is to be replaced, or is gone with it.
    fn stop_what_holds_files(&self, outcome: &Outcome) {
        let mut running = self.running.lock().expect("lock");
        for path in outcome.files_in_use() {
            running.remove(&path.identity());
        }
        for (thing, standing) in &outcome.plan.leftovers {
            if matches!(standing, Standing::Failed(trouble) if trouble.reason == "InUse") {
                running.remove(&thing.place().identity());
            }
        }
    }

    fn fetch(&self) {
        let of_files = self.desired.files.iter().map(|file| (file.source.digest(), file.source.salt()));
        let of_packages = self.desired.packages.iter().map(|package| (package.installer.artifact().sha256, None));
        for (digest, salt) in of_files.chain(of_packages) {
            if self.contents.has(&digest) {
                continue;
            }
            let bytes = BYTES.iter().find(|bytes| Digest::of_salted(salt, bytes) == digest).expect("one of them");
            self.contents.append(&digest, 0, bytes).expect("append");
            assert_eq!(self.contents.finish(&digest, salt), Ok(Ok(())));
        }
    }

    fn somebody_puts(&mut self, place: &Place, node: Option<MemoryNode>) {
        let tree = self.host.everything();
        let holds = |p: Place| matches!(tree.get(&p.identity()), Some(MemoryNode::Directory(_) | MemoryNode::Key));
        if !place.above().all(holds) || self.running.lock().expect("lock").contains(&place.identity()) {
            return;
        }
        self.host.put_at(place, None);
        let (itself, below) = (place.identity(), place.identity_below());
        self.foreign.retain(|key, _| *key != itself && !key.starts_with(&below));
        // What lay below has gone with it.
        self.touched.extend(tree.into_keys().filter(|key| key.starts_with(&below)));
        self.touched.insert(itself.clone());
        self.touched.extend(place.above().map(|above| above.identity()));
        let Some(node) = node else { return };
        self.host.put_at(place, Some(node.clone()));
        let owned = self
            .store
            .ledger()
            .expect("ledger")
            .into_iter()
            .any(|(identity, entry)| identity == itself && entry.origin == Origin::Created);
        let journaled =
            self.store.journal().expect("journal").is_some_and(|j| j.entry.thing.place().identity() == itself);
        if !owned && !journaled {
            self.foreign.insert(itself, node);
        }
    }

    /// Every entry is in place, but where somebody else's thing is in the way or Audit leaves a difference.
    pub fn is_as_desired(&mut self) -> Result<(), TestCaseError> {
        let outcome = self.pass().expect("the store works");
        let tree = self.host.everything();
        for (entry, standing) in outcome.entries.iter().zip(&outcome.plan.standings) {
            let meddled = |p: Place| self.touched.contains(&p.identity());
            let meddled = meddled(entry.place.clone()) || entry.place.above().any(meddled);
            match standing {
                Standing::InPlace => {}
                Standing::Drifted(_) | Standing::Failed(_) if meddled => continue,
                other => prop_assert!(false, "{}: {other:?}", entry.thing()),
            }
            let there = tree.get(&entry.identity);
            match (&entry.wanted, there) {
                (Wanted::Directory(_, attributes), Some(MemoryNode::Directory(ownership))) => {
                    prop_assert!(attributes.mode.is_none_or(|mode| mode.bits() == ownership.mode));
                }
                (Wanted::File(path, source, attributes), Some(MemoryNode::File(bytes, ownership))) => {
                    prop_assert_eq!(Digest::of_salted(source.salt(), bytes), source.digest());
                    prop_assert!(attributes.mode.is_none_or(|mode| mode.bits() == ownership.mode));
                    prop_assert!(attributes.owner.as_ref().is_none_or(|owner| *owner == ownership.owner));
                    let is_open = path.platform() == Platform::Posix && ownership.mode & 0o077 != 0;
                    prop_assert!(!source.is_secret() || !is_open || attributes.mode.is_some());
                }
                (Wanted::Value(_, data), Some(MemoryNode::Value(found))) => prop_assert_eq!(found, data),
                (Wanted::Package(_, Installer::Msi { version, .. }), Some(MemoryNode::Product(found))) => {
                    // What does not tell its version is taken for what is wanted.
                    prop_assert!(found.is_none_or(|found| found == *version));
                }
                (Wanted::Package(_, Installer::Exe { detect, .. }), None) => {
                    prop_assert!(tree.contains_key(&detected_at(detect).identity()));
                }
                other => prop_assert!(false, "{}: {other:?}", entry.thing()),
            }
        }
        Ok(())
    }

    /// Neither in this agent nor in one that starts anew.
    pub fn a_second_pass_does_nothing(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..2 {
            let outcome = self.pass().expect("the store works");
            // Failures are tried again once due, and only those.
            let due = outcome.plan.standings.iter().any(|s| matches!(s, Standing::Failed(_)));
            prop_assert!(outcome.begun == 0 || due, "{outcome:?}");
            self.agent = None;
        }
        Ok(())
    }

    /// What others made and no document named is as it was; what a document named is at least still there.
    pub fn what_others_made_is_there(&self) -> Result<(), TestCaseError> {
        let tree = self.host.everything();
        for (identity, node) in &self.foreign {
            if self.named.contains(identity) {
                prop_assert!(tree.contains_key(identity), "{identity} was adopted and is gone");
            } else {
                prop_assert_eq!(tree.get(identity), Some(node), "{} was changed", identity);
            }
        }
        Ok(())
    }

    /// Whatever the agent made is still wanted, or others have laid hands on it.
    pub fn nothing_is_left_behind(&self) -> Result<(), TestCaseError> {
        let mut wanted = BTreeSet::new();
        for entry in entries(&self.desired) {
            let mut places = vec![entry.place.clone()];
            if let Wanted::Package(_, Installer::Exe { detect, .. }) = &entry.wanted {
                places.push(detected_at(detect));
            }
            let above: Vec<Place> = places.iter().flat_map(Place::above).collect();
            wanted.extend(places.iter().chain(&above).map(Place::identity));
        }
        for identity in self.host.everything().keys() {
            prop_assert!(!identity.contains(".windlass-"), "{identity} is left of an interrupted write");
            prop_assert!(wanted.contains(identity) || self.touched.contains(identity), "{identity} is left behind");
        }
        let ledger = self.store.ledger().expect("ledger");
        for (identity, _) in &ledger {
            prop_assert!(wanted.contains(identity) || self.touched.contains(identity), "{identity} is still managed");
        }
        Ok(())
    }

    /// With nothing desired any more, all that the agent made goes, and nothing else.
    pub fn leaves_as_it_came(&mut self) -> Result<(), TestCaseError> {
        self.happens(Event::Desired(DesiredState::default()));
        self.comes_to_rest();
        self.what_others_made_is_there()?;
        self.nothing_is_left_behind()
    }

    /// No file is half of one document and half of another: each is as one of the two says, whole.
    pub fn every_file_is_of(&self, first: &DesiredState, second: &DesiredState) -> Result<(), TestCaseError> {
        for (identity, node) in self.host.everything() {
            let MemoryNode::File(bytes, _) = node else { continue };
            if identity.contains(".windlass-") {
                continue;
            }
            let of = |desired: &DesiredState| {
                desired.files.iter().any(|file| {
                    file.path.identity() == identity
                        && Digest::of_salted(file.source.salt(), &bytes) == file.source.digest()
                })
            };
            prop_assert!(of(first) || of(second), "{identity} is of neither document");
        }
        Ok(())
    }
}

fn detected_at(detect: &Detect) -> Place {
    match detect {
        Detect::RegistryValue { place, .. } => Place::Value(place.clone()),
        Detect::File { path } => path.into(),
    }
}

/// A store on the same fuse as the machine: what is not durable before the crash is not durable at all.
struct FusedStore {
    store: Arc<MemoryStore>,
    host: Arc<MemoryHost>,
}

impl FusedStore {
    fn step(&self) -> Result<(), StoreError> {
        if self.host.fuse().step() { Ok(()) } else { Err(StoreError("cut off".into())) }
    }
}

impl Store for FusedStore {
    fn last_session(&self) -> Result<u64, StoreError> {
        self.store.last_session()
    }
    fn set_last_session(&self, number: u64) -> Result<(), StoreError> {
        self.step()?;
        self.store.set_last_session(number)
    }
    fn desired(&self) -> Result<Option<KeptDocument>, StoreError> {
        self.store.desired()
    }
    fn set_desired(&self, document: Option<&KeptDocument>) -> Result<(), StoreError> {
        self.step()?;
        self.store.set_desired(document)
    }
    fn set_voucher(&self, voucher: &Voucher) -> Result<(), StoreError> {
        self.step()?;
        self.store.set_voucher(voucher)
    }
    fn applied(&self) -> Result<Option<String>, StoreError> {
        self.store.applied()
    }
    fn set_applied(&self, revision: Option<&str>) -> Result<(), StoreError> {
        self.step()?;
        self.store.set_applied(revision)
    }
    fn released(&self) -> Result<bool, StoreError> {
        self.store.released()
    }
    fn set_released(&self, released: bool) -> Result<(), StoreError> {
        self.step()?;
        self.store.set_released(released)
    }
    fn ledger(&self) -> Result<Vec<(String, LedgerEntry)>, StoreError> {
        self.store.ledger()
    }
    fn settle(&self, path: &str, entry: Option<&LedgerEntry>) -> Result<(), StoreError> {
        self.step()?;
        self.store.settle(path, entry)
    }
    fn journal(&self) -> Result<Option<JournalEntry>, StoreError> {
        self.store.journal()
    }
    fn set_journal(&self, entry: &JournalEntry) -> Result<(), StoreError> {
        self.step()?;
        self.store.set_journal(entry)
    }
    fn services(&self) -> Result<Vec<(String, ServiceRecord)>, StoreError> {
        self.store.services()
    }
    fn set_service(&self, name: &str, record: Option<&ServiceRecord>) -> Result<(), StoreError> {
        self.step()?;
        self.store.set_service(name, record)
    }
    fn damage(&self) -> Option<String> {
        self.store.damage()
    }
}
