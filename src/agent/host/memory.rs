//! A machine in memory, for tests and simulations; held against the real ones by one suite of behaviours.
//! A fuse that burns down lets tests cut everything off at any step, as a crash would.

use std::{
    collections::BTreeMap,
    io::Read,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use tokio::sync::Notify;

use super::{
    Host, HostError, Ownership, PathState, ProductState, Reason, Removed, ValueState, Watch, interim_name,
    memory_installer::Installations,
};
use crate::{
    agent::{place::Place, product::Product},
    model::{
        Access, Attributes, Digest, HostPath, Installer, MsiVersion, NodeFacts, PackageName, ProductCode, RegistryData,
        RegistryKey, RegistryPlace, Salt,
    },
};

/// Directories, files, a registry and packages in memory, of either platform.
pub struct MemoryHost {
    facts: NodeFacts,
    features: &'static [&'static str],
    tree: Mutex<Tree>,
    fuse: Fuse,
    pub(super) installations: Mutex<Installations>,
    in_use: Mutex<Option<InUse>>,
    watched: Mutex<Option<Watched>>,
}

/// Everything there is, by `Place::identity`.
pub(super) type Tree = BTreeMap<String, MemoryNode>;
/// Identities of keys, and who is told of the first change in one.
type Watched = (Vec<String>, Arc<Notify>);
type InUse = Box<dyn Fn(&HostPath) -> bool + Send>;

/// What lies at a place of a [`MemoryHost`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemoryNode {
    /// A directory.
    Directory(Ownership),
    /// A file and its bytes.
    File(Vec<u8>, Ownership),
    /// A link.
    Link,
    /// A key of the registry.
    Key,
    /// A value of the registry.
    Value(RegistryData),
    /// A value of a type with this number, which no document names.
    OtherValue(u32),
    /// A product of Windows Installer.
    Product(Option<MsiVersion>),
}

/// Steps that are left before nothing works any more; without end unless lit.
#[derive(Debug)]
pub struct Fuse(AtomicI64);

impl Default for Fuse {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MAX))
    }
}

impl Fuse {
    /// After this many steps nothing works.
    pub fn light(&self, steps: u32) {
        self.0.store(i64::from(steps), Ordering::Relaxed);
    }

    /// Everything works again.
    pub fn put_out(&self) {
        self.0.store(i64::MAX, Ordering::Relaxed);
    }

    /// Whether it has burnt down.
    pub fn is_blown(&self) -> bool {
        self.0.load(Ordering::Relaxed) < 0
    }

    /// Takes one step; false once it has burnt down.
    pub fn step(&self) -> bool {
        self.0.fetch_sub(1, Ordering::Relaxed) > 0
    }
}

impl MemoryHost {
    /// An empty machine without features.
    pub fn new(facts: NodeFacts) -> Self {
        Self::with_features(facts, &[])
    }

    /// An empty machine with these features.
    pub fn with_features(facts: NodeFacts, features: &'static [&'static str]) -> Self {
        Self {
            facts,
            features,
            tree: Mutex::default(),
            fuse: Fuse::default(),
            installations: Mutex::default(),
            in_use: Mutex::default(),
            watched: Mutex::default(),
        }
    }

    /// Cuts this machine off at a step.
    pub fn fuse(&self) -> &Fuse {
        &self.fuse
    }

    /// Puts something at a path, as somebody other than the agent; `None` removes it and all below it.
    pub fn put(&self, path: &HostPath, node: Option<MemoryNode>) {
        self.put_at(&path.into(), node);
    }

    /// The same at any place.
    pub fn put_at(&self, place: &Place, node: Option<MemoryNode>) {
        let mut tree = self.tree();
        let (itself, below) = (place.identity(), place.identity_below());
        match node {
            Some(node) => drop(tree.insert(itself, node)),
            None => tree.retain(|key, _| *key != itself && !key.starts_with(&below)),
        }
        self.tell_of(place);
    }

    /// From now on, files of which this is true can neither be replaced nor removed, as those of running programs
    /// on Windows.
    pub fn set_in_use(&self, in_use: impl Fn(&HostPath) -> bool + Send + 'static) {
        *self.in_use.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(in_use));
    }

    /// Everything there is, by `Place::identity`.
    pub fn everything(&self) -> BTreeMap<String, MemoryNode> {
        self.tree().clone()
    }

    fn tell_of(&self, place: &Place) {
        let Place::Value(value) = place else { return };
        let holder = value.holder().identity();
        let told = self.watched().take_if(|(keys, _)| keys.contains(&holder));
        if let Some((_, told)) = told {
            told.notify_one();
        }
    }

    fn watched(&self) -> MutexGuard<'_, Option<Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expect_unused(&self, path: &HostPath) -> Result<(), HostError> {
        let in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        match in_use.as_ref() {
            Some(in_use) if in_use(path) => {
                Err(HostError::new(Reason::InUse, format!("{path}: a running program uses it")))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn step(&self) -> Result<(), HostError> {
        if self.fuse.step() { Ok(()) } else { Err(HostError::new(Reason::IoError, "the machine is cut off")) }
    }
}

impl std::fmt::Debug for MemoryHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryHost").field("tree", &self.tree()).finish_non_exhaustive()
    }
}

impl Default for MemoryHost {
    fn default() -> Self {
        Self::new(NodeFacts { os: "memory".to_owned(), ..NodeFacts::default() })
    }
}

impl Host for MemoryHost {
    fn facts(&self) -> NodeFacts {
        self.facts.clone()
    }

    fn features(&self) -> &'static [&'static str] {
        self.features
    }

    fn observe(&self, path: &HostPath, salt: Option<&Salt>) -> Result<PathState, HostError> {
        let tree = self.tree();
        if !parent_is_there(&tree, path)? {
            return Ok(PathState::Absent);
        }
        Ok(match tree.get(&path.identity()) {
            None => PathState::Absent,
            Some(MemoryNode::Directory(ownership)) => PathState::Directory(ownership.clone()),
            Some(MemoryNode::File(bytes, ownership)) => {
                PathState::File { digest: Digest::of_salted(salt, bytes), ownership: ownership.clone() }
            }
            Some(MemoryNode::Link) => PathState::Other("a link"),
            Some(other) => return Err(misplaced(path, other)),
        })
    }

    fn create_directory(&self, path: &HostPath, attributes: &Attributes) -> Result<(), HostError> {
        self.step()?;
        let mut tree = self.tree();
        expect_parent(&tree, path)?;
        if tree.contains_key(&path.identity()) {
            return Err(wrong_kind(path, "something is there, expected nothing"));
        }
        let ownership = apply(attributes, own(attributes.mode.map_or(0o755, |mode| mode.bits())))?;
        tree.insert(path.identity(), MemoryNode::Directory(ownership));
        Ok(())
    }

    fn write_file(
        &self,
        path: &HostPath,
        content: &mut dyn Read,
        attributes: &Attributes,
        secret: bool,
    ) -> Result<(), HostError> {
        self.step()?;
        let mut tree = self.tree();
        expect_parent(&tree, path)?;
        let before = match tree.get(&path.identity()) {
            None => None,
            Some(MemoryNode::File(_, ownership)) => Some(ownership.clone()),
            Some(_) => return Err(wrong_kind(path, "expected a file or nothing")),
        };
        self.expect_unused(path)?;
        let mode = match (attributes.mode, &before) {
            (Some(mode), _) => mode.bits(),
            (None, _) if secret => 0o600,
            (None, Some(ownership)) => ownership.mode & 0o777,
            (None, None) => 0o644,
        };
        let ownership = apply(attributes, Ownership { mode, ..before.unwrap_or_else(|| own(mode)) })?;
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(|e| HostError::new(Reason::IoError, format!("write {path}: {e}")))?;
        let file = MemoryNode::File(bytes, ownership);
        let interim = interim_of(path);
        tree.insert(interim.clone(), file.clone());
        self.step()?;
        tree.remove(&interim);
        tree.insert(path.identity(), file);
        Ok(())
    }

    fn discard_interrupted(&self, path: &HostPath) -> Result<(), HostError> {
        self.step()?;
        self.tree().remove(&interim_of(path));
        Ok(())
    }

    fn set_attributes(&self, path: &HostPath, attributes: &Attributes) -> Result<(), HostError> {
        self.step()?;
        let mut tree = self.tree();
        expect_parent(&tree, path)?;
        match tree.get_mut(&path.identity()) {
            Some(MemoryNode::Directory(ownership) | MemoryNode::File(_, ownership)) => {
                *ownership = apply(attributes, ownership.clone())?;
                Ok(())
            }
            Some(_) => Err(wrong_kind(path, "a link is in its place, expected a file or directory")),
            None => Err(HostError::new(Reason::IoError, format!("set attributes of {path}: it is not there"))),
        }
    }

    fn remove_file(&self, path: &HostPath) -> Result<(), HostError> {
        self.step()?;
        let mut tree = self.tree();
        if !parent_is_there(&tree, path)? {
            return Ok(());
        }
        if matches!(tree.get(&path.identity()), Some(MemoryNode::Directory(_))) {
            return Err(wrong_kind(path, "a directory is in its place, expected a file"));
        }
        self.expect_unused(path)?;
        tree.remove(&path.identity());
        tree.remove(&interim_of(path));
        Ok(())
    }

    fn remove_directory(&self, path: &HostPath) -> Result<Removed, HostError> {
        self.step()?;
        let mut tree = self.tree();
        if !parent_is_there(&tree, path)? {
            return Ok(Removed::Gone);
        }
        match tree.get(&path.identity()) {
            None => return Ok(Removed::Gone),
            Some(MemoryNode::Directory(_)) => {}
            Some(_) => return Err(wrong_kind(path, "expected a directory")),
        }
        Ok(remove_if_empty(&mut tree, &path.into()))
    }

    fn observe_value(&self, place: &RegistryPlace) -> Result<ValueState, HostError> {
        Ok(match self.tree().get(&place.identity()) {
            Some(MemoryNode::Value(data)) => ValueState::Holds(data.clone()),
            Some(MemoryNode::OtherValue(kind)) => ValueState::Other { kind: *kind, bytes: 0 },
            _ => ValueState::Absent,
        })
    }

    fn observe_key(&self, key: &RegistryKey) -> Result<bool, HostError> {
        Ok(self.tree().contains_key(&key.identity()))
    }

    fn create_key(&self, key: &RegistryKey) -> Result<(), HostError> {
        self.step()?;
        let mut tree = self.tree();
        if let Some(parent) = key.parent().filter(|parent| !tree.contains_key(&parent.identity())) {
            return Err(HostError::new(Reason::IoError, format!("{key}: its key {parent} is not there")));
        }
        match tree.insert(key.identity(), MemoryNode::Key) {
            None => Ok(()),
            Some(_) => Err(HostError::new(Reason::WrongKind, format!("{key}: it is there, expected nothing"))),
        }
    }

    fn set_value(&self, place: &RegistryPlace, data: &RegistryData) -> Result<(), HostError> {
        self.step()?;
        let mut tree = self.tree();
        if !tree.contains_key(&place.holder().identity()) {
            return Err(HostError::new(Reason::IoError, format!("{place}: its key is not there")));
        }
        tree.insert(place.identity(), MemoryNode::Value(data.clone()));
        self.tell_of(&Place::Value(place.clone()));
        Ok(())
    }

    fn remove_value(&self, place: &RegistryPlace) -> Result<(), HostError> {
        self.step()?;
        self.tree().remove(&place.identity());
        Ok(())
    }

    fn remove_key(&self, key: &RegistryKey) -> Result<Removed, HostError> {
        self.step()?;
        Ok(remove_if_empty(&mut self.tree(), &Place::Key(key.clone())))
    }

    fn watch(&self, keys: &[RegistryKey], told: Arc<Notify>) -> Watch {
        *self.watched() = Some((keys.iter().map(RegistryKey::identity).collect(), told));
        Watch::default()
    }

    fn observe_product(&self, code: &ProductCode) -> Result<ProductState, HostError> {
        Ok(self.find_product(code))
    }

    fn install(&self, name: &PackageName, installer: &Installer, file: &mut dyn Read) -> Result<(), HostError> {
        self.run_installer(name, installer, file)
    }

    fn uninstall(&self, name: &PackageName, product: &Product) -> Result<(), HostError> {
        self.run_uninstaller(name, product)
    }

    fn restart_pending(&self) -> bool {
        self.waits_for_restart()
    }
}

pub(super) fn remove_if_empty(tree: &mut Tree, place: &Place) -> Removed {
    let below = place.identity_below();
    if tree.keys().any(|key| key.starts_with(&below)) {
        return Removed::NotEmpty;
    }
    tree.remove(&place.identity());
    Removed::Gone
}

/// Whether all directories above it are there; an error where one of them is something else.
fn parent_is_there(tree: &Tree, path: &HostPath) -> Result<bool, HostError> {
    let Some(parent) = path.parent() else { return Ok(true) };
    if !parent_is_there(tree, &parent)? {
        return Ok(false);
    }
    match tree.get(&parent.identity()) {
        None => Ok(false),
        Some(MemoryNode::Directory(_)) => Ok(true),
        Some(MemoryNode::Link) => {
            Err(HostError::new(Reason::LinkInPath, format!("{parent} is a link, expected a directory")))
        }
        Some(MemoryNode::File(..)) => Err(wrong_kind(&parent, "a file is in its place, expected a directory")),
        Some(other) => Err(misplaced(&parent, other)),
    }
}

fn expect_parent(tree: &Tree, path: &HostPath) -> Result<(), HostError> {
    if parent_is_there(tree, path)? {
        return Ok(());
    }
    Err(HostError::new(Reason::IoError, format!("{path}: its directory is not there")))
}

fn interim_of(path: &HostPath) -> String {
    let identity = path.identity();
    let end = identity.rfind(['/', '\\']).map_or(0, |at| at + 1);
    format!("{}{}", &identity[..end], interim_name(path))
}

fn own(mode: u32) -> Ownership {
    Ownership { mode, owner: "root".to_owned(), group: "root".to_owned(), ..Ownership::default() }
}

/// Accounts of this machine are all but those that begin with `no-such`.
fn apply(attributes: &Attributes, mut ownership: Ownership) -> Result<Ownership, HostError> {
    let known = |name: &String| {
        if name.starts_with("no-such") {
            return Err(HostError::new(Reason::UnknownAccount, format!("{name:?}: this machine has no such account")));
        }
        Ok(name.clone())
    };
    if let Some(owner) = &attributes.owner {
        ownership.owner = known(owner)?;
    }
    if let Some(group) = &attributes.group {
        ownership.group = known(group)?;
    }
    if let Some(mode) = attributes.mode {
        ownership.mode = mode.bits();
    }
    if let Some(access) = &attributes.access {
        access.grants.iter().try_for_each(|grant| known(&grant.account).map(drop))?;
        ownership.access = Some(access.clone());
        ownership.closed = *access == Access::default();
    }
    ownership.read_only = attributes.read_only.unwrap_or(ownership.read_only);
    ownership.hidden = attributes.hidden.unwrap_or(ownership.hidden);
    Ok(ownership)
}

fn misplaced(path: &HostPath, node: &MemoryNode) -> HostError {
    wrong_kind(path, &format!("{node:?} was put there, which no file system holds"))
}

fn wrong_kind(path: &HostPath, why: &str) -> HostError {
    HostError::new(Reason::WrongKind, format!("{path}: {why}"))
}
