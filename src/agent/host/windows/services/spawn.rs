//! Starts a program in a job of its own, which ends it and all that it started. Does IO.
//! Source: Win32, "Job Objects", CreateProcessW and CreateProcessAsUserW.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::windows::io::{AsRawHandle, FromRawHandle as _, OwnedHandle},
    path::Path,
    ptr::{null, null_mut},
};

use windows_sys::Win32::{
    Foundation::{HANDLE, HANDLE_FLAG_INHERIT, SetHandleInformation},
    System::Threading::{
        CREATE_SUSPENDED, CREATE_UNICODE_ENVIRONMENT, CreateProcessAsUserW, CreateProcessW, PROCESS_CREATION_FLAGS,
        PROCESS_INFORMATION, ResumeThread, STARTF_USESTDHANDLES, STARTUPINFOW,
    },
};

use super::super::{job::Job, process::Process, strings::wide};
use crate::agent::scm::command_line;

/// What is to be started.
pub(in super::super) struct Spawn<'a> {
    /// Program and arguments.
    pub(in super::super) command: &'a [String],
    /// All of its environment.
    pub(in super::super) environment: &'a BTreeMap<String, String>,
    /// `None`: this program's.
    pub(in super::super) directory: Option<&'a Path>,
    /// Where its output goes; `None`: nowhere.
    pub(in super::super) output: Option<&'a File>,
    /// Whose it is; `None`: this program's account.
    pub(in super::super) token: Option<&'a OwnedHandle>,
    /// How it stands to the console.
    pub(in super::super) flags: PROCESS_CREATION_FLAGS,
}

/// A program that runs, and what it starts. All of it ends when this is dropped.
pub(in super::super) struct Spawned {
    pub(in super::super) process: Process,
    pub(in super::super) pid: u32,
    job: Job,
}

impl Spawn<'_> {
    /// Starts it: in its job before its first instruction.
    pub(in super::super) fn spawn(&self) -> io::Result<Spawned> {
        let job = Job::that_ends_with_this()?;
        let nothing = File::options().read(true).write(true).open("NUL")?;
        let output = self.output.unwrap_or(&nothing);
        // Another account has no right to this program's desktop: an empty name has the system choose one.
        let mut desktop = [0u16];
        let mut startup = STARTUPINFOW {
            cb: u32::try_from(size_of::<STARTUPINFOW>()).unwrap_or_default(),
            lpDesktop: if self.token.is_some() { desktop.as_mut_ptr() } else { null_mut() },
            dwFlags: STARTF_USESTDHANDLES,
            hStdInput: inheritable(&nothing)?,
            hStdOutput: inheritable(output)?,
            hStdError: output.as_raw_handle(),
            ..STARTUPINFOW::default()
        };
        let mut line = wide(command_line::join(self.command));
        let program = self.command.first().map(wide).unwrap_or_else(|| vec![0]);
        let environment = block(self.environment);
        let directory = self.directory.map(wide);
        let flags = self.flags | CREATE_SUSPENDED | CREATE_UNICODE_ENVIRONMENT;
        let mut made = PROCESS_INFORMATION::default();
        let (program, line) = (program.as_ptr(), line.as_mut_ptr());
        let (environment, directory) = (environment.as_ptr().cast(), directory.as_ref().map_or(null(), Vec::as_ptr));
        let startup = &raw mut startup;
        // SAFETY: all texts end with NUL (the environment with two) and outlive the call, as do the handles.
        #[allow(unsafe_code)]
        let done = unsafe {
            match self.token {
                Some(token) => CreateProcessAsUserW(
                    token.as_raw_handle(),
                    program,
                    line,
                    null(),
                    null(),
                    1,
                    flags,
                    environment,
                    directory,
                    startup,
                    &mut made,
                ),
                None => {
                    CreateProcessW(program, line, null(), null(), 1, flags, environment, directory, startup, &mut made)
                }
            }
        };
        if done == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: both handles are open, and from here on owned by these alone.
        #[allow(unsafe_code)]
        let (process, thread) =
            unsafe { (OwnedHandle::from_raw_handle(made.hProcess), OwnedHandle::from_raw_handle(made.hThread)) };
        let taken = job.take(&process);
        let spawned = Spawned { process: Process::from(process), pid: made.dwProcessId, job };
        if let Err(error) = taken {
            let _ = spawned.process.terminate();
            return Err(error);
        }
        // SAFETY: the handle is open.
        #[allow(unsafe_code)]
        let resumed = unsafe { ResumeThread(thread.as_raw_handle()) };
        if resumed == u32::MAX { Err(io::Error::last_os_error()) } else { Ok(spawned) }
    }
}

impl Spawned {
    /// Ends all of it.
    pub(in super::super) fn end(&self) {
        self.job.end();
    }
}

fn inheritable(file: &File) -> io::Result<HANDLE> {
    let handle = file.as_raw_handle();
    // SAFETY: the handle is open.
    #[allow(unsafe_code)]
    let done = unsafe { SetHandleInformation(handle, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT) };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(handle) }
}

/// As CreateProcess takes it, in order of the names.
fn block(environment: &BTreeMap<String, String>) -> Vec<u16> {
    let mut block: Vec<u16> = environment.iter().flat_map(|(name, value)| wide(format!("{name}={value}"))).collect();
    block.extend([0, 0]);
    block
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, time::Duration};

    use super::*;

    fn spawn(script: &str, output: Option<&File>) -> Spawned {
        let shell = std::env::var("COMSPEC").expect("a shell");
        let command = [shell, "/c".to_owned(), script.to_owned()];
        let environment = BTreeMap::from([("ACME".to_owned(), "a b".to_owned())]);
        let spawn =
            Spawn { command: &command, environment: &environment, directory: None, output, token: None, flags: 0 };
        spawn.spawn().expect("spawns")
    }

    #[test]
    fn a_program_runs_with_the_environment_and_output_that_it_is_given() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("output");
        let spawned = spawn("echo %ACME%& exit 7", Some(&File::create(&path).expect("made")));
        assert!(spawned.process.ends_within(Duration::from_secs(60)));
        assert_eq!(spawned.process.exit_code(), Some(7));
        let mut text = String::new();
        File::open(&path).expect("there").read_to_string(&mut text).expect("text");
        assert_eq!(text.trim(), "a b");
    }
}
