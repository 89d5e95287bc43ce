//! A Windows machine: its directories and files, and where the rest of it is. Does IO; knows nothing of documents or of what is owned.

use std::{
    fs::File,
    io::Read,
    os::windows::io::OwnedHandle,
    path::Path,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use tokio::sync::Notify;
use windows_sys::{
    Wdk::Storage::FileSystem::FILE_DIRECTORY_FILE,
    Win32::Storage::FileSystem::{
        FILE_READ_ATTRIBUTES, FILE_READ_DATA, FILE_WRITE_ATTRIBUTES, READ_CONTROL, WRITE_DAC, WRITE_OWNER,
    },
};

use super::{
    access::{Asked, file_attributes, ownership, spelled},
    accounts::Accounts,
    facts,
    handles::{Code, Kind, Opening, Seen, look, open, set_attributes},
    packages::{self, Packages},
    place::{Place, failed, failed_io},
    privileges, registry, restart,
    security::{Descriptor, FOR_ALL_TO_READ, PRIVATE, set_owner},
};
use crate::{
    agent::{
        host::{
            Host, HostError, PathState, ProductState, Reason, Removed, ValueState, Watch, digest_of,
            hashes::{Hashes, Snapshot},
            interim_name,
        },
        policy::RunsAs,
        product::Product,
        scm::accounts::runs_as,
    },
    model::{
        Attributes, HostPath, Installer, NodeFacts, PackageName, ProductCode, RegistryData, RegistryKey, RegistryPlace,
        Salt, Service, features,
    },
};

/// Directories, files, registry and packages of this machine.
#[derive(Debug)]
pub struct WindowsHost {
    hashes: Hashes,
    accounts: Accounts,
    packages: Packages,
}

impl WindowsHost {
    /// Installers have a folder below that directory.
    pub fn new(state_dir: &Path) -> Self {
        Self { hashes: Hashes::default(), accounts: Accounts::default(), packages: Packages::new(state_dir) }
    }
}

impl Host for WindowsHost {
    fn facts(&self) -> NodeFacts {
        facts::read()
    }

    fn runs_as(&self, service: &Service) -> RunsAs {
        runs_as(service)
    }

    fn features(&self) -> &'static [&'static str] {
        &[
            features::PACKAGES,
            features::REGISTRY_VALUES,
            features::SERVICE_PASSWORD,
            features::WINDOWS_ATTRIBUTES,
            features::WRAP,
        ]
    }

    fn spelled(&self, attributes: &Attributes) -> Attributes {
        spelled(&self.accounts, attributes)
    }

    fn observe(&self, path: &HostPath, salt: Option<&Salt>) -> Result<PathState, HostError> {
        let trying = format!("look at {path}");
        let Some(place) = Place::find(path, &trying)? else { return Ok(PathState::Absent) };
        let Some((handle, seen)) = place.look(READ_CONTROL, &trying)? else { return Ok(PathState::Absent) };
        if matches!(seen.kind, Kind::Link | Kind::ReparsePoint) {
            return Ok(PathState::Other(seen.kind.word()));
        }
        let security = Descriptor::of(&handle).map_err(|code| failed(&trying, code))?;
        let ownership = ownership(&self.accounts, &security, seen.attributes, seen.kind);
        if seen.kind == Kind::Directory {
            return Ok(PathState::Directory(ownership));
        }
        let taken = snapshot(&seen, salt);
        let digest = match taken.as_ref().and_then(|taken| self.hashes.get(path, taken)) {
            Some(digest) => digest,
            None => {
                // The same file again, whatever has its name by now.
                let file = open(Some(&handle), "", &Opening::of_existing(FILE_READ_DATA | FILE_READ_ATTRIBUTES))
                    .map_err(|code| failed(&trying, code))?;
                let digest = digest_of(File::from(file), salt).map_err(|error| failed_io(&trying, &error))?;
                if let Some(taken) = taken {
                    self.hashes.keep(path, taken, digest);
                }
                digest
            }
        };
        Ok(PathState::File { digest, ownership })
    }

    fn create_directory(&self, path: &HostPath, attributes: &Attributes) -> Result<(), HostError> {
        let trying = format!("create the directory {path}");
        let asked = Asked::of(&self.accounts, attributes, Kind::Directory, &trying)?;
        let place = Place::expect(path, &trying)?;
        let default = Descriptor::parse(FOR_ALL_TO_READ).map_err(|error| failed_io(&trying, &error))?;
        let access = FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES | READ_CONTROL | WRITE_DAC | WRITE_OWNER;
        let security = asked.access.as_ref().unwrap_or(&default);
        let opening = Opening { security: Some(security), ..Opening::of_new(access, FILE_DIRECTORY_FILE) };
        let handle = place.create(&opening, &trying)?;
        let done = look(&handle).and_then(|seen| {
            change(&handle, seen.kind, &Asked { access: None, ..asked }, file_attributes(attributes, seen.attributes))
        });
        done.map_err(|code| failed(&trying, code))?;
        place.sync(&trying)
    }

    fn write_file(
        &self,
        path: &HostPath,
        content: &mut dyn Read,
        attributes: &Attributes,
        secret: bool,
    ) -> Result<(), HostError> {
        let trying = format!("write {path}");
        let asked = Asked::of(&self.accounts, attributes, Kind::File, &trying)?;
        let place = Place::expect(path, &trying)?;
        // Held no longer than it is looked at: it is to be replaced.
        let before = match place.look(READ_CONTROL, &trying)? {
            None => None,
            Some((_, seen)) if seen.kind != Kind::File => {
                let message = format!("{trying}: {} is in its place, expected a file or nothing", seen.kind.word());
                return Err(HostError::new(Reason::WrongKind, message));
            }
            Some((handle, seen)) => {
                Some((Descriptor::of(&handle).map_err(|code| failed(&trying, code))?, seen.attributes))
            }
        };
        let interim = interim_name(path);
        place.remove(&interim, &trying)?;
        let private = Descriptor::parse(PRIVATE).map_err(|error| failed_io(&trying, &error))?;
        // A new file that nothing is asked for is from the start what its directory makes it; any other is closed
        // until it is what it shall be.
        let from_directory = !secret && before.is_none() && asked.access.is_none();
        let security = (!from_directory).then_some(&private);
        let written = place.write_beside(&interim, content, security, &trying).and_then(|file| {
            let handle = OwnedHandle::from(file);
            let kept = match &before {
                Some((security, _)) if !secret => security.copy_to(&handle),
                _ => Ok(()),
            };
            let flags = before.as_ref().map_or(0, |(_, attributes)| *attributes);
            let flags = file_attributes(attributes, flags).or((flags != 0).then_some(flags));
            kept.and_then(|()| change(&handle, Kind::File, &asked, flags)).map_err(|code| failed(&trying, code))?;
            let file = File::from(handle);
            file.sync_all().map_err(|error| failed_io(&trying, &error))?;
            place.replace_with(&file, &trying)
        });
        if written.is_err() {
            let _ = place.remove(&interim, &trying);
        }
        written?;
        place.sync(&trying)
    }

    fn discard_interrupted(&self, path: &HostPath) -> Result<(), HostError> {
        let trying = format!("clear away what an interrupted write of {path} left");
        let Some(place) = Place::find(path, &trying)? else { return Ok(()) };
        place.remove(&interim_name(path), &trying)
    }

    fn set_attributes(&self, path: &HostPath, attributes: &Attributes) -> Result<(), HostError> {
        let trying = format!("set owner, access and attributes of {path}");
        let place = Place::expect(path, &trying)?;
        let mut access = FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES | READ_CONTROL;
        if attributes.access.is_some() {
            access |= WRITE_DAC;
        }
        if attributes.owner.is_some() {
            access |= WRITE_OWNER;
        }
        let (handle, seen) = place.pin(access, &trying)?;
        let asked = Asked::of(&self.accounts, attributes, seen.kind, &trying)?;
        change(&handle, seen.kind, &asked, file_attributes(attributes, seen.attributes))
            .map_err(|code| failed(&trying, code))
    }

    fn remove_file(&self, path: &HostPath) -> Result<(), HostError> {
        let trying = format!("remove the file {path}");
        let Some(place) = Place::find(path, &trying)? else { return Ok(()) };
        place.remove(&interim_name(path), &trying)?;
        if let Some((_, seen)) = place.look(FILE_READ_ATTRIBUTES, &trying)?
            && seen.kind == Kind::Directory
        {
            let message = format!("{trying}: a directory is in its place, expected a file");
            return Err(HostError::new(Reason::WrongKind, message));
        }
        place.remove(place.name(), &trying)?;
        place.sync(&trying)
    }

    fn remove_directory(&self, path: &HostPath) -> Result<Removed, HostError> {
        let trying = format!("remove the directory {path}");
        let Some(place) = Place::find(path, &trying)? else { return Ok(Removed::Gone) };
        match place.look(FILE_READ_ATTRIBUTES, &trying)? {
            None => return Ok(Removed::Gone),
            Some((_, seen)) if seen.kind != Kind::Directory => {
                let message = format!("{trying}: {} is in its place, expected a directory", seen.kind.word());
                return Err(HostError::new(Reason::WrongKind, message));
            }
            Some(_) => {}
        }
        match place.remove_if_empty(&trying)? {
            Removed::Gone => place.sync(&trying).map(|()| Removed::Gone),
            Removed::NotEmpty => Ok(Removed::NotEmpty),
        }
    }

    fn observe_value(&self, place: &RegistryPlace) -> Result<ValueState, HostError> {
        registry::observe_value(place)
    }

    fn observe_key(&self, key: &RegistryKey) -> Result<bool, HostError> {
        registry::observe_key(key)
    }

    fn create_key(&self, key: &RegistryKey) -> Result<(), HostError> {
        registry::create_key(key)
    }

    fn set_value(&self, place: &RegistryPlace, data: &RegistryData) -> Result<(), HostError> {
        registry::set_value(place, data)
    }

    fn remove_value(&self, place: &RegistryPlace) -> Result<(), HostError> {
        registry::remove_value(place)
    }

    fn remove_key(&self, key: &RegistryKey) -> Result<Removed, HostError> {
        registry::remove_key(key)
    }

    fn watch(&self, keys: &[RegistryKey], told: Arc<Notify>) -> Watch {
        Watch::kept(registry::watch(keys, told))
    }

    fn observe_product(&self, code: &ProductCode) -> Result<ProductState, HostError> {
        Ok(packages::observe_product(code))
    }

    fn install(&self, name: &PackageName, installer: &Installer, file: &mut dyn Read) -> Result<(), HostError> {
        self.packages.install(name, installer, file)
    }

    fn uninstall(&self, name: &PackageName, product: &Product) -> Result<(), HostError> {
        self.packages.uninstall(name, product)
    }

    fn restart_pending(&self) -> bool {
        restart::is_pending()
    }
}

/// Owner first, as it may go with the right to do the rest.
fn change(handle: &OwnedHandle, kind: Kind, asked: &Asked, flags: Option<u32>) -> Result<(), Code> {
    if let Some(owner) = &asked.owner {
        privileges::restoring(|| set_owner(handle, owner))?;
    }
    if let Some(access) = &asked.access {
        access.put_access_on(handle, kind)?;
    }
    flags.map_or(Ok(()), |flags| set_attributes(handle, flags))
}

/// `None` where the filesystem does not say what a change would change, as FAT does not.
fn snapshot(seen: &Seen, salt: Option<&Salt>) -> Option<Snapshot> {
    /// Between 1601 and 1970, in units of 100 ns.
    const EPOCH: i64 = 116_444_736_000_000_000;
    let (volume, file) = seen.id?;
    let since = u64::try_from(seen.changed - EPOCH).ok().filter(|since| *since > 0)?;
    Some(Snapshot {
        volume,
        file,
        size: seen.size,
        modified: seen.modified.into(),
        changed: seen.changed.into(),
        changed_at: Some(UNIX_EPOCH + Duration::from_micros(since / 10)),
        salt: salt.copied(),
    })
}
