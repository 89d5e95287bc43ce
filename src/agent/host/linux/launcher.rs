//! The launcher's end of a launch, a process of its own with one thread: waits until the agent has written down
//! who it is, then becomes the service's program. If the agent is gone by then, it ends and nothing ran.

use std::{
    ffi::CString,
    fs,
    io::{self, Read, Write, stdin},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Command, ExitCode, Stdio},
};

use nix::unistd::{User, geteuid, initgroups, setgid, setuid};
use rustix::{
    fs::Mode,
    io::{FdFlags, fcntl_setfd},
    process::{Signal, set_parent_process_death_signal, setsid, umask},
};

use super::{
    accounts,
    launch::{GO, Launch, READY, REFUSED, Refusal},
};
use crate::agent::host::{HostError, Reason};

/// The usual places of programs, as systemd gives them to its services.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// A command of 64 words and an environment of 64 variables, 4096 bytes each, with room for JSON's escapes.
const LONGEST: usize = 8 << 20;

/// The hidden verb `launch`. Does not return where all goes well.
pub fn launch() -> ExitCode {
    // This one closes itself when the program takes over.
    let control = stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    let Ok(mut control) = control else { return ExitCode::FAILURE };
    let Ok(launch) = read(&mut control) else { return ExitCode::FAILURE };
    let HostError { reason, message } = match become_program(&launch, &mut control) {
        Outcome::AgentGone => return ExitCode::SUCCESS,
        Outcome::Refused(error) => error,
    };
    let refusal = Refusal { reason: reason.as_str().to_owned(), message };
    let mut answer = vec![REFUSED];
    if let Ok(json) = serde_json::to_vec(&refusal) {
        answer.extend(json);
    }
    let _ = control.write_all(&answer);
    ExitCode::FAILURE
}

enum Outcome {
    AgentGone,
    Refused(HostError),
}

impl From<HostError> for Outcome {
    fn from(error: HostError) -> Self {
        Self::Refused(error)
    }
}

fn read(control: &mut UnixStream) -> io::Result<Launch> {
    let mut length = [0; 4];
    control.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    control.read_exact(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

fn become_program(launch: &Launch, control: &mut UnixStream) -> Outcome {
    match prepare(launch) {
        Ok((command, user)) => {
            if control.write_all(&[READY]).is_err() || !told_to_go(control) {
                return Outcome::AgentGone;
            }
            take_over(launch, command, &user).into()
        }
        Err(error) => error.into(),
    }
}

fn told_to_go(control: &mut UnixStream) -> bool {
    let mut told = [0];
    control.read_exact(&mut told).is_ok() && told == [GO]
}

fn prepare(launch: &Launch) -> Result<(Command, User), HostError> {
    // A session and group of its own: the whole of it can be stopped, and no terminal's end reaches it.
    setsid().map_err(|error| failed("begin a session", error.into()))?;
    umask(Mode::WGRP | Mode::WOTH);
    let user = match &launch.account {
        Some(account) => accounts::find_user(account)?,
        None => own_user()?,
    };
    if user.uid != geteuid() && !geteuid().is_root() {
        return Err(HostError {
            reason: Reason::PermissionDenied,
            message: format!(
                "run as {}: the agent itself is not root, so it starts programs as itself only",
                user.name
            ),
        });
    }
    let Some((program, arguments)) = launch.command.split_first() else {
        return Err(HostError {
            reason: Reason::NotExecutable,
            message: "start a service: its command is empty".into(),
        });
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", &user.dir)
        .env("USER", &user.name)
        .env("LOGNAME", &user.name)
        .env("SHELL", &user.shell)
        .envs(launch.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null());
    Ok((command, user))
}

/// Returns only with what kept it from becoming the program.
fn take_over(launch: &Launch, mut command: Command, user: &User) -> HostError {
    let program = launch.command.first().map(String::as_str).unwrap_or_default();
    if let Err(error) = close_inherited().and_then(|()| drop_privileges(user)) {
        return failed(&format!("run {program} as {}", user.name), error);
    }
    // After the change of account, which would undo it.
    if launch.ends_with_agent
        && let Err(error) = set_parent_process_death_signal(Some(Signal::KILL))
    {
        return failed("tie a check to the agent", error.into());
    }
    if let Err(error) = std::env::set_current_dir(&launch.working_directory) {
        return failed(&format!("enter the working directory {} as {}", launch.working_directory, user.name), error);
    }
    let error = command.exec();
    let message = format!("start {program} as {}: {error}; expected an executable program", user.name);
    HostError { reason: Reason::NotExecutable, message }
}

/// What the agent inherited from whoever started it is not passed on. Its own files are closed anyway.
fn close_inherited() -> io::Result<()> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let Some(fd) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if fd > 2 {
            // SAFETY: /proc has just listed it, and this process has one thread, which closes nothing here but
            // the listing itself, and that only after the loop.
            #[allow(unsafe_code)]
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            fcntl_setfd(fd, FdFlags::CLOEXEC)?;
        }
    }
    Ok(())
}

fn drop_privileges(user: &User) -> io::Result<()> {
    if user.uid == geteuid() {
        return Ok(());
    }
    let name = CString::new(user.name.as_bytes())?;
    initgroups(&name, user.gid)?;
    setgid(user.gid)?;
    setuid(user.uid)?;
    Ok(())
}

fn own_user() -> Result<User, HostError> {
    let uid = geteuid();
    let found = User::from_uid(uid).ok().flatten();
    Ok(found.unwrap_or_else(|| accounts::nameless_user(uid)))
}

fn failed(what: &str, error: io::Error) -> HostError {
    let reason = match error.kind() {
        io::ErrorKind::PermissionDenied => Reason::PermissionDenied,
        _ => Reason::IoError,
    };
    HostError { reason, message: format!("{what}: {error}") }
}
