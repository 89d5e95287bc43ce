//! Files that cannot be replaced while a program runs (Windows), and the services whose programs may be the ones:
//! each that names such a file stops, the file is replaced, and it starts with the new one. Pure.

use std::collections::BTreeSet;

use super::{ServiceReports, fingerprint::files_named};
use crate::model::{HostPath, Service, ServicePhase};

/// Whether a service names any of these files.
pub(super) fn names_any(service: &Service, files: &BTreeSet<HostPath>) -> bool {
    files_named(service, files).into_iter().any(|path| files.contains(path))
}

/// Those of these files that a service names which is not down yet: they can be replaced soon.
pub fn to_come(files: BTreeSet<HostPath>, services: &[Service], reports: &ServiceReports) -> BTreeSet<HostPath> {
    let may_run = |service: &&Service| {
        let report = reports.services.iter().find(|report| report.name == service.name.as_str());
        report.is_some_and(|report| match report.state {
            ServicePhase::Starting | ServicePhase::Running | ServicePhase::Stopping | ServicePhase::Paused => true,
            ServicePhase::Stopped | ServicePhase::Waiting | ServicePhase::BackingOff | ServicePhase::Failed => false,
        })
    };
    let running: Vec<&Service> = services.iter().filter(may_run).collect();
    files.into_iter().filter(|path| running.iter().any(|s| names_any(s, &[path.clone()].into()))).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::samples::service, *};
    use crate::model::ServiceReport;

    fn set(paths: &[&str]) -> BTreeSet<HostPath> {
        paths.iter().map(|path| HostPath::parse(path).expect("path")).collect()
    }

    #[test]
    fn a_file_is_to_come_while_a_service_that_names_it_is_not_down() {
        let (mut app, mut other) = (service("app"), service("other"));
        app.command = vec![r"C:\Acme\app.exe".into(), r"--conf=c:\acme\CONF".into()];
        other.restart_on_change = set(&[r"C:\Acme\lib.dll"]).into_iter().collect();
        let files = set(&[r"C:\Acme\App.exe", r"C:\Acme\conf", r"C:\Acme\lib.dll", r"C:\Acme\else"]);
        let reports = |app, other| {
            let report = |name: &str, state| ServiceReport {
                name: name.into(),
                state,
                ready: false,
                restarts: 0,
                reason: String::new(),
                message: String::new(),
            };
            ServiceReports { services: vec![report("app", app), report("other", other)], ..ServiceReports::default() }
        };
        for (app_is, other_is, expected) in [
            (ServicePhase::Running, ServicePhase::Stopped, &[r"C:\Acme\App.exe", r"C:\Acme\conf"][..]),
            (ServicePhase::Waiting, ServicePhase::Stopping, &[r"C:\Acme\lib.dll"]),
            (ServicePhase::Waiting, ServicePhase::Failed, &[]),
        ] {
            let services = [app.clone(), other.clone()];
            assert_eq!(to_come(files.clone(), &services, &reports(app_is, other_is)), set(expected), "{app_is:?}");
        }
        assert!(names_any(&app, &files) && !names_any(&service("none"), &files));
        assert!(!names_any(&other, &set(&[r"C:\Acme\else"])), "what it lists is not to be replaced");
    }
}
