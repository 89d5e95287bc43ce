//! The one door to the machine. What is decided above it is the same on every platform.
//! Hosts: `memory` for tests and simulations, `linux`, `windows`; all pass one suite of behaviours.

mod hashes;
#[cfg(unix)]
pub mod linux;
pub mod memory;
pub mod memory_installer;
pub mod memory_services;
pub mod win32;
#[cfg(windows)]
pub mod windows;

use std::{
    fs::File,
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use zeroize::Zeroizing;

use super::{policy::RunsAs, product::Product};
use crate::model::{
    Access, Attributes, Digest, Hasher, HostPath, Installer, MsiVersion, NodeFacts, PackageName, ProductCode,
    RegistryData, RegistryKey, RegistryPlace, Revision, Salt, Service, ServiceName,
};

/// The kind of machine that this program was built for.
#[cfg(unix)]
pub use linux as machine;
/// The kind of machine that this program was built for.
#[cfg(windows)]
pub use windows as machine;

/// Directories, files, registry, packages and facts of a machine. Calls block: they are made off the reactor.
pub trait Host: Send + Sync + 'static {
    /// The machine as it describes itself.
    fn facts(&self) -> NodeFacts;

    /// Features of documents that it can carry out, of [`crate::model::features`].
    fn features(&self) -> &'static [&'static str];

    /// Attributes as this machine spells them, so that they can be compared with what is observed: each account by its
    /// one name, and lists without those that are in every one. What is unknown stays as written.
    fn spelled(&self, attributes: &Attributes) -> Attributes {
        attributes.clone()
    }

    /// Whom a service would run as.
    fn runs_as(&self, service: &Service) -> RunsAs {
        RunsAs { name: service.account.clone().unwrap_or_default(), is_administrative: false }
    }

    /// What lies at a path, following no link in any component.
    fn observe(&self, path: &HostPath, salt: Option<&Salt>) -> Result<PathState, HostError>;

    /// Creates one directory, whose parent exists, with 0755 where no mode is given; on Windows readable by users and
    /// writable by administrators alone, whatever the one above it grants, where no access is given.
    fn create_directory(&self, path: &HostPath, attributes: &Attributes) -> Result<(), HostError>;

    /// Replaces or creates a file whole: written beside, synced, renamed. Its directory exists. A crash leaves
    /// the old file or the new one. Where no mode is given, a new file gets 0644, one that is replaced keeps
    /// what it has, and a `secret` one gets 0600; owner and group that are not given stay as well. On Windows, where
    /// no access is given, a new file inherits from its directory, and a `secret` one is for SYSTEM and
    /// administrators.
    fn write_file(
        &self,
        path: &HostPath,
        content: &mut dyn Read,
        attributes: &Attributes,
        secret: bool,
    ) -> Result<(), HostError>;

    /// Removes what an interrupted [`Host::write_file`] of this path left beside it.
    fn discard_interrupted(&self, path: &HostPath) -> Result<(), HostError>;

    /// Sets what `attributes` names on a file or directory.
    fn set_attributes(&self, path: &HostPath, attributes: &Attributes) -> Result<(), HostError>;

    /// Removes a file; there being none is success.
    fn remove_file(&self, path: &HostPath) -> Result<(), HostError>;

    /// Removes a directory if it is empty; there being none is success.
    fn remove_directory(&self, path: &HostPath) -> Result<Removed, HostError>;

    /// What a place of the registry holds. A key that is not there holds nothing.
    fn observe_value(&self, place: &RegistryPlace) -> Result<ValueState, HostError> {
        Err(HostError::no_registry(place))
    }

    /// Whether a key is there.
    fn observe_key(&self, key: &RegistryKey) -> Result<bool, HostError> {
        Err(HostError::no_registry(key))
    }

    /// Creates one key, whose parent exists; an error if it is there already.
    fn create_key(&self, key: &RegistryKey) -> Result<(), HostError> {
        Err(HostError::no_registry(key))
    }

    /// Sets or replaces a value whole. Its key exists.
    fn set_value(&self, place: &RegistryPlace, _: &RegistryData) -> Result<(), HostError> {
        Err(HostError::no_registry(place))
    }

    /// Removes a value; there being none, or no key, is success.
    fn remove_value(&self, place: &RegistryPlace) -> Result<(), HostError> {
        Err(HostError::no_registry(place))
    }

    /// Removes a key if it holds neither values (its default one counts) nor keys; there being none is success.
    fn remove_key(&self, key: &RegistryKey) -> Result<Removed, HostError> {
        Err(HostError::no_registry(key))
    }

    /// Tells when a value of any of these keys is set or removed, once, and for as long as the answer is kept. Where
    /// it cannot, or a key is not there, nothing is told.
    fn watch(&self, _: &[RegistryKey], _told: Arc<Notify>) -> Watch {
        Watch::default()
    }

    /// Whether Windows Installer has this product installed, and in which version.
    fn observe_product(&self, code: &ProductCode) -> Result<ProductState, HostError> {
        Err(HostError::no_packages(code))
    }

    /// Installs a package, or upgrades it where its product is there in another version. `file` gives the bytes
    /// of the artifact, already checked: the host keeps them in a file of its own while the installer runs.
    /// Returns when the installer has ended, which can take minutes. A crash leaves the package absent, whole,
    /// or still being installed by the machine.
    fn install(&self, name: &PackageName, _: &Installer, _file: &mut dyn Read) -> Result<(), HostError> {
        Err(HostError::no_packages(name))
    }

    /// Removes a package; its not being there is success.
    fn uninstall(&self, name: &PackageName, _: &Product) -> Result<(), HostError> {
        Err(HostError::no_packages(name))
    }

    /// Whether the machine waits for a restart. Once an installer has asked for one, and has succeeded with that,
    /// it says so until the machine has started anew, whatever becomes of the agent meanwhile.
    fn restart_pending(&self) -> bool {
        false
    }
}

/// Changes are told until this is dropped.
#[derive(Default)]
pub struct Watch(Option<Box<dyn Send>>);

impl Watch {
    /// Whose drop ends it.
    pub fn kept(watch: impl Send + 'static) -> Self {
        Self(Some(Box::new(watch)))
    }

    /// Tells nothing more.
    pub fn end(self) {
        drop(self.0);
    }
}

/// What a place of the registry holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueState {
    /// Nothing.
    Absent,
    /// Data of a type that documents can name.
    Holds(RegistryData),
    /// Data of another type, or data that is none of its type.
    Other {
        /// Number of its type, as `REG_DWORD` is 4.
        kind: u32,
        /// How much it is.
        bytes: usize,
    },
}

/// What Windows Installer says of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProductState {
    /// It is not installed.
    Absent,
    /// It is.
    Installed {
        /// `None` where it does not say.
        version: Option<MsiVersion>,
    },
}

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathState {
    /// Nothing.
    Absent,
    /// A directory.
    Directory(Ownership),
    /// A regular file.
    File {
        /// SHA-256(salt ‖ bytes) with the salt that was asked for.
        digest: Digest,
        /// Whose.
        ownership: Ownership,
    },
    /// A link, device, socket or pipe; the word names it for people.
    Other(&'static str),
}

/// Whose a file or directory is, and who may do what with it. On Windows the mode is 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ownership {
    /// Permission bits.
    pub mode: u32,
    /// Name of the owning user, or its number where it has no name.
    pub owner: String,
    /// Name of the owning group, or its number where it has no name.
    pub group: String,
    /// Grants by account, sorted, as [`Host::spelled`] has them; `None` where the list is none that it makes, and not
    /// on Windows.
    pub access: Option<Access>,
    /// Nobody but SYSTEM, administrators and the owner can open it (Windows).
    pub closed: bool,
    /// The file attribute read-only (Windows).
    pub read_only: bool,
    /// The file attribute hidden (Windows).
    pub hidden: bool,
}

/// Names the file that [`Host::write_file`] writes before it takes the place of the file at this path. The same
/// each time, so that a crash leaves at most one, which the next write or removal clears away.
pub(crate) fn interim_name(path: &HostPath) -> String {
    let identity = path.identity();
    let name = identity.rsplit(path.separator()).next().unwrap_or_default();
    format!(".windlass-{}", Revision::of(name.as_bytes()))
}

/// Reads a file to its end.
fn digest_of(mut file: File, salt: Option<&Salt>) -> io::Result<Digest> {
    let mut hasher = Hasher::new(salt);
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// How removing a directory ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// It is gone.
    Gone,
    /// Something lies in it, so it stays.
    NotEmpty,
}

/// Services of a machine: the SCM on Windows, supervised processes on Linux.
#[async_trait]
pub trait ServiceControl: Send + Sync + 'static {
    /// Identifies the machine's start, as in [`ProcessIdentity::boot_id`].
    fn boot_id(&self) -> String;

    /// Services of this agent that run, found without its store: one process for each.
    fn survivors(&self) -> Result<Vec<(ServiceName, ProcessIdentity)>, HostError>;

    /// Whether a manager of the machine (the SCM) keeps its services: then they are configured there before they
    /// start, may be there and run before the agent does, and can be paused. Else a service is a process of the
    /// agent's, and none of these questions is asked.
    fn is_managed(&self) -> bool {
        false
    }

    /// Time since the machine's start: a manager starts some services only a while after it.
    fn machine_started_ago(&self) -> Duration {
        Duration::MAX
    }

    /// Whether the manager knows a service of this name.
    async fn exists(&self, _: &ServiceName) -> Result<bool, HostError> {
        Ok(false)
    }

    /// The process that the manager runs for it, if any.
    fn running(&self, _: &ServiceName) -> Result<Option<Running>, HostError> {
        Ok(None)
    }

    /// Makes the service known to the manager with this configuration. Done again and again: changes what differs.
    async fn configure(&self, _: &Service, _: &Credentials) -> Result<Configured, HostError> {
        Ok(Configured::default())
    }

    /// Pauses it, or lets it go on; where it is so already there is nothing to do.
    async fn pause(&self, name: &ServiceName, _: &ProcessIdentity, _: bool) -> Result<(), HostError> {
        Err(HostError::new(Reason::NotSupportedHere, format!("pause {name}: no service can be paused here")))
    }

    /// Makes the machine forget a stopped service; there being none is success.
    async fn delete(&self, name: &ServiceName) -> Result<(), HostError>;

    /// Starts the service's program. `journal` is called once the process can be identified and before the
    /// program's first instruction; if it fails, or this process dies before it returns, the program never runs.
    /// A manager runs no service twice: there it is called once the service runs, and one that ran is taken up.
    async fn start(&self, service: &Service, journal: Journal<'_>) -> Result<ProcessIdentity, HostError>;

    /// Whether that very process still runs.
    fn is_running(&self, process: &ProcessIdentity) -> bool;

    /// Completes when that process has ended; at once if it has. [`ServiceControl::kill`] is called after it.
    async fn ended(&self, name: &ServiceName, process: &ProcessIdentity) -> Exit;

    /// Asks the process (and its group) to stop: SIGTERM, or the SCM's stop control. Blocks.
    fn request_stop(&self, name: &ServiceName, process: &ProcessIdentity) -> Result<(), HostError>;

    /// Ends the process and everything that it started and that is left, and waits for it a few seconds at
    /// most: blocks. None left is success, as is a process of an earlier start of the machine.
    fn kill(&self, name: &ServiceName, process: &ProcessIdentity) -> Result<(), HostError>;

    /// Runs a check's program as the service would: its account, directory and environment. Dropping the
    /// future ends it and what it started.
    async fn check(&self, service: &Service, command: &[String]) -> Result<Exit, HostError>;

    /// Now and then, of every running service: keeps what the machine keeps of it (its log) within its size.
    /// Blocks.
    fn tend(&self, name: &ServiceName);
}

/// A service that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// What runs.
    pub process: ProcessIdentity,
    /// Whether it is paused.
    pub paused: bool,
}

/// What a manager made of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Configured {
    /// Whether it had another program, account or environment for the service, so that one that runs may run
    /// with that.
    pub changed: bool,
    /// What runs.
    pub running: Option<Running>,
}

/// What cannot be read back from a manager.
#[derive(Default)]
pub struct Credentials {
    /// Of the service's account, where it has one; cleared from memory after use.
    pub password: Option<Zeroizing<String>>,
    /// Whether the service changed since its manager was told last: then it is told the password once more.
    pub anew: bool,
}

/// Writes durably which process is about to run.
pub type Journal<'a> = &'a (dyn Fn(&ProcessIdentity) -> Result<(), HostError> + Send + Sync);

/// Names one process for ever: pids are used again, but not with the same start in the same boot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Process id; on Linux also the id of its process group.
    pub pid: u32,
    /// Identifies the machine's start.
    pub boot_id: String,
    /// When the process started, in the machine's own unit since its start.
    pub start_time: u64,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal (Unix).
    Signal(i32),
    /// It was started by an earlier agent, which alone could have learnt it.
    Unknown,
}

/// Why the machine did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct HostError {
    /// Reason for a condition.
    pub reason: Reason,
    /// What was tried, on what, what was expected.
    pub message: String,
}

impl HostError {
    /// With this reason and message.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    fn no_registry(place: &dyn std::fmt::Display) -> Self {
        Self::new(Reason::NotSupportedHere, format!("{place}: this machine has no registry"))
    }

    fn no_packages(what: &dyn std::fmt::Display) -> Self {
        Self::new(Reason::NotSupportedHere, format!("{what}: windlass installs no packages on this kind of machine"))
    }
}

/// Reasons of hosts, as they stand in failures and docs/reference/reasons.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No permission.
    PermissionDenied,
    /// A link, directory or something else is where a file should be, or the other way round.
    WrongKind,
    /// A component of the path is a link.
    LinkInPath,
    /// The file is in use by a program.
    InUse,
    /// The virus scanner keeps the file from being read or written.
    BlockedByAntivirus,
    /// The disk or quota is full.
    DiskFull,
    /// The filesystem is read-only.
    ReadOnlyFilesystem,
    /// No such user, group or account.
    UnknownAccount,
    /// The program of a service is not there or cannot be executed.
    NotExecutable,
    /// Another installation is under way on the machine.
    InstallerBusy,
    /// An installer did not do what it was started for.
    InstallFailed,
    /// A program, service or account does not allow it, or the service's configuration has no room for it.
    Refused,
    /// The account of a service may not log on, or its password is wrong.
    LogonFailed,
    /// A service did not start, stop or answer in its time.
    TimedOut,
    /// A service ended before it had started.
    NotStarted,
    /// A service that it depends on does not exist or could not be started.
    DependencyFailed,
    /// No such service.
    NotInstalled,
    /// Services that depend on it run.
    DependentServicesRunning,
    /// The service is about to be deleted, once every program has let go of it.
    MarkedForDeletion,
    /// A password has not come from the operator yet.
    AwaitsPassword,
    /// The machine's administrator does not allow it.
    DeniedByLocalPolicy,
    /// The feature exists on another platform only.
    NotSupportedHere,
    /// Anything else.
    IoError,
}

impl Reason {
    /// CamelCase.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PermissionDenied => "PermissionDenied",
            Self::WrongKind => "WrongKind",
            Self::LinkInPath => "LinkInPath",
            Self::InUse => "InUse",
            Self::BlockedByAntivirus => "BlockedByAntivirus",
            Self::DiskFull => "DiskFull",
            Self::ReadOnlyFilesystem => "ReadOnlyFilesystem",
            Self::UnknownAccount => "UnknownAccount",
            Self::NotExecutable => "NotExecutable",
            Self::InstallerBusy => "InstallerBusy",
            Self::InstallFailed => "InstallFailed",
            Self::Refused => "Refused",
            Self::LogonFailed => "LogonFailed",
            Self::TimedOut => "TimedOut",
            Self::NotStarted => "NotStarted",
            Self::DependencyFailed => "DependencyFailed",
            Self::NotInstalled => "NotInstalled",
            Self::DependentServicesRunning => "DependentServicesRunning",
            Self::MarkedForDeletion => "MarkedForDeletion",
            Self::AwaitsPassword => "AwaitsPassword",
            Self::DeniedByLocalPolicy => "DeniedByLocalPolicy",
            Self::NotSupportedHere => "NotSupportedHere",
            Self::IoError => "IoError",
        }
    }
}
