//! What a service runs with, as one digest: when it differs from that of the last start, the service restarts.
//! Covers the command, environment, directory, account, and every managed file that the service names.
//! Beside it what a manager of the machine keeps of it, which is told without a restart. Pure.

use std::collections::BTreeSet;

use super::ServiceInputs;
use crate::model::{Hasher, HostPath, Service};

/// The digest, in hex; or the first file that the service names and that is not in its desired state.
pub fn fingerprint(service: &Service, inputs: &ServiceInputs) -> Result<String, HostPath> {
    let mut fields = Fields(Hasher::new(None));
    fields.program(service);
    for path in files_named(service, &inputs.files) {
        let digest = inputs.files_in_place.get(path).ok_or_else(|| path.clone())?;
        fields.add("file", path.as_str());
        fields.add("digest", &digest.to_string());
    }
    Ok(fields.digest())
}

/// Digests, in hex, of all that a manager of the machine keeps of a service: of what its process is started with, and
/// of the rest.
pub fn configuration(service: &Service) -> String {
    let Service {
        name: _,
        display_name,
        description,
        command: _,
        env: _,
        working_directory: _,
        account: _,
        start_mode,
        state: _,
        depends_on,
        restart_on_change: _,
        stop_timeout_seconds,
        recovery: _,
        readiness_probe: _,
        liveness_probe: _,
        wrap: _,
        password,
    } = service;
    let mut program = Fields(Hasher::new(None));
    program.program(service);
    let mut fields = Fields(Hasher::new(None));
    fields.add("display name", display_name);
    fields.add("description", description);
    fields.add("start mode", &format!("{start_mode:?}"));
    for name in depends_on {
        fields.add("depends on", name.as_str());
    }
    fields.add("stop timeout", &stop_timeout_seconds.to_string());
    if let Some(password) = password {
        fields.add("password", &password.digest.to_string());
    }
    format!("{}-{}", program.digest(), fields.digest())
}

/// The first of the two digests of a [`configuration`].
pub(super) fn program_of(configuration: &str) -> &str {
    configuration.split('-').next().unwrap_or_default()
}

/// Whether any managed file decides how it runs.
pub(super) fn names_files(service: &Service, inputs: &ServiceInputs) -> bool {
    !files_named(service, &inputs.files).is_empty()
}

struct Fields(Hasher);

impl Fields {
    fn add(&mut self, label: &str, value: &str) {
        // Lengths keep neighbours apart: ["ab", "c"] is not ["a", "bc"].
        self.0.update(format!("{label} {} ", value.len()).as_bytes());
        self.0.update(value.as_bytes());
    }

    /// What its process is started with, but for files.
    fn program(&mut self, service: &Service) {
        let Service { command, env, working_directory, account, wrap, .. } = service;
        for word in command {
            self.add("command", word);
        }
        for variable in env {
            self.add("env", &variable.name);
            self.add("value", &variable.value);
        }
        if let Some(directory) = working_directory {
            self.add("directory", directory.as_str());
        }
        if let Some(account) = account {
            self.add("account", account);
        }
        // Absent where it is not used: what was started before there was such a thing is not restarted for it.
        if *wrap {
            self.add("wrap", "");
        }
    }

    fn digest(self) -> String {
        self.0.finish().to_string()
    }
}

/// Managed files that `restartOnChange` lists, or that are a word of the command, or its end after a `=`.
pub(super) fn files_named<'a>(service: &'a Service, files: &'a BTreeSet<HostPath>) -> BTreeSet<&'a HostPath> {
    let mut named: BTreeSet<&HostPath> = service.restart_on_change.iter().collect();
    for word in &service.command {
        let ends = [Some(word.as_str()), word.split_once('=').map(|(_, end)| end)];
        for path in ends.into_iter().flatten().filter_map(|text| HostPath::parse(text).ok()) {
            let identity = path.identity();
            named.extend(files.iter().find(|file| file.identity() == identity));
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::{
        super::samples::{name, service},
        *,
    };
    use crate::model::{Content, Digest, EnvVar, ServiceState, StartMode};

    fn path(text: &str) -> HostPath {
        HostPath::parse(text).expect("a path")
    }

    fn inputs(files: &[(&str, Option<&str>)]) -> ServiceInputs {
        ServiceInputs {
            files: files.iter().map(|(file, _)| path(file)).collect(),
            files_in_place: files
                .iter()
                .filter_map(|(file, content)| Some((path(file), Digest::of((*content)?.as_bytes()))))
                .collect(),
            ..ServiceInputs::default()
        }
    }

    #[test]
    fn everything_that_a_process_is_started_with_counts() {
        let inputs = inputs(&[]);
        let base = service("a");
        let of = |change: &dyn Fn(&mut Service)| {
            let mut changed = base.clone();
            change(&mut changed);
            fingerprint(&changed, &inputs).expect("no files")
        };
        let mut seen = BTreeSet::from([of(&|_| {})]);
        assert!(seen.insert(of(&|s| s.command.push("x".into()))));
        assert!(seen.insert(of(&|s| s.command.extend(["x".into(), "y".into()]))));
        assert!(seen.insert(of(&|s| s.command.push("xy".into()))));
        assert!(seen.insert(of(&|s| s.env.push(EnvVar { name: "A".into(), value: "B=C".into() }))));
        assert!(seen.insert(of(&|s| s.working_directory = Some(path("/tmp")))));
        assert!(seen.insert(of(&|s| s.account = Some("nobody".into()))));
        assert!(!seen.insert(of(&|s| s.display_name = "For people".into())));
        assert!(!seen.insert(of(&|s| s.stop_timeout_seconds = 7)));
    }

    #[test]
    fn all_that_a_manager_keeps_counts_in_its_own_half() {
        let base = configuration(&service("a"));
        let of = |change: &dyn Fn(&mut Service)| {
            let mut changed = service("a");
            change(&mut changed);
            let changed = configuration(&changed);
            (changed == base, program_of(&changed) == program_of(&base))
        };
        let digest = Digest::of(b"secret");
        assert_eq!(of(&|s| s.display_name = "For people".into()), (false, true));
        assert_eq!(of(&|s| s.description = "Long".into()), (false, true));
        assert_eq!(of(&|s| s.start_mode = StartMode::Manual), (false, true));
        assert_eq!(of(&|s| s.depends_on = vec![name("b")]), (false, true));
        assert_eq!(of(&|s| s.stop_timeout_seconds = 7), (false, true));
        assert_eq!(of(&|s| s.password = Some(Content { digest, salt: None, size: 6 })), (false, true));
        assert_eq!(of(&|s| s.command.push("x".into())), (false, false));
        assert_eq!(of(&|s| s.account = Some("nobody".into())), (false, false));
        assert_eq!(of(&|s| s.wrap = true), (false, false));
        assert_eq!(of(&|s| s.recovery.reset_after_seconds = 7), (true, true));
        assert_eq!(of(&|s| s.state = ServiceState::Stopped), (true, true));
    }

    #[test]
    fn a_file_counts_when_it_is_listed_or_named_by_the_command() {
        let mut service = service("a");
        service.command = vec!["/a/run".into(), "--config=/a/conf".into()];
        service.restart_on_change = vec![path("/a/key")];
        let files = [("/a/run", Some("1")), ("/a/conf", Some("1")), ("/a/key", Some("1")), ("/a/other", Some("1"))];
        let before = fingerprint(&service, &inputs(&files)).expect("in place");
        for changed in 0..3 {
            let mut files = files;
            files[changed].1 = Some("2");
            assert_ne!(fingerprint(&service, &inputs(&files)).expect("in place"), before);
            files[changed].1 = None;
            assert_eq!(fingerprint(&service, &inputs(&files)), Err(path(files[changed].0)));
        }
        let mut files = files;
        files[3].1 = None;
        assert_eq!(fingerprint(&service, &inputs(&files)), Ok(before));
    }

    #[test]
    fn a_path_that_is_not_managed_is_only_a_word() {
        let mut service = service("a");
        service.command = vec!["/bin/sh".into(), "-c".into(), "cat /a/conf".into()];
        assert!(fingerprint(&service, &inputs(&[("/a/conf", None)])).is_ok());
    }
}
