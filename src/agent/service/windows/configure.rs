//! What the service is beyond its command: recovery, its own SID, how long the machine waits for it. Set by
//! `install`, and again at each start of the service, so that an MSI need not: its tables know half of it. Does IO.

use tracing::{info, warn};
use windows_service::{
    Result,
    service::ServiceAccess,
    service::{
        Service, ServiceAction, ServiceActionType, ServiceFailureActions, ServiceFailureResetPeriod, ServiceSidType,
    },
    service_manager::{ServiceManager, ServiceManagerAccess},
};
use windows_sys::Win32::Foundation::{ERROR_CALL_NOT_IMPLEMENTED, ERROR_INVALID_LEVEL};

use super::code_of;
use crate::agent::service::{DESCRIPTION, NAME, PRESHUTDOWN_TIMEOUT, RESTART_AFTER, RESTARTS_FORGOTTEN_AFTER};

/// Rights that [`configure`] needs: who sets a restart must be allowed to start.
///
/// Source: Win32, "ChangeServiceConfig2W function".
pub(super) const ACCESS: ServiceAccess = ServiceAccess::CHANGE_CONFIG.union(ServiceAccess::START);

/// One setting that was refused, and the code of why.
pub(super) struct Refused {
    pub(super) what: &'static str,
    pub(super) code: u32,
    pub(super) said: String,
}

impl Refused {
    /// An older Windows or a substitute for it does not know this setting: the service runs without it.
    pub(super) fn is_unknown_here(&self) -> bool {
        matches!(self.code, ERROR_INVALID_LEVEL | ERROR_CALL_NOT_IMPLEMENTED)
    }
}

/// Sets everything that can be set, and says what could not.
pub(super) fn configure(service: &Service) -> Vec<Refused> {
    let restart = |delay| ServiceAction { action_type: ServiceActionType::Restart, delay };
    let recovery = ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(RESTARTS_FORGOTTEN_AFTER),
        reboot_msg: None,
        command: None,
        actions: Some(RESTART_AFTER.map(restart).to_vec()),
    };
    let settings: [(&'static str, Result<()>); 5] = [
        ("description", service.set_description(DESCRIPTION)),
        ("recovery actions", service.update_failure_actions(recovery)),
        ("recovery without a crash", service.set_failure_actions_on_non_crash_failures(true)),
        ("service SID", service.set_config_service_sid_info(ServiceSidType::Unrestricted)),
        ("preshutdown timeout", service.set_preshutdown_timeout(PRESHUTDOWN_TIMEOUT)),
    ];
    let refused = settings.into_iter().filter_map(|(what, set)| {
        let (code, said) = code_of(&set.err()?);
        Some(Refused { what, code, said })
    });
    refused.collect()
}

/// The running service sets its own; what cannot be set is logged, and the service goes on.
pub(super) fn configure_self() {
    let service = ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT)
        .and_then(|manager| manager.open_service(NAME, ACCESS));
    let refused = match service {
        Ok(service) => configure(&service),
        Err(error) => {
            let (code, said) = code_of(&error);
            vec![Refused { what: "any setting", code, said }]
        }
    };
    for refused in refused {
        let Refused { what, code, said } = &refused;
        if refused.is_unknown_here() {
            info!(setting = what, code, "a setting of the service is not known to this Windows");
        } else {
            warn!(setting = what, code, error = said, "a setting of the service could not be set");
        }
    }
}
