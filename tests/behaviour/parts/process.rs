//! A program that runs beside the test: its log in a file, its end on drop.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};

pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program`; the kernel ends it with the thread that started it, should the test be killed.
    /// The log is appended to.
    pub fn start<A: AsRef<OsStr>>(program: &[A], environment: &[(String, String)], log: &Path) -> Self {
        let out = File::options().create(true).append(true).open(log).expect("log file");
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .args(program)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("log file"))
            .stderr(out)
            .spawn()
            .expect("setpriv of util-linux");
        Self { child, log: log.to_owned() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn signal(&self, with: Signal) {
        signal(self.pid(), with);
    }

    /// kill -9, and waits for the end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("own child")
    }

    /// Waits for its end within the time.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.has_ended() {
                return status;
            }
            assert!(begun.elapsed() < within, "process did not end within {within:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal to a process, if it is still there.
pub fn signal(pid: u32, with: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, with);
    }
}

/// Whether a process is there and has not ended (a zombie has).
pub fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X'])))
}

/// Ends every process that works in `folder`: has it in its command line, or writes or lives in it.
pub fn end_all_in(folder: &Path) {
    let own = std::process::id();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if pid != own && works_in(&entry.path(), folder) {
            signal(pid, Signal::KILL);
        }
    }
}

fn works_in(process: &Path, folder: &Path) -> bool {
    let below = |link: &str| fs::read_link(process.join(link)).is_ok_and(|target| target.starts_with(folder));
    let named = fs::read(process.join("cmdline")).is_ok_and(|line| {
        let folder = folder.as_os_str().as_encoded_bytes();
        line.windows(folder.len()).any(|part| part == folder)
    });
    named || ["cwd", "exe", "fd/1", "fd/2"].into_iter().any(below)
}
