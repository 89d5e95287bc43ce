//! What the SCM keeps of a service, and what of it differs. Pure.
//! Source: Win32, CreateServiceW, ChangeServiceConfigW and ChangeServiceConfig2W.

use super::{accounts::Account, command_line};
use crate::{
    agent::host::{HostError, Reason},
    model::{Service, StartMode},
};

/// When the SCM starts it by itself: `SERVICE_AUTO_START` and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the machine's start, or two minutes later.
    Automatic {
        /// `fDelayedAutostart`.
        delayed: bool,
    },
    /// When told to.
    OnDemand,
    /// Never.
    Disabled,
}

/// A service as it is to be in the SCM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// For people; `None` for what it is, which for a new service is its name.
    pub display_name: Option<String>,
    /// For people; `None` for what it is.
    pub description: Option<String>,
    /// Program and arguments.
    pub command_line: String,
    /// When it starts by itself.
    pub start: Start,
    /// Names of the services that it depends on.
    pub dependencies: Vec<String>,
    /// What it runs as.
    pub account: Account,
    /// `NAME=value` of each variable.
    pub environment: Vec<String>,
}

impl Configuration {
    /// From its entry in the document.
    ///
    /// The SCM starts what it starts by itself as soon as its dependencies run, and knows nothing of readiness: a
    /// service with dependencies is therefore left to the agent.
    ///
    /// `host` is the command line of the service host, for a program that is none.
    pub fn of(service: &Service, host: Option<String>) -> Result<Self, HostError> {
        let start = match service.start_mode {
            StartMode::Disabled => Start::Disabled,
            StartMode::Manual => Start::OnDemand,
            StartMode::Automatic | StartMode::DelayedAutomatic if !service.depends_on.is_empty() => Start::OnDemand,
            StartMode::Automatic => Start::Automatic { delayed: false },
            StartMode::DelayedAutomatic => Start::Automatic { delayed: true },
        };
        if let (Some(directory), None) = (&service.working_directory, &host) {
            let message = format!(
                "run {} in {directory}: the SCM chooses the directory of a service; a program needs wrap: true for it",
                service.name
            );
            return Err(HostError::new(Reason::NotSupportedHere, message));
        }
        let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        Ok(Self {
            display_name: given(&service.display_name),
            description: given(&service.description),
            // The host is told of its environment.
            environment: match host {
                Some(_) => Vec::new(),
                None => service.env.iter().map(|v| format!("{}={}", v.name, v.value)).collect(),
            },
            command_line: host.unwrap_or_else(|| command_line::join(&service.command)),
            start,
            dependencies: service.depends_on.iter().map(|name| name.as_str().to_owned()).collect(),
            account: Account::parse(service.account.as_deref()),
        })
    }
}

/// A service as the SCM has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// `lpDisplayName`.
    pub display_name: String,
    /// `lpDescription`.
    pub description: String,
    /// `lpBinaryPathName`.
    pub command_line: String,
    /// `dwStartType` and `fDelayedAutostart`.
    pub start: Start,
    /// `lpDependencies`.
    pub dependencies: Vec<String>,
    /// `lpServiceStartName`.
    pub account: String,
    /// The value `Environment` of its key.
    pub environment: Vec<String>,
    /// Whether the SCM would do something after a failure.
    pub has_failure_actions: bool,
}

/// What is to be changed: `None` and `false` for what is as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// To this.
    pub display_name: Option<String>,
    /// To this.
    pub description: Option<String>,
    /// To this.
    pub command_line: Option<String>,
    /// To this.
    pub start: Option<Start>,
    /// To these.
    pub dependencies: Option<Vec<String>>,
    /// To this, with its password.
    pub account: Option<Account>,
    /// To this.
    pub environment: Option<Vec<String>>,
    /// To none.
    pub failure_actions: bool,
}

impl Changes {
    /// From what there is to what there should be. With `anew` the account is told in any case: its password may
    /// be another one, and cannot be read back.
    pub fn between(kept: &Kept, wanted: &Configuration, anew: bool) -> Self {
        let Configuration { display_name, description, command_line, start, dependencies, account, environment } =
            wanted;
        let differs = |a: &String, b: &String| (a != b).then(|| b.clone());
        let differs_if_given = |a: &String, b: &Option<String>| b.as_ref().and_then(|b| differs(a, b));
        let names = |names: &[String]| {
            let mut names: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
            names.sort();
            names
        };
        let same_account = account.is(&kept.account) && !(anew && account.has_password());
        Self {
            display_name: differs_if_given(&kept.display_name, display_name),
            description: differs_if_given(&kept.description, description),
            command_line: differs(&kept.command_line, command_line),
            start: (kept.start != *start).then_some(*start),
            dependencies: (names(&kept.dependencies) != names(dependencies)).then(|| dependencies.clone()),
            account: (!same_account).then(|| account.clone()),
            environment: (kept.environment != *environment).then(|| environment.clone()),
            failure_actions: kept.has_failure_actions,
        }
    }

    /// Whether a service that runs was started with something else.
    pub fn reach_its_process(&self) -> bool {
        self.command_line.is_some() || self.account.is_some() || self.environment.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        agent::services::samples::{name, service},
        model::{EnvVar, HostPath},
    };

    fn wanted(change: impl Fn(&mut Service)) -> Configuration {
        let mut service = service("Acme");
        change(&mut service);
        Configuration::of(&service, None).expect("can be had")
    }

    fn kept(configuration: &Configuration) -> Kept {
        let Configuration { display_name, description, command_line, start, dependencies, account, environment } =
            configuration.clone();
        let (display_name, description) = (display_name.unwrap_or_default(), description.unwrap_or_default());
        let account = account.scm_name().to_owned();
        let has_failure_actions = false;
        Kept { display_name, description, command_line, start, dependencies, account, environment, has_failure_actions }
    }

    #[test]
    fn start_modes_are_the_scms_unless_the_agent_must_order_them() {
        let start = |mode, on: &[&str]| {
            let change = |service: &mut Service| {
                service.start_mode = mode;
                service.depends_on = on.iter().map(|on| name(on)).collect();
            };
            wanted(change).start
        };
        assert_eq!(start(StartMode::Automatic, &[]), Start::Automatic { delayed: false });
        assert_eq!(start(StartMode::DelayedAutomatic, &[]), Start::Automatic { delayed: true });
        assert_eq!(start(StartMode::Manual, &[]), Start::OnDemand);
        assert_eq!(start(StartMode::Disabled, &["db"]), Start::Disabled);
        assert_eq!(start(StartMode::Automatic, &["db"]), Start::OnDemand);
        assert_eq!(start(StartMode::DelayedAutomatic, &["db"]), Start::OnDemand);
    }

    #[test]
    fn only_what_differs_is_changed() {
        let base = wanted(|_| {});
        assert_eq!(Changes::between(&kept(&base), &base, false), Changes::default());
        let changes = |change: &dyn Fn(&mut Service)| Changes::between(&kept(&base), &wanted(change), false);
        let named = changes(&|service| service.display_name = "The press".into());
        assert_eq!(named, Changes { display_name: Some("The press".into()), ..Changes::default() });
        assert!(!named.reach_its_process());
        let depending = changes(&|service| service.depends_on = vec![name("db")]);
        let (start, dependencies) = (Some(Start::OnDemand), Some(vec!["db".to_owned()]));
        assert_eq!(depending, Changes { start, dependencies, ..Changes::default() });
        for change in [
            (|service: &mut Service| service.command.push("--new".into())) as fn(&mut Service),
            |service| service.account = Some("LocalSystem".into()),
            |service| service.env.push(EnvVar { name: "A".into(), value: "b".into() }),
        ] {
            assert!(changes(&change).reach_its_process());
        }
        let failing = Kept { has_failure_actions: true, ..kept(&base) };
        assert!(Changes::between(&failing, &base, false).failure_actions);
    }

    #[test]
    fn names_for_people_that_are_not_given_stay_as_they_are() {
        let wanted = wanted(|_| {});
        let named = |text: &str| Kept { display_name: text.into(), description: text.into(), ..kept(&wanted) };
        assert_eq!(Changes::between(&named("Their press"), &wanted, true), Changes::default());
    }

    #[test]
    fn dependencies_are_the_same_in_any_order_and_case() {
        let wanted = wanted(|service| service.depends_on = vec![name("a"), name("b")]);
        let kept = Kept { dependencies: vec!["B".into(), "A".into()], ..kept(&wanted) };
        assert_eq!(Changes::between(&kept, &wanted, true), Changes::default());
    }

    #[test]
    fn a_password_is_told_again_when_its_entry_changed() {
        let wanted = wanted(|service| service.account = Some("acme".into()));
        assert_eq!(Changes::between(&kept(&wanted), &wanted, false).account, None);
        assert_eq!(Changes::between(&kept(&wanted), &wanted, true).account, Some(Account::Named(".\\acme".into())));
    }

    #[test]
    fn a_directory_is_refused_where_it_would_not_be_used() {
        let mut service = service("Acme");
        service.working_directory = HostPath::parse("/acme").ok();
        assert!(Configuration::of(&service, Some("host.exe".into())).is_ok());
        let error = Configuration::of(&service, None).expect_err("refused");
        assert!(error.message.contains("wrap: true"), "{error}");
    }
}
