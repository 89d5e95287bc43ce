//! Installs, starts, stops and removes the service. Run by an administrator at a console. Does IO and blocks.

use std::{
    ffi::OsString,
    fs, io,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use windows_service::service::{
    Service, ServiceAccess, ServiceErrorControl, ServiceExitCode, ServiceInfo, ServiceStartType, ServiceState,
    ServiceStatus, ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

use super::{configure, failed, failed_io, registry};
use crate::agent::{
    enrollment_file,
    host::machine,
    service::{
        DISPLAY_NAME, Install, NAME, enrollment_path,
        verbs::{ENDED_BY_ITSELF, NO_SUCH_SERVICE, NOT_RUNNING, TIMED_OUT, VerbError},
    },
};

/// How long a service may take to start or to stop.
const DEADLINE: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Makes the state directory and the service, and starts it.
pub fn install(install: &Install) -> Result<(), VerbError> {
    let Install { enrollment, state_dir, names_state_dir, start: starts } = install;
    let enrollment = match enrollment {
        Some(path) => {
            enrollment_file::read(path).map_err(|error| {
                let code = windows_sys::Win32::Foundation::ERROR_INVALID_DATA;
                VerbError::new("install", code, error.to_string())
            })?;
            Some(fs::read(path).map_err(failed_io(format!("read {}", path.display())))?)
        }
        None => None,
    };
    let program = std::env::current_exe().map_err(failed_io("find this program".to_owned()))?;
    let mut launch_arguments: Vec<OsString> = ["run", "--service"].map(OsString::from).to_vec();
    if *names_state_dir {
        let absolute = std::path::absolute(state_dir).map_err(failed_io(format!("find {}", state_dir.display())))?;
        launch_arguments.extend(["--state-dir".into(), absolute.into_os_string()]);
    }

    let access = ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE;
    let manager = ServiceManager::local_computer(None::<&str>, access).map_err(failed("install"))?;
    let info = ServiceInfo {
        name: NAME.into(),
        display_name: DISPLAY_NAME.into(),
        service_type: ServiceType::OWN_PROCESS,
        // Not delayed: it starts the services that it orders.
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: program.clone(),
        launch_arguments,
        dependencies: Vec::new(),
        account_name: None,
        account_password: None,
    };
    // First: the files of a service that is there, or is being removed, are not touched.
    let access = configure::ACCESS | ServiceAccess::DELETE;
    let service = manager.create_service(&info, access).map_err(failed("install"))?;
    if let Err(error) = equip(&service, &program, state_dir, enrollment.as_deref()) {
        let _ = service.delete();
        return Err(error);
    }
    drop(service);
    println!("windlass-agent: installed");
    if *starts { start() } else { Ok(()) }
}

/// What a new service needs beside its entry in the SCM.
fn equip(service: &Service, program: &Path, state_dir: &Path, enrollment: Option<&[u8]>) -> Result<(), VerbError> {
    machine::create_private_directory(state_dir).map_err(failed_io(format!("create {}", state_dir.display())))?;
    if let Some(bytes) = enrollment {
        let path = enrollment_path(state_dir);
        machine::write_private_file(&path, bytes).map_err(failed_io(format!("write {}", path.display())))?;
    }
    for refused in configure::configure(service) {
        let configure::Refused { what, code, said } = &refused;
        if refused.is_unknown_here() {
            eprintln!("windlass-agent: {what}: not known to this Windows (error {code}); installed without");
        } else {
            return Err(VerbError::new(format!("install the service {NAME}: set its {what}"), *code, said));
        }
    }
    registry::add_event_source(program)
}

/// Stops and removes the service, and with `purge` also what the agent keeps in `state_dir`.
pub fn uninstall(state_dir: &Path, purge: bool) -> Result<(), VerbError> {
    let access = ServiceAccess::QUERY_STATUS | ServiceAccess::STOP | ServiceAccess::DELETE;
    match open(access, "uninstall") {
        Ok(service) => {
            match stop_service(&service) {
                Err(error) if error.exit_code() != NOT_RUNNING => return Err(error),
                _ => {}
            }
            service.delete().map_err(failed("uninstall"))?;
            drop(service);
            registry::remove_event_source()?;
            println!("windlass-agent: uninstalled");
        }
        // What an earlier uninstall left may be purged later.
        Err(error) if purge && error.exit_code() == NO_SUCH_SERVICE => {}
        Err(error) => return Err(error),
    }
    if purge { purge_state(state_dir) } else { Ok(()) }
}

fn purge_state(state_dir: &Path) -> Result<(), VerbError> {
    let shown = state_dir.display();
    if !state_dir.exists() {
        return Ok(());
    }
    // A directory that was named by mistake is not emptied.
    if !["agent.redb", "identity"].iter().any(|name| state_dir.join(name).exists()) {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "no agent kept its state there");
        return Err(failed_io(format!("remove {shown}"))(error));
    }
    fs::remove_dir_all(state_dir).map_err(failed_io(format!("remove {shown}")))?;
    registry::remove_parameters()?;
    println!("windlass-agent: removed {shown}");
    Ok(())
}

/// Starts the service and waits until it runs.
pub fn start() -> Result<(), VerbError> {
    let service = open(ServiceAccess::START | ServiceAccess::QUERY_STATUS, "start")?;
    service.start::<&str>(&[]).map_err(failed("start"))?;
    let status = wait(&service, "start", |state| state != ServiceState::StartPending)?;
    match (status.current_state, status.exit_code) {
        (ServiceState::Stopped, ServiceExitCode::Win32(code)) if code != ENDED_BY_ITSELF && code != 0 => {
            let said = io::Error::from_raw_os_error(code.cast_signed()).to_string();
            Err(VerbError::new(format!("start the service {NAME}"), code, said))
        }
        (ServiceState::Stopped, _) => Err(VerbError::new(format!("start the service {NAME}"), ENDED_BY_ITSELF, "")),
        _ => {
            println!("windlass-agent: started");
            Ok(())
        }
    }
}

/// Stops the service, and no other, and waits until it has ended.
pub fn stop() -> Result<(), VerbError> {
    stop_service(&open(ServiceAccess::STOP | ServiceAccess::QUERY_STATUS, "stop")?)?;
    println!("windlass-agent: stopped");
    Ok(())
}

fn stop_service(service: &Service) -> Result<(), VerbError> {
    service.stop().map_err(failed("stop"))?;
    wait(service, "stop", |state| state == ServiceState::Stopped)?;
    Ok(())
}

fn open(access: ServiceAccess, what: &'static str) -> Result<Service, VerbError> {
    let manager = ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT).map_err(failed(what))?;
    manager.open_service(NAME, access).map_err(failed(what))
}

fn wait(
    service: &Service,
    what: &'static str,
    arrived: impl Fn(ServiceState) -> bool,
) -> Result<ServiceStatus, VerbError> {
    let begun = Instant::now();
    loop {
        let status = service.query_status().map_err(failed(what))?;
        if arrived(status.current_state) {
            return Ok(status);
        }
        if begun.elapsed() > DEADLINE {
            let said = format!("it is {:?} after {} s", status.current_state, DEADLINE.as_secs());
            return Err(VerbError::new(format!("{what} the service {NAME}"), TIMED_OUT, said));
        }
        sleep(LOOK_AGAIN);
    }
}
