//! What the SCM keeps of a service: read, created and changed where it differs. Does IO and blocks.
//! Source: Win32, CreateServiceW, ChangeServiceConfigW; the value `Environment` of a service's key is the SCM's own.

use std::{
    ffi::OsStr,
    ptr::{null, null_mut},
    slice,
};

use tracing::debug;
use windows_registry::LOCAL_MACHINE;
use windows_service::service::{
    Service, ServiceAccess, ServiceFailureActions, ServiceFailureResetPeriod, ServiceStartType,
};
use windows_sys::Win32::System::Services::{
    ChangeServiceConfigW, CreateServiceW, OpenSCManagerW, QueryServiceConfig2W, SC_ACTION_NONE,
    SC_MANAGER_CREATE_SERVICE, SERVICE_AUTO_START, SERVICE_CONFIG, SERVICE_CONFIG_DELAYED_AUTO_START_INFO,
    SERVICE_CONFIG_DESCRIPTION, SERVICE_CONFIG_FAILURE_ACTIONS, SERVICE_DELAYED_AUTO_START_INFO, SERVICE_DEMAND_START,
    SERVICE_DESCRIPTIONW, SERVICE_DISABLED, SERVICE_ERROR_NORMAL, SERVICE_FAILURE_ACTIONSW, SERVICE_NO_CHANGE,
    SERVICE_WIN32_OWN_PROCESS,
};
use zeroize::Zeroizing;

use super::{
    super::{
        accounts::Accounts,
        strings::{text, wide, wide_list},
    },
    scm::{Handle, Opened, code_of, last_code, open_known, turn},
};
use crate::{
    agent::scm::{
        accounts::Account,
        codes::INVALID_LEVEL,
        configuration::{Changes, Configuration, Kept, Start},
    },
    model::ServiceName,
};

/// Largest answer, as documented.
const ANSWER_BYTES: u32 = 8192;

/// Reads it. What Wine cannot say is taken to be as wanted.
pub(super) fn read(service: &Service, name: &ServiceName, wanted: &Configuration) -> Result<Kept, u32> {
    let kept = service.query_config().map_err(|error| code_of(&error))?;
    let wanted_delayed = matches!(wanted.start, Start::Automatic { delayed: true });
    let start = match kept.start_type {
        ServiceStartType::Disabled => Start::Disabled,
        ServiceStartType::OnDemand => Start::OnDemand,
        _ => Start::Automatic { delayed: unless_unknown("delayed start", delayed(service))?.unwrap_or(wanted_delayed) },
    };
    let dependency = |text: &OsStr| text.to_string_lossy().into_owned();
    Ok(Kept {
        display_name: kept.display_name.to_string_lossy().into_owned(),
        description: description(service)?,
        command_line: kept.executable_path.to_string_lossy().into_owned(),
        start,
        dependencies: kept.dependencies.iter().map(|on| dependency(&on.to_system_identifier())).collect(),
        account: account(kept.account_name.as_deref(), &wanted.account),
        environment: environment(name),
        has_failure_actions: unless_unknown("failure actions", has_failure_actions(service))?.unwrap_or_default(),
    })
}

/// Makes a service that is not there, with all but what is told afterwards by [`change`].
pub(super) fn create(name: &ServiceName, wanted: &Configuration, password: Option<&str>) -> Result<Opened, u32> {
    let turn = turn();
    let manager = scm_handle()?;
    let (key, display_name) = (wide(name.as_str()), wide(wanted.display_name.as_deref().unwrap_or(name.as_str())));
    let (command_line, dependencies) = (wide(&wanted.command_line), wide_list(&wanted.dependencies));
    let (account, password) = (wide(wanted.account.scm_name()), password_for(&wanted.account, password));
    // SAFETY: all texts end with NUL (the list with two) and outlive the call; the manager is open.
    #[allow(unsafe_code)]
    let created = unsafe {
        CreateServiceW(
            manager.0,
            key.as_ptr(),
            display_name.as_ptr(),
            0,
            SERVICE_WIN32_OWN_PROCESS,
            start_type(wanted.start),
            SERVICE_ERROR_NORMAL,
            command_line.as_ptr(),
            null(),
            null_mut(),
            dependencies.as_ptr(),
            account.as_ptr(),
            password.as_ref().map_or(null(), |password| password.as_ptr()),
        )
    };
    if created.is_null() {
        return Err(last_code());
    }
    drop((Handle(created), manager, turn));
    open_known(name, access())
}

/// What [`read`] and [`change`] need.
pub(super) fn access() -> ServiceAccess {
    // The right to start belongs to telling of failure actions that start it.
    ServiceAccess::QUERY_CONFIG | ServiceAccess::CHANGE_CONFIG | ServiceAccess::QUERY_STATUS | ServiceAccess::START
}

/// Changes what differs.
pub(super) fn change(
    service: &Service,
    name: &ServiceName,
    changes: &Changes,
    password: Option<&str>,
) -> Result<(), u32> {
    let Changes { display_name, description, command_line, start, dependencies, account, environment, failure_actions } =
        changes;
    let delay = |delayed| service.set_delayed_auto_start(delayed).map_err(|error| code_of(&error));
    if start.is_some_and(|start| !matches!(start, Start::Automatic { .. })) {
        // It stands only with an automatic start.
        unless_unknown("delayed start", delay(false))?;
    }
    if display_name.is_some()
        || command_line.is_some()
        || start.is_some()
        || dependencies.is_some()
        || account.is_some()
    {
        let display_name = display_name.as_ref().map(wide);
        let command_line = command_line.as_ref().map(wide);
        let dependencies = dependencies.as_ref().map(wide_list);
        let password = account.as_ref().and_then(|account| password_for(account, password));
        let account = account.as_ref().map(|account| wide(account.scm_name()));
        let or_null = |text: &Option<Vec<u16>>| text.as_ref().map_or(null(), Vec::as_ptr);
        // SAFETY: all texts end with NUL (the list with two) and outlive the call; the service is open.
        #[allow(unsafe_code)]
        let done = unsafe {
            ChangeServiceConfigW(
                service.raw_handle(),
                SERVICE_NO_CHANGE,
                start.map_or(SERVICE_NO_CHANGE, start_type),
                SERVICE_NO_CHANGE,
                or_null(&command_line),
                null(),
                null_mut(),
                or_null(&dependencies),
                or_null(&account),
                password.as_ref().map_or(null(), |password| password.as_ptr()),
                or_null(&display_name),
            )
        };
        if done == 0 {
            return Err(last_code());
        }
    }
    if let Some(Start::Automatic { delayed }) = start {
        unless_unknown("delayed start", delay(*delayed))?;
    }
    if let Some(description) = description {
        service.set_description(description).map_err(|error| code_of(&error))?;
    }
    if *failure_actions {
        let none = ServiceFailureActions {
            reset_period: ServiceFailureResetPeriod::Never,
            reboot_msg: None,
            command: None,
            actions: Some(Vec::new()),
        };
        service.update_failure_actions(none).map_err(|error| code_of(&error))?;
    }
    if let Some(environment) = environment {
        set_environment(name, environment).map_err(|error| error.code().0.cast_unsigned() & 0xffff)?;
    }
    Ok(())
}

fn start_type(start: Start) -> u32 {
    match start {
        Start::Automatic { .. } => SERVICE_AUTO_START,
        Start::OnDemand => SERVICE_DEMAND_START,
        Start::Disabled => SERVICE_DISABLED,
    }
}

/// As UTF-16, for accounts that have one; accounts of Windows itself take an empty one.
fn password_for(account: &Account, password: Option<&str>) -> Option<Zeroizing<Vec<u16>>> {
    match account {
        Account::Named(_) => password.map(|password| {
            let mut units = Zeroizing::new(Vec::with_capacity(password.len() + 1));
            units.extend(password.encode_utf16());
            units.push(0);
            units
        }),
        Account::LocalSystem | Account::LocalService | Account::NetworkService => Some(Zeroizing::new(vec![0])),
        Account::Virtual(_) | Account::GroupManaged(_) => None,
    }
}

/// `None` where Wine does not know what is asked: it answers "invalid level", which Windows has no cause to.
fn unless_unknown<T>(what: &str, outcome: Result<T, u32>) -> Result<Option<T>, u32> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(INVALID_LEVEL) => {
            debug!(what, "this SCM does not know of it (error 124), as Wine's does not");
            Ok(None)
        }
        Err(code) => Err(code),
    }
}

fn delayed(service: &Service) -> Result<bool, u32> {
    let answer = query(service, SERVICE_CONFIG_DELAYED_AUTO_START_INFO)?;
    // SAFETY: the answer is large enough and aligned for it, and the system wrote one.
    #[allow(unsafe_code)]
    let delayed = unsafe { &*answer.as_ptr().cast::<SERVICE_DELAYED_AUTO_START_INFO>() };
    Ok(delayed.fDelayedAutostart != 0)
}

fn description(service: &Service) -> Result<String, u32> {
    let answer = query(service, SERVICE_CONFIG_DESCRIPTION)?;
    // SAFETY: the answer is large enough and aligned for it; its text lies in the answer and ends with NUL.
    #[allow(unsafe_code)]
    let description = unsafe { text((*answer.as_ptr().cast::<SERVICE_DESCRIPTIONW>()).lpDescription) };
    Ok(description)
}

/// Whether the SCM would do something; whatever it is, also what only others know of.
fn has_failure_actions(service: &Service) -> Result<bool, u32> {
    let answer = query(service, SERVICE_CONFIG_FAILURE_ACTIONS)?;
    // SAFETY: the answer is large enough and aligned for it, and the system wrote one.
    #[allow(unsafe_code)]
    let SERVICE_FAILURE_ACTIONSW { cActions: count, lpsaActions: actions, .. } =
        unsafe { *answer.as_ptr().cast::<SERVICE_FAILURE_ACTIONSW>() };
    if count == 0 || actions.is_null() {
        return Ok(false);
    }
    // SAFETY: the system says how many there are, and they lie in the answer.
    #[allow(unsafe_code)]
    let actions = unsafe { slice::from_raw_parts(actions, usize::try_from(count).unwrap_or_default()) };
    Ok(actions.iter().any(|action| action.Type != SC_ACTION_NONE))
}

/// As the SCM has it; as it is wanted, where both are names of one account.
fn account(kept: Option<&OsStr>, wanted: &Account) -> String {
    let kept = kept.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let accounts = Accounts::default();
    let sid = |name: &str| accounts.sid(name).ok();
    let is_same = !wanted.is(&kept) && sid(&kept).is_some_and(|of_kept| sid(wanted.scm_name()) == Some(of_kept));
    if is_same { wanted.scm_name().to_owned() } else { kept }
}

/// In words of 8 bytes, so that any of the structures is aligned in it.
fn query(service: &Service, level: SERVICE_CONFIG) -> Result<Vec<u64>, u32> {
    let mut answer = vec![0u64; (ANSWER_BYTES / 8) as usize];
    let mut needed = 0;
    // SAFETY: the service is open, and the system writes at most that many bytes.
    #[allow(unsafe_code)]
    let done = unsafe {
        QueryServiceConfig2W(service.raw_handle(), level, answer.as_mut_ptr().cast(), ANSWER_BYTES, &mut needed)
    };
    if done == 0 { Err(last_code()) } else { Ok(answer) }
}

fn key(name: &ServiceName) -> String {
    format!(r"SYSTEM\CurrentControlSet\Services\{name}")
}

fn environment(name: &ServiceName) -> Vec<String> {
    let key = LOCAL_MACHINE.open(key(name));
    let mut texts = key.and_then(|key| key.get_multi_string("Environment")).unwrap_or_default();
    // What ends the list is read as texts too.
    texts.retain(|text| !text.is_empty());
    texts
}

fn set_environment(name: &ServiceName, environment: &[String]) -> windows_registry::Result<()> {
    let key = LOCAL_MACHINE.create(key(name))?;
    if environment.is_empty() {
        return key.remove_value("Environment");
    }
    let texts: Vec<&str> = environment.iter().map(String::as_str).collect();
    key.set_multi_string("Environment", &texts)
}

/// The manager itself, open to make services.
fn scm_handle() -> Result<Handle, u32> {
    // SAFETY: null stands for this machine and its one database.
    #[allow(unsafe_code)]
    let handle = unsafe { OpenSCManagerW(null(), null(), SC_MANAGER_CREATE_SERVICE) };
    if handle.is_null() { Err(last_code()) } else { Ok(Handle(handle)) }
}
