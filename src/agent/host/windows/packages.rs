//! Packages: what Windows Installer says of products, and installers that run, one at a time, from a folder that only
//! administrators can write to. Does IO, and waits for installers.

use std::{
    fs::{self, File},
    io::{self, Read, Seek as _, SeekFrom},
    os::windows::{io::OwnedHandle, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use windows_sys::Win32::{
    Foundation::ERROR_SUCCESS,
    System::{
        ApplicationInstallationAndServicing::{
            INSTALLPROPERTY_VERSIONSTRING, INSTALLSTATE_DEFAULT, MsiGetProductInfoW, MsiQueryProductStateW,
        },
        SystemInformation::GetSystemDirectoryW,
        Threading::CREATE_NO_WINDOW,
    },
};

use super::{job::Job, own::create_private_directory, place::failed_io, process::Process, restart, strings::wide};
use crate::{
    agent::{
        host::{
            HostError, ProductState, Reason,
            win32::{
                installer_log::{TAIL_BYTES, gist},
                installers::{Installed, MsiJob, exe_outcome, msi_outcome, msiexec},
            },
        },
        product::Product,
    },
    model::{Installer, MsiVersion, PackageName, ProductCode},
};

/// Beyond this, an installer waits for somebody who is not there.
const LONGEST: Duration = Duration::from_secs(3600);

/// Runs installers.
#[derive(Debug)]
pub(super) struct Packages {
    folder: PathBuf,
    one_at_a_time: Mutex<()>,
}

impl Packages {
    /// With a folder of their own there.
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.join("packages"), one_at_a_time: Mutex::default() }
    }

    pub(super) fn install(
        &self,
        name: &PackageName,
        installer: &Installer,
        content: &mut dyn Read,
    ) -> Result<(), HostError> {
        let trying = format!("install the package {name}");
        let _alone = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        let installed = match installer {
            Installer::Msi { artifact: _, product_code, version: _, properties } => {
                let file = self.write(&format!("{}.msi", name.identity()), content, &trying)?;
                let over_itself = observe_product(product_code) != ProductState::Absent;
                let job = MsiJob::Install { file: &file.display().to_string(), properties, over_itself };
                let ended = self.run_msiexec(name, &job, false, &trying);
                remove(&file);
                ended?
            }
            Installer::Exe { artifact: _, arguments, uninstall: _, detect: _, success_codes } => {
                let file = self.write(&format!("{}.exe", name.identity()), content, &trying)?;
                let ended = self.run(Command::new(&file).args(arguments), &trying);
                remove(&file);
                exe_outcome(ended?, success_codes, &trying)?
            }
        };
        note(installed, &trying)
    }

    pub(super) fn uninstall(&self, name: &PackageName, product: &Product) -> Result<(), HostError> {
        let trying = format!("remove the package {name}");
        let _alone = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        let removed = match product {
            Product::Msi(code) => {
                self.make_folder(&trying)?;
                self.run_msiexec(name, &MsiJob::Uninstall { code }, true, &trying)?
            }
            Product::Exe { detect: _, uninstall, success_codes } => {
                let Some((program, arguments)) = uninstall.split_first() else {
                    let message = format!("{trying}: nothing is declared that removes it, expected a program");
                    return Err(HostError::new(Reason::InstallFailed, message));
                };
                self.make_folder(&trying)?;
                exe_outcome(self.run(Command::new(program).args(arguments), &trying)?, success_codes, &trying)?
            }
        };
        note(removed, &trying)
    }

    fn run_msiexec(
        &self,
        name: &PackageName,
        job: &MsiJob<'_>,
        uninstalling: bool,
        trying: &str,
    ) -> Result<Installed, HostError> {
        let log = self.folder.join(format!("{}.log", name.identity()));
        let program = system_directory().join("msiexec.exe");
        let code = self.run(Command::new(program).raw_arg(msiexec(job, &log.display().to_string())), trying)?;
        msi_outcome(code, uninstalling, trying, &end_of(&log).map(|bytes| gist(&bytes)).unwrap_or_default())
    }

    /// Runs to its end; answers with its exit code.
    fn run(&self, command: &mut Command, trying: &str) -> Result<i32, HostError> {
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let started = command.creation_flags(CREATE_NO_WINDOW).spawn();
        let child = started.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => HostError::new(Reason::NotExecutable, format!("{trying}: {error}")),
            _ => failed_io(trying, &error),
        })?;
        Running::new(child).end_within(LONGEST).map_err(|error| failed_io(trying, &error))?.ok_or_else(|| {
            let message = format!("{trying}: the installer did not end within {} min", LONGEST.as_secs() / 60);
            HostError::new(Reason::InstallFailed, message)
        })
    }

    /// Whose name ends as installers expect.
    fn write(&self, name: &str, content: &mut dyn Read, trying: &str) -> Result<PathBuf, HostError> {
        self.make_folder(trying)?;
        let path = self.folder.join(name);
        let mut copy = || {
            let mut file = File::create(&path)?;
            io::copy(content, &mut file)?;
            file.sync_all()
        };
        copy().map_err(|error| failed_io(trying, &error))?;
        Ok(path)
    }

    fn make_folder(&self, trying: &str) -> Result<(), HostError> {
        create_private_directory(&self.folder).map_err(|error| failed_io(trying, &error))
    }
}

/// An installer that runs, and what it starts: not what it has the Windows Installer service do. All of it goes on
/// without the agent.
struct Running {
    process: Process,
    /// `None` where Windows makes none: then what it starts is not known.
    job: Option<Job>,
}

impl Running {
    fn new(child: Child) -> Self {
        let handle = OwnedHandle::from(child);
        let job = Job::that_goes_on().and_then(|job| job.take(&handle).map(|()| job)).ok();
        Self { process: Process::from(handle), job }
    }

    /// Its exit code; `None` where it did not end in time, and was ended with all that it started.
    fn end_within(self, limit: Duration) -> io::Result<Option<i32>> {
        if self.process.ends_within(limit) {
            return self.process.exit_code().map(|code| Some(code.cast_signed())).ok_or_else(io::Error::last_os_error);
        }
        match self.job {
            Some(job) => job.end(),
            None => self.process.terminate()?,
        }
        Ok(None)
    }
}

/// Whether Windows Installer has it for all users of the machine, or for the agent's own.
pub(super) fn observe_product(code: &ProductCode) -> ProductState {
    let code = wide(code.as_str());
    // SAFETY: the text ends with NUL and outlives the call.
    #[allow(unsafe_code)]
    let state = unsafe { MsiQueryProductStateW(code.as_ptr()) };
    if state != INSTALLSTATE_DEFAULT {
        return ProductState::Absent;
    }
    let mut text = [0u16; 64];
    let mut length = u32::try_from(text.len()).unwrap_or_default();
    // SAFETY: both names end with NUL; the buffer has the size that is given.
    #[allow(unsafe_code)]
    let error =
        unsafe { MsiGetProductInfoW(code.as_ptr(), INSTALLPROPERTY_VERSIONSTRING, text.as_mut_ptr(), &mut length) };
    let said = (error == ERROR_SUCCESS).then(|| String::from_utf16_lossy(&text[..(length as usize).min(text.len())]));
    ProductState::Installed { version: said.and_then(|version| MsiVersion::parse(&version).ok()) }
}

fn note(installed: Installed, trying: &str) -> Result<(), HostError> {
    match installed {
        Installed::Done => Ok(()),
        Installed::RestartPending => restart::remember().map_err(|error| failed_io(trying, &error)),
    }
}

/// One that is left is written over by the next installation.
fn remove(file: &Path) {
    if let Err(error) = fs::remove_file(file) {
        tracing::debug!(file = %file.display(), %error, "left");
    }
}

fn end_of(log: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES) & !1))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn system_directory() -> PathBuf {
    let mut text = [0u16; 260];
    // SAFETY: the buffer has the size that is given.
    #[allow(unsafe_code)]
    let length = unsafe { GetSystemDirectoryW(text.as_mut_ptr(), 260) };
    match text.get(..length as usize) {
        Some(path) if length > 0 => PathBuf::from(String::from_utf16_lossy(path)),
        _ => PathBuf::from(r"C:\Windows\System32"),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::BufRead as _, sync::mpsc::channel, thread};

    use super::*;

    fn shell(arguments: &str) -> Child {
        let mut command = Command::new(std::env::var("COMSPEC").expect("a shell"));
        command.raw_arg(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("spawns")
    }

    #[test]
    fn an_installer_that_does_not_end_is_ended_with_what_it_started() {
        // The one that it starts waits for input that never comes, and holds the output open.
        let mut child = shell("/c cmd /c \"echo begun& set /p x=\"");
        let (_input, output) = (child.stdin.take(), child.stdout.take().expect("piped"));
        let (told, events) = channel();
        thread::spawn(move || {
            for line in io::BufReader::new(output).lines().map_while(Result::ok) {
                let _ = told.send(line);
            }
        });
        let running = Running::new(child);
        let deadline = Duration::from_secs(60);
        assert_eq!(events.recv_timeout(deadline).as_deref(), Ok("begun"));
        assert_eq!(running.end_within(Duration::ZERO).expect("waited for"), None);
        let after = events.recv_timeout(deadline);
        assert_eq!(after, Err(std::sync::mpsc::RecvTimeoutError::Disconnected), "nobody holds the output any more");
    }

    #[test]
    fn an_installer_that_ends_says_how() {
        for code in [7, -1] {
            let running = Running::new(shell(&format!("/c exit {code}")));
            assert_eq!(running.end_within(Duration::from_secs(60)).expect("waited for"), Some(code));
        }
    }
}
