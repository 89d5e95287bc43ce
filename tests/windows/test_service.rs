//! A program that tests run on a Windows machine as a real service, as a program that is no service, or as the
//! person who never logs off. What it does it writes to a file, a line each, so that tests read the order of several.

#![allow(clippy::expect_used, missing_docs)]

#[cfg(windows)]
fn main() {
    windows::main();
}

#[cfg(not(windows))]
fn main() {
    eprintln!("windlass-test-service is for Windows");
}

#[cfg(windows)]
mod windows {
    use std::{
        ffi::OsString,
        fs::OpenOptions,
        io::{Read, Write},
        net::{Ipv4Addr, TcpListener},
        path::PathBuf,
        process,
        sync::{OnceLock, mpsc},
        thread,
        time::Duration,
    };

    use clap::{Args, Parser, Subcommand};
    use windows_service::{
        define_windows_service,
        service::{ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType},
        service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle},
        service_dispatcher,
    };

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        role: Role,
    }

    #[derive(Subcommand)]
    enum Role {
        /// Does nothing for as long as it lives: Wine ends its services when the last program of a person ends.
        Sleep,
        /// Is a service; for the service control manager alone.
        Service(Settings),
        /// Is a service in the agent's place: takes the agent's command, and writes to C:\\windlass-agent.log.
        Run {
            #[arg(long)]
            service: bool,
        },
        /// Is a program of the console that ends at CTRL+BREAK.
        Program(Settings),
    }

    #[derive(Args, Default)]
    struct Settings {
        /// As the lines call it.
        name: String,
        /// Where the lines go.
        #[arg(long)]
        log: PathBuf,
        /// Answers HTTP here once it is ready; GET /crash ends it with 42.
        #[arg(long)]
        port: Option<u16>,
        /// How long it is running before it is ready.
        #[arg(long, default_value_t = 0)]
        ready_after_milliseconds: u64,
        /// How long it is starting before it is running; a service alone.
        #[arg(long, default_value_t = 0)]
        start_takes_milliseconds: u64,
        /// How long it takes to stop.
        #[arg(long, default_value_t = 0)]
        stop_takes_milliseconds: u64,
        /// Ends itself so long after it runs, with 42 and without a word to the service control manager.
        #[arg(long)]
        crash_after_milliseconds: Option<u64>,
        /// Whose content the line `running` shows.
        #[arg(long)]
        show: Option<PathBuf>,
    }

    impl Settings {
        fn tell(&self, what: &str) {
            let mut file = OpenOptions::new().create(true).read(true).append(true).open(&self.log).expect("the log");
            // Two that append at once under Wine write over each other.
            file.lock().expect("the log for one writer");
            file.write_all(format!("{} {what}\n", self.name).as_bytes()).expect("one line");
        }

        fn tell_running(&self) {
            let shown = self.show.as_ref().map(|path| std::fs::read_to_string(path).expect("a file to show"));
            self.tell(&format!("running {}", shown.unwrap_or_default()).trim_end().replace('\n', " "));
        }

        /// What it does while it runs.
        fn work(&'static self) {
            thread::spawn(|| {
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
                    let _ =
                        connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
                }
            });
            if let Some(milliseconds) = self.crash_after_milliseconds {
                thread::spawn(move || {
                    wait(milliseconds);
                    self.crash();
                });
            }
        }

        fn crash(&self) -> ! {
            self.tell("crashes");
            process::exit(42)
        }
    }

    static SETTINGS: OnceLock<Settings> = OnceLock::new();

    pub fn main() {
        match Cli::parse().role {
            Role::Sleep => loop {
                thread::park();
            },
            Role::Service(settings) => serve(settings),
            Role::Run { service: _ } => {
                let log = PathBuf::from(r"C:\windlass-agent.log");
                serve(Settings { name: "windlass-agent".to_owned(), log, ..Settings::default() });
            }
            Role::Program(settings) => run_program(SETTINGS.get_or_init(|| settings)),
        }
    }

    fn serve(settings: Settings) {
        let name = SETTINGS.get_or_init(|| settings).name.clone();
        service_dispatcher::start(name, service_main).expect("the service control manager");
    }

    define_windows_service!(service_main, run_service);

    fn run_service(_: Vec<OsString>) {
        let settings = SETTINGS.get().expect("set by main");
        let (controls, control) = mpsc::channel();
        let handler = move |event| match event {
            ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
            _ => match controls.send(event) {
                Ok(()) => ServiceControlHandlerResult::NoError,
                Err(_) => ServiceControlHandlerResult::NotImplemented,
            },
        };
        let handle = service_control_handler::register(&settings.name, handler).expect("a handler of controls");
        if settings.start_takes_milliseconds > 0 {
            report(handle, ServiceState::StartPending, settings.start_takes_milliseconds);
            settings.tell("starting");
            wait(settings.start_takes_milliseconds);
        }
        settings.work();
        settings.tell_running();
        report(handle, ServiceState::Running, 0);
        loop {
            match control.recv().expect("the handler lives") {
                ServiceControl::Pause => {
                    settings.tell("paused");
                    report(handle, ServiceState::Paused, 0);
                }
                ServiceControl::Continue => {
                    settings.tell("continued");
                    report(handle, ServiceState::Running, 0);
                }
                _ => break,
            }
        }
        report(handle, ServiceState::StopPending, settings.stop_takes_milliseconds);
        settings.tell("stopping");
        wait(settings.stop_takes_milliseconds);
        settings.tell("stopped");
        report(handle, ServiceState::Stopped, 0);
    }

    fn report(handle: ServiceStatusHandle, state: ServiceState, takes_milliseconds: u64) {
        let pending = matches!(state, ServiceState::StartPending | ServiceState::StopPending);
        let controls =
            ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN | ServiceControlAccept::PAUSE_CONTINUE;
        let idle = pending || state == ServiceState::Stopped;
        let status = ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state: state,
            controls_accepted: if idle { ServiceControlAccept::empty() } else { controls },
            exit_code: ServiceExitCode::Win32(0),
            checkpoint: u32::from(pending),
            wait_hint: Duration::from_millis(if pending { takes_milliseconds + 2000 } else { 0 }),
            process_id: None,
        };
        handle.set_service_status(status).expect("the service control manager takes a status");
    }

    fn run_program(settings: &'static Settings) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut asked = tokio::signal::windows::ctrl_break().expect("CTRL+BREAK");
            settings.work();
            settings.tell_running();
            println!("{} writes to its output", settings.name);
            asked.recv().await;
            settings.tell("stopping");
        });
        wait(settings.stop_takes_milliseconds);
        settings.tell("stopped");
    }

    fn wait(milliseconds: u64) {
        thread::sleep(Duration::from_millis(milliseconds));
    }
}
