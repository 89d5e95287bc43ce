//! The part of this computer that one agent manages: a folder, and what services leave behind in it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{is_alive, until};

pub struct Machine {
    folder: PathBuf,
}

impl Machine {
    pub fn at(folder: PathBuf) -> Self {
        fs::create_dir_all(&folder).expect("temporary folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("own folder");
        Self { folder }
    }

    /// Absolute path of something on the machine.
    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().expect("UTF-8").to_owned()
    }

    pub fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(name)).ok()
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("temporary folder");
        fs::write(path, text).expect("temporary folder");
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.folder.join(name)).expect("a file");
    }

    pub fn exists(&self, name: &str) -> bool {
        self.folder.join(name).symlink_metadata().is_ok()
    }

    pub fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.folder.join(name)).expect("a file").permissions().mode() & 0o7777
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Waits until a file has this text.
    pub async fn until_text(&self, name: &str, text: &str) {
        until(&format!("{name} says {text:?}"), || (self.read(name).as_deref() == Some(text)).then_some(())).await;
    }

    /// An entry of spec.files.
    pub fn inline(&self, name: &str, text: &str) -> Value {
        json!({"path": self.path(name), "source": {"inline": text}})
    }

    /// A service that adds its pid to `<name>.pids` when it starts, `<name> stopped` to `stops` when it is
    /// told to stop, and does nothing for some minutes.
    pub fn service(&self, name: &str) -> Value {
        json!({"name": name, "command": ["/bin/sh", "-c", self.script(name), name]})
    }

    fn script(&self, name: &str) -> String {
        let (pids, starts, stops) = (self.path(&format!("{name}.pids")), self.path("starts"), self.path("stops"));
        format!(
            "trap 'echo {name} >> {stops}; kill $!; exit 0' TERM
             echo $$ >> {pids}
             echo {name} >> {starts}
             sleep 300 &
             wait"
        )
    }

    /// Pids of all runs of a service, oldest first.
    pub fn pids(&self, service: &str) -> Vec<u32> {
        self.lines(&format!("{service}.pids")).iter().filter_map(|line| line.parse().ok()).collect()
    }

    /// Lines of a file; none if there is no file.
    pub fn lines(&self, name: &str) -> Vec<String> {
        self.read(name).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// Waits until a service has been started `times` in all and its last run lives.
    pub async fn until_started(&self, service: &str, times: usize) -> u32 {
        until(&format!("{service} was started {times} times"), || {
            let pids = self.pids(service);
            pids.last().copied().filter(|&pid| pids.len() >= times && is_alive(pid))
        })
        .await
    }
}
