//! Programs that are no services: the service host's own copy, and the file that tells it what to run. Does IO.
//!
//! Below the state directory: `hosts\<digest>\windlass-service-host.exe`, one for each version that services use, so that
//! an upgrade of the agent leaves them running; `wrapped\<service>\` with the file and the program's output.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use windows_service::service::ServiceAccess;

use super::{
    super::{own, security::PRIVATE},
    logon_right::sid_of,
    scm,
};
use crate::{
    agent::scm::{
        accounts::Account,
        command_line,
        wrapped::{FILE, HOST, OUTPUT, Wrapped},
    },
    model::{Digest, Service, ServiceName},
};

/// SYSTEM and administrators, and what runs as a service may read and run it.
const HOSTS: &str = "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FRFX;;;SU)";

/// The account may read the folder and add files to it, and change and remove what it added; not the folder, and it may
/// make none below, which could be turned into junctions.
fn output_access(sid: &str) -> String {
    format!("{PRIVATE}(A;;0x1200ab;;;{sid})(A;OIIO;0x1301bf;;;{sid})")
}

/// Where these things lie.
#[derive(Debug)]
pub(super) struct Wraps {
    state_dir: PathBuf,
    /// The host's program as it was installed.
    installed: PathBuf,
    /// The copy of this version, once made.
    host: OnceLock<PathBuf>,
}

impl Wraps {
    pub(super) fn new(state_dir: &Path, installed: PathBuf) -> io::Result<Self> {
        Ok(Self { state_dir: std::path::absolute(state_dir)?, installed, host: OnceLock::new() })
    }

    fn folder(&self, name: &ServiceName) -> PathBuf {
        self.state_dir.join("wrapped").join(name.identity())
    }

    /// What the SCM is to start for it.
    pub(super) fn command_line(&self, name: &ServiceName) -> io::Result<String> {
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        let words = [path(self.host()?), name.as_str().to_owned(), path(self.folder(name).join(FILE))];
        Ok(command_line::join(&words))
    }

    /// Writes what is to be run; whether it was another before.
    pub(super) fn tell(&self, service: &Service) -> io::Result<bool> {
        let folder = self.folder(&service.name);
        let account = Account::parse(service.account.as_deref());
        // Windows makes the account of a service with the service: it may not be there yet.
        let sid = sid_of(account.scm_name()).map_err(|error| io::Error::other(error.message))?.as_text();
        own::create_directory(&folder, &format!("{PRIVATE}(A;OICI;FRFX;;;{sid})"))?;
        own::create_directory(&folder.join(OUTPUT), &output_access(&sid))?;
        let (file, bytes) = (folder.join(FILE), Wrapped::of(service).to_bytes());
        match fs::read(&file) {
            Ok(before) if before == bytes => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        own::write_private_file(&file, &bytes)?;
        Ok(true)
    }

    /// Removes what it left, of any service.
    pub(super) fn forget(&self, name: &ServiceName) -> io::Result<()> {
        match fs::remove_dir_all(self.folder(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.clear()
    }

    /// The copy of this version of the host.
    fn host(&self) -> io::Result<PathBuf> {
        if let Some(host) = self.host.get().filter(|host| host.exists()) {
            return Ok(host.clone());
        }
        let installed = self.installed.display();
        let bytes = fs::read(&self.installed)
            .map_err(|error| io::Error::new(error.kind(), format!("read {installed}, which belongs to it: {error}")))?;
        let digest = Digest::of(&bytes).to_string();
        let folder = self.state_dir.join("hosts").join(&digest[..16]);
        let host = folder.join(HOST);
        if fs::read(&host).is_ok_and(|there| there == bytes) {
            return Ok(self.host.get_or_init(|| host).clone());
        }
        own::create_directory(&self.state_dir.join("hosts"), HOSTS)?;
        own::create_directory(&folder, HOSTS)?;
        own::write_private_file(&host, &bytes)?;
        Ok(self.host.get_or_init(|| host).clone())
    }

    /// Removes the copies of other versions that no service is started by any more.
    pub(super) fn clear(&self) -> io::Result<()> {
        let Some(host) = self.host.get() else { return Ok(()) };
        let mut used = Vec::new();
        for entry in folders(&self.state_dir.join("wrapped"))? {
            let name = entry.file_name().and_then(|name| name.to_str()).and_then(|name| ServiceName::parse(name).ok());
            let service = name.and_then(|name| scm::open(&name, ServiceAccess::QUERY_CONFIG).ok().flatten());
            let line = service.and_then(|service| service.query_config().ok()).map(|kept| kept.executable_path);
            used.extend(line.map(|line| line.to_string_lossy().to_lowercase()));
        }
        for folder in folders(&self.state_dir.join("hosts"))? {
            let is_used = used.iter().any(|line| line.contains(&folder.to_string_lossy().to_lowercase()));
            if host.parent() != Some(&folder) && !is_used {
                // One that still runs cannot be removed, and is the next time.
                let _ = fs::remove_dir_all(&folder);
            }
        }
        Ok(())
    }
}

fn folders(of: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(of) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use windows_sys::Win32::{
        Security::{INHERIT_ONLY_ACE, OBJECT_INHERIT_ACE},
        Storage::FileSystem::{
            DELETE, FILE_ADD_FILE, FILE_ADD_SUBDIRECTORY, FILE_DELETE_CHILD, FILE_GENERIC_EXECUTE, FILE_GENERIC_READ,
            FILE_GENERIC_WRITE, FILE_WRITE_ATTRIBUTES, WRITE_DAC, WRITE_OWNER,
        },
    };

    use super::{super::super::security::Descriptor, *};

    #[test]
    fn a_wrapped_program_may_add_files_to_its_output_and_not_change_the_folder() {
        let entries = Descriptor::parse(&output_access("S-1-5-19")).expect("SDDL").entries().expect("a list");
        let mine: Vec<_> = entries.iter().filter(|entry| entry.sid.as_text() == "S-1-5-19").collect();
        let (below, here): (Vec<_>, Vec<_>) =
            mine.into_iter().partition(|entry| u32::from(entry.flags) & INHERIT_ONLY_ACE != 0);
        let [here] = here[..] else { panic!("{here:?}") };
        let [below] = below[..] else { panic!("{below:?}") };
        assert_eq!(here.flags, 0, "for the folder alone");
        assert_eq!(here.mask, FILE_GENERIC_READ | FILE_GENERIC_EXECUTE | FILE_ADD_FILE);
        let turns_it = DELETE | FILE_DELETE_CHILD | FILE_WRITE_ATTRIBUTES | FILE_ADD_SUBDIRECTORY;
        assert_eq!(here.mask & (turns_it | WRITE_DAC | WRITE_OWNER), 0);
        assert_eq!(u32::from(below.flags), OBJECT_INHERIT_ACE | INHERIT_ONLY_ACE, "for files alone");
        assert_eq!(below.mask, FILE_GENERIC_READ | FILE_GENERIC_WRITE | FILE_GENERIC_EXECUTE | DELETE);
    }
}
