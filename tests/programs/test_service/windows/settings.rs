//! How the program behaves, and what it writes and answers while it runs, be it a service or not.

use std::{
    env,
    fs::{self, OpenOptions},
    io::{Read, Write},
    mem,
    net::{Ipv4Addr, TcpListener},
    os::windows::fs::OpenOptionsExt as _,
    path::PathBuf,
    process, thread,
    time::Duration,
};

use clap::Args;

/// How often it says that it starts or stops, and looks for a file.
pub const STEP: Duration = Duration::from_millis(100);
const SHARE_READ: u32 = 1;

#[derive(Args, Default)]
pub struct Settings {
    /// As the lines call it.
    pub name: String,
    /// Where the lines go.
    #[arg(long)]
    log: Option<PathBuf>,
    /// Answers HTTP here once it is ready; GET /crash ends it with 42.
    #[arg(long)]
    port: Option<u16>,
    /// How long it is running before it is ready.
    #[arg(long, default_value_t = 0)]
    ready_after_milliseconds: u64,
    /// How long it is starting before it is running; a service alone.
    #[arg(long, default_value_t = 0)]
    pub start_takes_milliseconds: u64,
    /// How long it takes to stop.
    #[arg(long, default_value_t = 0)]
    pub stop_takes_milliseconds: u64,
    /// Stops instead of running, with this code of its own; a service alone.
    #[arg(long)]
    pub fails_with: Option<u32>,
    /// Ends itself so long after it runs, with 42 and without a word to the service control manager.
    #[arg(long)]
    crash_after_milliseconds: Option<u64>,
    /// The same, once this file is there.
    #[arg(long)]
    crash_at: Option<PathBuf>,
    /// Says that it cannot be paused; a service alone.
    #[arg(long)]
    pub refuses_pause: bool,
    /// Takes it that it is asked to stop, and goes on.
    #[arg(long)]
    pub refuses_stop: bool,
    /// Whose content the line `running` shows.
    #[arg(long)]
    show: Option<PathBuf>,
    /// A variable of the environment that the line `running` shows.
    #[arg(long)]
    show_variable: Option<String>,
    /// Writes a line with its folder and what ACME holds in its environment before it is running.
    #[arg(long)]
    show_surroundings: bool,
    /// A file that nobody can remove while the program lives.
    #[arg(long)]
    hold: Option<PathBuf>,
}

impl Settings {
    pub fn in_the_agents_place() -> Self {
        let log = Some(PathBuf::from(r"C:\windlass-agent.log"));
        Self { name: "windlass-agent".to_owned(), log, ..Self::default() }
    }

    pub fn tell(&self, what: &str) {
        let Some(log) = &self.log else { return };
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(log).expect("the log");
        // Two that append at once under Wine write over each other.
        file.lock().expect("the log for one writer");
        file.write_all(format!("{} {what}\n", self.name).as_bytes()).expect("one line");
    }

    /// What it does while it runs, in threads of its own.
    pub fn work(&'static self) {
        if let Some(path) = &self.hold {
            let file = OpenOptions::new().write(true).create(true).truncate(true).share_mode(SHARE_READ).open(path);
            mem::forget(file.expect("the file to hold"));
        }
        self.tell_running();
        thread::spawn(|| self.answer());
        if self.crash_after_milliseconds.is_some() || self.crash_at.is_some() {
            thread::spawn(|| self.wait_and_crash());
        }
    }

    fn tell_running(&self) {
        if self.show_surroundings {
            let folder = env::current_dir().expect("a folder");
            self.tell(&format!("in {} with ACME={}", folder.display(), env::var("ACME").unwrap_or_default()));
        }
        let shown = self.show.as_ref().map(|path| fs::read_to_string(path).expect("a file to show"));
        let variable = self.show_variable.as_ref().map(|name| env::var(name).expect("a variable to show"));
        let shown: Vec<String> = shown.into_iter().chain(variable).collect();
        self.tell(&format!("running {}", shown.join(" ")).trim_end().replace('\n', " "));
    }

    fn answer(&self) {
        wait(self.ready_after_milliseconds);
        let listener = self.port.map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port"));
        self.tell("ready");
        for connection in listener.iter().flat_map(TcpListener::incoming) {
            let mut connection = connection.expect("a connection");
            let mut request = [0; 1024];
            let length = connection.read(&mut request).unwrap_or_default();
            if request[..length].starts_with(b"GET /crash") {
                self.crash();
            }
            let _ = connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        }
    }

    fn wait_and_crash(&self) {
        wait(self.crash_after_milliseconds.unwrap_or_default());
        while self.crash_at.as_ref().is_some_and(|file| !file.exists()) {
            thread::sleep(STEP);
        }
        self.crash();
    }

    fn crash(&self) -> ! {
        self.tell("crashes");
        process::exit(42)
    }
}

pub fn wait(milliseconds: u64) {
    thread::sleep(Duration::from_millis(milliseconds));
}
