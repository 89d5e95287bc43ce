//! Whether something may be done, by the rules in force. Pure: entries of a document and actions of a plan come in,
//! and who a service runs as; a refusal says by which rule and what a person can do about it.

use std::sync::LazyLock;

use super::{
    InForce, Policy, Refusal, RunsAs, built_in,
    file::{KindOfResource as Kind, Pattern, Places},
    location::Location,
};
use crate::{
    agent::{
        entries::{Entry, Wanted},
        place::Thing,
        plan::Deed,
        scm::accounts::Account,
    },
    model::{Attributes, Check, HostPath, Mode, Platform, Probe, RegistryKey, Service, ServiceName},
};

static DENIED_PATHS: LazyLock<Vec<Location>> =
    LazyLock::new(|| built_in::paths().filter_map(|text| Location::path(text).ok()).collect());
static DENIED_KEYS: LazyLock<Vec<Location>> =
    LazyLock::new(|| built_in::keys().filter_map(|text| Location::key(text).ok()).collect());
static RESERVED_KEYS: LazyLock<Vec<Location>> =
    LazyLock::new(|| built_in::RESERVED_KEYS.iter().filter_map(|text| Location::key(text).ok()).collect());

/// What is to be done with a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Touch {
    /// Something is made, changed or removed there.
    Change,
    /// A folder or key is made that nobody named, so that something can lie in it; or, once empty, removed.
    Pass,
}

impl Policy {
    /// Whether an entry of the document may be carried out.
    pub fn check_entry(&self, entry: &Entry) -> Result<(), Refusal> {
        self.judge(&entry.thing(), |rules| match &entry.wanted {
            Wanted::Directory(path, attributes) => rules.directory(path, attributes, Touch::Change),
            Wanted::File(path, _, attributes) => rules.file(path, attributes),
            Wanted::Value(place, _) => rules.key(&place.holder(), Touch::Change),
            Wanted::Package(name, installer) => rules.install(name, installer),
        })
    }

    /// Whether an action may be done: what was planned for an entry, what is removed, and what must be there for it.
    pub fn check_deed(&self, thing: &Thing, deed: &Deed) -> Result<(), Refusal> {
        let is_directory = matches!(thing, Thing::Directory(_));
        if *deed == Deed::Note {
            return Ok(());
        }
        self.judge(thing, |rules| match deed {
            Deed::CreateDirectory(path, attributes) => rules.directory(path, attributes, Touch::Pass),
            Deed::SetAttributes(path, attributes) if is_directory => rules.directory(path, attributes, Touch::Change),
            Deed::RemoveDirectory { path, .. } => rules.directory(path, &Attributes::default(), Touch::Pass),
            Deed::WriteFile(path, _, attributes) | Deed::SetAttributes(path, attributes) => {
                rules.file(path, attributes)
            }
            Deed::RemoveFile(path) => rules.file(path, &Attributes::default()),
            Deed::CreateKey(key) | Deed::RemoveKey(key) => rules.key(key, Touch::Pass),
            Deed::SetValue(place, _) | Deed::RemoveValue(place) => rules.key(&place.holder(), Touch::Change),
            Deed::Install(name, installer) => rules.install(name, installer),
            Deed::Uninstall(name, product) => rules.uninstall(name, product),
            Deed::Note => Ok(()),
        })
    }

    /// Whether something may be cleared away that lies beside a file.
    pub fn check_beside(&self, path: &HostPath) -> Result<(), Refusal> {
        self.judge(&Thing::File(path.clone()), |rules| rules.file(path, &Attributes::default()))
    }

    /// Whether a service may be made, configured, started, stopped and probed.
    pub fn check_service(&self, service: &Service, runs_as: &RunsAs) -> Result<(), Refusal> {
        self.judge(&service_named(&service.name), |rules| {
            rules.service_name(&service.name)?;
            rules.account(runs_as)?;
            let of_probe = |probe: &Option<Probe>| match probe.as_ref().map(|probe| &probe.check) {
                Some(Check::Exec { command }) => command.first().cloned(),
                _ => None,
            };
            let of_probes = [of_probe(&service.readiness_probe), of_probe(&service.liveness_probe)];
            let programs = service.command.first().cloned().into_iter().chain(of_probes.into_iter().flatten());
            programs.into_iter().try_for_each(|program| rules.program(&program))
        })
    }

    /// Whether a service that somebody else made may be taken over.
    pub fn check_adoption(&self, name: &ServiceName) -> Result<(), Refusal> {
        self.judge(&service_named(name), |rules| {
            if rules.rules.services.adopt.iter().any(|pattern| pattern.fits(name.as_str())) {
                return Ok(());
            }
            Err(rules.to_allow("it was there before, and windlass did not make it", "services.adopt"))
        })
    }

    /// Whether a service that the document does not name any more may be stopped and removed.
    pub fn check_removal(&self, name: &ServiceName) -> Result<(), Refusal> {
        self.judge(&service_named(name), |rules| rules.service_name(name))
    }

    fn judge(
        &self,
        what: &dyn std::fmt::Display,
        by: impl FnOnce(&InForce) -> Result<(), String>,
    ) -> Result<(), Refusal> {
        let why = match self {
            Self::Unrestricted => return Ok(()),
            Self::Unusable(why) => Err(format!("it cannot be used, so nothing is changed: {why}")),
            Self::InForce(rules) => by(rules),
        };
        why.map_err(|why| Refusal { what: what.to_string(), why })
    }
}

fn service_named(name: &ServiceName) -> String {
    format!("service {name}")
}

impl InForce {
    fn directory(&self, path: &HostPath, attributes: &Attributes, touch: Touch) -> Result<(), String> {
        let at = Location::from(path);
        let is_bare = *attributes == Attributes::default();
        let touch = if is_bare { touch } else { Touch::Change };
        match touch {
            // Made for files as well.
            Touch::Pass => self.kind(&[Kind::Directories, Kind::Files])?,
            Touch::Change => self.kind(&[Kind::Directories])?,
        }
        if !is_bare {
            self.holds_nothing_denied(&at)?;
        }
        self.path(&at, touch)
    }

    fn file(&self, path: &HostPath, attributes: &Attributes) -> Result<(), String> {
        self.kind(&[Kind::Files])?;
        let at = Location::from(path);
        if attributes.mode.is_some_and(|mode| Mode::bits(mode) & 0o6000 != 0) && !self.rules.set_id_files {
            return Err(self.to_allow("it would run as its owner or group, whoever starts it", "setIdFiles"));
        }
        self.holds_nothing_denied(&at)?;
        self.path(&at, Touch::Change)
    }

    fn path(&self, at: &Location, touch: Touch) -> Result<(), String> {
        if let Some(name) = at.short_name() {
            return Err(format!("{name} may be the short name of something else; the long name is needed"));
        }
        no_ones(at, &self.reserved)?;
        if at.is_of_own_unit() {
            return Err("it is of the agent's own service, and no policy gives that away".to_owned());
        }
        self.place(at, &self.rules.paths, "paths", &DENIED_PATHS, touch)
    }

    /// Who may change what holds a place can put another in its stead.
    fn holds_nothing_denied(&self, at: &Location) -> Result<(), String> {
        let held = |place: &&Location| place.may_be_in(at) && *place != at;
        if let Some(own) = self.reserved.iter().find(held) {
            return Err(format!("it holds {own}, which is the agent's own, and no policy gives that away"));
        }
        let denied = self.rules.paths.deny.iter().map(AsRef::as_ref).chain(DENIED_PATHS.iter());
        match denied.into_iter().find(held) {
            Some(denied) => Err(self.to_allow(&format!("it holds {denied}, which is denied"), "paths.allow")),
            None => Ok(()),
        }
    }

    fn key(&self, key: &RegistryKey, touch: Touch) -> Result<(), String> {
        self.kind(&[Kind::RegistryValues])?;
        let at = Location::from(key);
        no_ones(&at, &RESERVED_KEYS)?;
        if at.is_of_own_service() {
            return Err("it is of the agent's own service, and no policy gives that away".to_owned());
        }
        self.place(&at, &self.rules.registry_values, "registryValues", &DENIED_KEYS, touch)
    }

    fn place<L: AsRef<Location>>(
        &self,
        at: &Location,
        places: &Places<L>,
        field: &str,
        built_in: &[Location],
        touch: Touch,
    ) -> Result<(), String> {
        let mut denied = places.deny.iter().map(AsRef::as_ref);
        if let Some(denied) = denied.find(|denied| at.may_be_in(denied)) {
            return Err(format!("{denied} is denied by {field}.deny of {}", self.file));
        }
        let reaches = |allowed: &&Location| at.is_in(allowed) || touch == Touch::Pass && allowed.is_in(at);
        let listed = places.allow.as_deref().unwrap_or_default();
        let allowed: Vec<&Location> = listed.iter().map(AsRef::as_ref).filter(reaches).collect();
        let of_the_system = built_in.iter().find(|denied| at.may_be_in(denied));
        let allow = format!("{field}.allow");
        match of_the_system {
            Some(denied) if !allowed.iter().any(|allowed| allowed.may_be_in(denied)) => {
                Err(self.to_allow(&format!("{denied} is the system's, and denied unless it is named"), &allow))
            }
            _ if places.allow.is_some() && allowed.is_empty() => {
                Err(self.to_allow("it lies in none of the places that are allowed", &allow))
            }
            _ => Ok(()),
        }
    }

    fn service_name(&self, name: &ServiceName) -> Result<(), String> {
        self.kind(&[Kind::Services])?;
        if name.identity().starts_with(built_in::RESERVED_SERVICES) {
            return Err("the name is of the agent's own services, and no policy gives that away".to_owned());
        }
        let fits = |pattern: &&Pattern| pattern.fits(name.as_str());
        let services = &self.rules.services;
        if let Some(pattern) = services.deny.iter().find(fits) {
            return Err(format!("{} is denied by services.deny of {}", pattern.as_str(), self.file));
        }
        match &services.allow {
            Some(allowed) if !allowed.iter().any(|pattern| fits(&pattern)) => {
                Err(self.to_allow("the name is none of those that are allowed", "services.allow"))
            }
            _ => Ok(()),
        }
    }

    fn account(&self, RunsAs { name, is_administrative }: &RunsAs) -> Result<(), String> {
        let is_allowed = |pattern: &str, beginning: Option<&str>| match beginning {
            Some(beginning) => !is_administrative && name.to_lowercase().starts_with(&beginning.to_lowercase()),
            None => Account::parse(Some(pattern)).is(name),
        };
        let allowed = match (&self.rules.services.accounts, self.platform) {
            (Some(patterns), _) => patterns.iter().any(|pattern| is_allowed(pattern.as_str(), pattern.beginning())),
            (None, Platform::Windows) => {
                built_in::ACCOUNTS_OF_WINDOWS.iter().any(|text| is_allowed(text, text.strip_suffix('*')))
            }
            (None, Platform::Posix) => {
                built_in::ACCOUNTS_OF_LINUX.iter().any(|text| is_allowed(text, text.strip_suffix('*')))
            }
        };
        if allowed {
            return Ok(());
        }
        let why = match is_administrative {
            true => format!("it runs as {name}, which is or may be an administrator and is not named whole"),
            false => format!("it runs as {name}, which is not allowed"),
        };
        Err(self.to_allow(&why, "services.accounts"))
    }

    fn program(&self, program: &str) -> Result<(), String> {
        let path = HostPath::parse(program).map_err(|error| format!("its program is on no local disk: {error}"))?;
        let at = Location::from(&path);
        self.place(&at, &self.rules.services.programs, "services.programs", &[], Touch::Change)
            .map_err(|why| format!("it runs {program}: {why}"))
    }

    pub(super) fn kind(&self, any_of: &[Kind]) -> Result<(), String> {
        if any_of.iter().any(|kind| self.rules.kinds.contains(kind)) {
            return Ok(());
        }
        Err(self.to_allow("nothing of its kind is allowed", "kinds"))
    }

    /// What a person can do about it.
    pub(super) fn to_allow(&self, why: &str, field: &str) -> String {
        format!("{why}; an administrator of the machine can allow it by {field} in {}", self.file)
    }
}

fn no_ones(at: &Location, reserved: &[Location]) -> Result<(), String> {
    match reserved.iter().find(|own| at.may_be_in(own)) {
        Some(own) => Err(format!("{own} is the agent's own, and no policy gives that away")),
        None => Ok(()),
    }
}
