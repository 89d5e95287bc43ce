//! A Windows service for tests, told by its arguments how to behave: `NAME [MODE VALUE]…`.
//!
//! `log FILE`: appends a line for each thing that happens. `slow N`: starts in N checkpoints of 100 ms. `fails CODE`:
//! stops at once with a code of its own. `crashes FILE`: ends without a word once that file is there. `pauses no`: cannot be paused.
//! `stops no`: takes the stop control and goes on. `listens PORT`: answers 200 to HTTP once it runs, and 503 while the
//! file of `ready FILE` is not there.

#![allow(clippy::expect_used)]

#[cfg(windows)]
fn main() {
    program::main();
}

#[cfg(not(windows))]
fn main() {
    eprintln!("this is a program for Windows");
    std::process::exit(1);
}

#[cfg(windows)]
mod program {
    use std::{
        collections::BTreeMap,
        ffi::OsString,
        fs::OpenOptions,
        io::{Read as _, Write as _},
        net::TcpListener,
        path::Path,
        sync::mpsc::{Receiver, RecvTimeoutError, channel},
        time::Duration,
    };

    use windows_service::{
        define_windows_service,
        service::{ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType},
        service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle},
        service_dispatcher,
    };

    const STEP: Duration = Duration::from_millis(100);

    define_windows_service!(service_main, run);

    pub fn main() {
        let name = std::env::args().nth(1).expect("the service's name");
        if name == "program" {
            return be_a_program();
        }
        service_dispatcher::start(name, service_main).expect("started by the SCM");
        // Wine comes back as soon as the stop control was handled.
        if std::env::args().any(|word| word == "stops") {
            loop {
                std::thread::park();
            }
        }
    }

    /// No service: `program FILE [EXIT-CODE]`. Holds the file open while it runs, and ends with the code once a line
    /// `end` comes to the file `FILE.end`, or else when its console says so, with 0 (`FILE.stubborn`: never).
    fn be_a_program() {
        use std::os::windows::fs::OpenOptionsExt as _;
        let file = std::env::args().nth(2).expect("a file");
        let mut held =
            OpenOptions::new().write(true).create(true).truncate(true).share_mode(1).open(&file).expect("opens");
        write!(held, "{:?} in {:?}", std::env::var("ACME").ok(), std::env::current_dir().expect("somewhere"))
            .expect("writes");
        println!("to stdout");
        eprintln!("to stderr");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut asked = tokio::signal::windows::ctrl_break().expect("listens");
            loop {
                tokio::select! {
                    _ = asked.recv() => {
                        println!("asked to stop");
                        if !Path::new(&format!("{file}.stubborn")).exists() {
                            return;
                        }
                    }
                    () = tokio::time::sleep(STEP) => {}
                }
                if Path::new(&format!("{file}.end")).exists() {
                    std::process::exit(std::env::args().nth(3).map_or(0, |code| code.parse().expect("a number")));
                }
            }
        });
    }

    fn run(_: Vec<OsString>) {
        let mut words = std::env::args().skip(1);
        let name = words.next().expect("the service's name");
        let words: Vec<String> = words.collect();
        let modes: BTreeMap<String, String> = words.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
        let (tell, told) = channel();
        // The handler and its end of the channel are gone once it was asked to stop.
        let _kept = tell.clone();
        let handler = move |control| match control {
            ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
            ServiceControl::Stop | ServiceControl::Pause | ServiceControl::Continue => {
                tell.send(control).expect("it runs");
                ServiceControlHandlerResult::NoError
            }
            _ => ServiceControlHandlerResult::NotImplemented,
        };
        let status = service_control_handler::register(&name, handler).expect("registers");
        let service = Service { name, modes, status, checkpoint: 0 };
        service.live(&told);
    }

    struct Service {
        name: String,
        modes: BTreeMap<String, String>,
        status: ServiceStatusHandle,
        checkpoint: u32,
    }

    impl Service {
        fn live(mut self, told: &Receiver<ServiceControl>) {
            let account = std::env::var("USERNAME").unwrap_or_default();
            self.log(&format!("start of {} as {account} with {:?}", self.name, std::env::var("ACME").ok()));
            for _ in 0..self.mode("slow").map_or(0, |steps| steps.parse().expect("a number")) {
                self.say(ServiceState::StartPending, ServiceExitCode::NO_ERROR);
                std::thread::sleep(STEP);
            }
            if let Some(code) = self.mode("fails") {
                let code = ServiceExitCode::ServiceSpecific(code.parse().expect("a number"));
                return self.say(ServiceState::Stopped, code);
            }
            if let Some(port) = self.mode("listens") {
                let listener = TcpListener::bind(format!("127.0.0.1:{port}")).expect("binds");
                let ready = self.mode("ready");
                std::thread::spawn(move || answer(&listener, ready.as_deref()));
            }
            self.say(ServiceState::Running, ServiceExitCode::NO_ERROR);
            loop {
                match told.recv_timeout(STEP) {
                    Ok(ServiceControl::Stop) if self.mode("stops").as_deref() == Some("no") => self.log("stop refused"),
                    Ok(ServiceControl::Stop) => {
                        self.log("stop");
                        return self.say(ServiceState::Stopped, ServiceExitCode::NO_ERROR);
                    }
                    Ok(ServiceControl::Pause) => {
                        self.log("pause");
                        self.say(ServiceState::Paused, ServiceExitCode::NO_ERROR);
                    }
                    Ok(_) => {
                        self.log("continue");
                        self.say(ServiceState::Running, ServiceExitCode::NO_ERROR);
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => unreachable!("one end is kept"),
                }
                if self.mode("crashes").is_some_and(|file| Path::new(&file).exists()) {
                    self.log("crash");
                    std::process::exit(9);
                }
            }
        }

        fn mode(&self, name: &str) -> Option<String> {
            self.modes.get(name).cloned()
        }

        fn log(&self, line: &str) {
            let Some(file) = self.mode("log") else { return };
            let mut log = OpenOptions::new().create(true).append(true).open(file).expect("opens the log");
            log.write_all(format!("{line}\n").as_bytes()).expect("writes the log");
        }

        fn say(&mut self, state: ServiceState, exit_code: ServiceExitCode) {
            let pending = state == ServiceState::StartPending;
            self.checkpoint = if pending { self.checkpoint + 1 } else { 0 };
            let mut accepted = ServiceControlAccept::STOP;
            if self.mode("pauses").as_deref() != Some("no") {
                accepted |= ServiceControlAccept::PAUSE_CONTINUE;
            }
            let status = ServiceStatus {
                service_type: ServiceType::OWN_PROCESS,
                current_state: state,
                controls_accepted: if pending { ServiceControlAccept::empty() } else { accepted },
                exit_code,
                checkpoint: self.checkpoint,
                wait_hint: if pending { STEP * 5 } else { Duration::ZERO },
                process_id: None,
            };
            self.status.set_service_status(status).expect("says how it is");
        }
    }

    fn answer(listener: &TcpListener, ready: Option<&str>) {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let _ = stream.read(&mut [0; 4096]);
            let is_ready = ready.is_none_or(|file| Path::new(file).exists());
            let line = if is_ready { "200 OK" } else { "503 Service Unavailable" };
            let _ = write!(stream, "HTTP/1.1 {line}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    }
}
