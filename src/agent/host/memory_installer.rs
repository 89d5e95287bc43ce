//! Installers of a machine in memory: what they install is there at once, unless the agent is cut off meanwhile.
//! Then, as with Windows Installer, it comes a little later, without the agent.

use std::{
    io::Read,
    sync::{Arc, Barrier, MutexGuard, PoisonError},
};

use super::{
    HostError, Ownership, ProductState, Reason,
    memory::{MemoryHost, MemoryNode, Tree, remove_if_empty},
};
use crate::{
    agent::{place::Place, product::Product},
    model::{Detect, Installer, MsiVersion, PackageName, ProductCode, RegistryData, RegistryPlace},
};

/// What installers do, and what becomes of it.
#[derive(Debug, Default)]
pub(super) struct Installations {
    behaviour: Installers,
    waits_for_restart: bool,
    /// Goes on without the agent: comes when it was looked for once in vain.
    late: Option<Late>,
    log: Vec<String>,
}

#[derive(Debug)]
struct Late {
    code: ProductCode,
    version: MsiVersion,
    was_looked_for: bool,
}

/// What happens when an installer or uninstaller runs.
#[derive(Debug, Clone, Default)]
pub enum Installers {
    /// What it is for.
    #[default]
    Work,
    /// The same, and it asks for a restart of the machine.
    AskForRestart,
    /// The same, and it sets this value of the registry.
    Meddle(RegistryPlace, RegistryData),
    /// The same, and it lasts: it is met here when it begins, and when it ends.
    Last(Arc<Barrier>),
    /// It says that it succeeded and has done nothing.
    DoNothing,
    /// It fails so.
    Fail(HostError),
}

impl MemoryHost {
    /// What installers do from now on.
    pub fn set_installers(&self, behaviour: Installers) {
        self.installations().behaviour = behaviour;
    }

    /// Starts the machine anew, as far as installers are concerned.
    pub fn restart(&self) {
        self.installations().waits_for_restart = false;
    }

    /// What was run, in order: `install acme`, `uninstall acme`.
    pub fn installer_log(&self) -> Vec<String> {
        self.installations().log.clone()
    }

    pub(super) fn waits_for_restart(&self) -> bool {
        self.installations().waits_for_restart
    }

    pub(super) fn find_product(&self, code: &ProductCode) -> ProductState {
        let mut installations = self.installations();
        if let Some(late) = installations.late.as_mut().filter(|late| late.code == *code && !self.fuse().is_blown()) {
            if late.was_looked_for {
                self.tree().insert(identity(code), MemoryNode::Product(Some(late.version)));
                installations.late = None;
            } else {
                late.was_looked_for = true;
            }
        }
        match self.tree().get(&identity(code)) {
            Some(MemoryNode::Product(version)) => ProductState::Installed { version: *version },
            _ => ProductState::Absent,
        }
    }

    pub(super) fn run_installer(
        &self,
        name: &PackageName,
        installer: &Installer,
        file: &mut dyn Read,
    ) -> Result<(), HostError> {
        let io = |e: std::io::Error| HostError::new(Reason::IoError, format!("install {name}: {e}"));
        std::io::copy(file, &mut std::io::sink()).map_err(io)?;
        let works = self.begin(&format!("install {name}"))?;
        // The rest is done by the machine.
        let cut_off = self.step();
        if let (Installer::Msi { product_code, version, .. }, Err(error)) = (installer, cut_off) {
            let late = Late { code: product_code.clone(), version: *version, was_looked_for: false };
            self.installations().late = Some(late).filter(|_| works);
            return Err(error);
        }
        if works {
            put(&mut self.tree(), installer);
        }
        Ok(())
    }

    pub(super) fn run_uninstaller(&self, name: &PackageName, product: &Product) -> Result<(), HostError> {
        if !self.begin(&format!("uninstall {name}"))? {
            return Ok(());
        }
        let mut tree = self.tree();
        match product {
            Product::Msi(code) => drop(tree.remove(&identity(code))),
            Product::Exe { detect: Detect::File { path }, .. } => drop(tree.remove(&path.identity())),
            Product::Exe { detect: Detect::RegistryValue { place, .. }, .. } => {
                tree.remove(&place.identity());
                for key in Place::Value(place.clone()).above() {
                    remove_if_empty(&mut tree, &key);
                }
            }
        }
        Ok(())
    }

    /// Whether the program that now runs does what it is for.
    fn begin(&self, what: &str) -> Result<bool, HostError> {
        self.step()?;
        let mut installations = self.installations();
        if let Some(late) = installations.late.take() {
            self.tree().insert(identity(&late.code), MemoryNode::Product(Some(late.version)));
            let message = format!("{what}: another installation is under way");
            return Err(HostError::new(Reason::InstallerBusy, message));
        }
        installations.log.push(what.to_owned());
        match installations.behaviour.clone() {
            Installers::Work => Ok(true),
            Installers::Last(meeting) => {
                drop(installations);
                meeting.wait();
                meeting.wait();
                Ok(true)
            }
            Installers::AskForRestart => {
                installations.waits_for_restart = true;
                Ok(true)
            }
            Installers::Meddle(place, data) => {
                self.tree().insert(place.identity(), MemoryNode::Value(data));
                Ok(true)
            }
            Installers::DoNothing => Ok(false),
            Installers::Fail(error) => Err(error),
        }
    }

    fn installations(&self) -> MutexGuard<'_, Installations> {
        self.installations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put(tree: &mut Tree, installer: &Installer) {
    match installer {
        Installer::Msi { product_code, version, .. } => {
            tree.insert(identity(product_code), MemoryNode::Product(Some(*version)));
        }
        Installer::Exe { detect: Detect::File { path }, .. } => {
            for above in Place::from(path).above() {
                tree.entry(above.identity()).or_insert(MemoryNode::Directory(Ownership::default()));
            }
            tree.insert(path.identity(), MemoryNode::File(Vec::new(), Ownership::default()));
        }
        Installer::Exe { detect: Detect::RegistryValue { place, equals }, .. } => {
            for above in Place::Value(place.clone()).above() {
                tree.insert(above.identity(), MemoryNode::Key);
            }
            let data = RegistryData::String(equals.clone().unwrap_or_default());
            tree.insert(place.identity(), MemoryNode::Value(data));
        }
    }
}

fn identity(code: &ProductCode) -> String {
    format!("package {}", Product::Msi(code.clone()).identity())
}
