//! One suite of behaviours for every host: what the agent believes of a machine is true of memory and of the machine
//! that this was built for. What no other host can be asked is in the files of the platforms.

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[cfg(unix)]
mod linux;
mod registry;
#[cfg(windows)]
mod windows;

use std::{fs, io::Cursor, path::Path};

#[cfg(unix)]
use linux as machine;
use windlass::{
    agent::host::{
        Host, HostError, Ownership, PathState, Reason, Removed,
        memory::{MemoryHost, MemoryNode},
    },
    model::{Attributes, Digest, HostPath, Salt},
};
#[cfg(windows)]
use windows as machine;

/// A machine and an empty directory on it.
struct Ground {
    host: Box<dyn Host>,
    base: String,
    /// Makes a link to a directory, where the machine has such.
    link: Option<MakeLink>,
    _folder: Option<tempfile::TempDir>,
}

impl Ground {
    fn memory(base: &str) -> Self {
        let host = std::sync::Arc::new(MemoryHost::default());
        let base = HostPath::parse(base).expect("path");
        host.create_directory(&base, &Attributes::default()).expect("base");
        let other = host.clone();
        let link = Box::new(move |path: &HostPath| other.put(path, Some(MemoryNode::Link)));
        Self { host: Box::new(Shared(host)), base: base.to_string(), link: Some(link), _folder: None }
    }

    fn path(&self, below: &str) -> HostPath {
        HostPath::parse(&format!("{}/{below}", self.base)).expect("path")
    }

    fn write(&self, below: &str, bytes: &[u8]) -> Result<(), HostError> {
        self.write_as(below, bytes, &Attributes::default(), false)
    }

    fn write_as(&self, below: &str, bytes: &[u8], attributes: &Attributes, secret: bool) -> Result<(), HostError> {
        self.host.write_file(&self.path(below), &mut Cursor::new(bytes.to_vec()), attributes, secret)
    }

    fn make(&self, below: &str) {
        self.host.create_directory(&self.path(below), &Attributes::default()).expect("directory");
    }

    fn seen(&self, below: &str) -> PathState {
        self.host.observe(&self.path(below), None).expect("observed")
    }

    fn ownership(&self, below: &str) -> Ownership {
        match self.seen(below) {
            PathState::Directory(ownership) | PathState::File { ownership, .. } => ownership,
            other => panic!("{other:?}"),
        }
    }

    fn digest(&self, below: &str) -> Digest {
        match self.seen(below) {
            PathState::File { digest, .. } => digest,
            other => panic!("{other:?}"),
        }
    }
}

type MakeLink = Box<dyn Fn(&HostPath)>;

struct Shared(std::sync::Arc<MemoryHost>);

impl Host for Shared {
    fn facts(&self) -> windlass::model::NodeFacts {
        self.0.facts()
    }
    fn features(&self) -> &'static [&'static str] {
        self.0.features()
    }
    fn observe(&self, path: &HostPath, salt: Option<&Salt>) -> Result<PathState, HostError> {
        self.0.observe(path, salt)
    }
    fn create_directory(&self, path: &HostPath, attributes: &Attributes) -> Result<(), HostError> {
        self.0.create_directory(path, attributes)
    }
    fn write_file(
        &self,
        path: &HostPath,
        content: &mut dyn std::io::Read,
        attributes: &Attributes,
        secret: bool,
    ) -> Result<(), HostError> {
        self.0.write_file(path, content, attributes, secret)
    }
    fn discard_interrupted(&self, path: &HostPath) -> Result<(), HostError> {
        self.0.discard_interrupted(path)
    }
    fn set_attributes(&self, path: &HostPath, attributes: &Attributes) -> Result<(), HostError> {
        self.0.set_attributes(path, attributes)
    }
    fn remove_file(&self, path: &HostPath) -> Result<(), HostError> {
        self.0.remove_file(path)
    }
    fn remove_directory(&self, path: &HostPath) -> Result<Removed, HostError> {
        self.0.remove_directory(path)
    }
}

fn each(behaviour: impl Fn(&Ground)) {
    behaviour(&Ground::memory("/base"));
    behaviour(&Ground::memory("C:\\base"));
    behaviour(&machine::ground());
}

fn reason<T: std::fmt::Debug>(result: Result<T, HostError>) -> Reason {
    result.expect_err("an error").reason
}

#[test]
fn a_file_is_written_read_back_and_replaced_whole() {
    each(|ground| {
        assert_eq!(ground.seen("größe.txt"), PathState::Absent);
        ground.write("größe.txt", b"one").expect("write");
        assert_eq!(ground.digest("größe.txt"), Digest::of(b"one"));
        ground.write("größe.txt", b"two").expect("replace");
        assert_eq!(ground.digest("größe.txt"), Digest::of(b"two"));
        ground.write("größe.txt", b"").expect("empty");
        assert_eq!(ground.digest("größe.txt"), Digest::of(b""));
    });
}

#[test]
fn a_salted_digest_is_seen_with_its_salt() {
    each(|ground| {
        let salt = Salt::new([9; 32]);
        ground.write("pin", b"1234").expect("write");
        let seen = ground.host.observe(&ground.path("pin"), Some(&salt)).expect("seen");
        assert!(matches!(seen, PathState::File { digest, .. } if digest == Digest::of_salted(Some(&salt), b"1234")));
        assert_eq!(ground.digest("pin"), Digest::of(b"1234"));
    });
}

#[test]
fn accounts_go_by_name_and_an_unknown_one_changes_nothing() {
    each(|ground| {
        let owned_by = |name: &str| Attributes { owner: Some(name.into()), ..Attributes::default() };
        let PathState::Directory(own) = ground.host.observe(&HostPath::parse(&ground.base).unwrap(), None).unwrap()
        else {
            panic!("a directory")
        };
        ground.write_as("mine", b"x", &owned_by(&own.owner), false).expect("write");
        assert_eq!(reason(ground.write_as("no", b"x", &owned_by("no-such-user"), false)), Reason::UnknownAccount);
        assert_eq!(ground.seen("no"), PathState::Absent);
        let made = ground.host.create_directory(&ground.path("no"), &owned_by("no-such-user"));
        assert_eq!(reason(made), Reason::UnknownAccount);
        assert_eq!(ground.seen("no"), PathState::Absent);
        let set = ground.host.set_attributes(&ground.path("mine"), &owned_by("no-such-user"));
        assert_eq!(reason(set), Reason::UnknownAccount);
    });
}

#[test]
fn what_is_of_another_kind_is_neither_followed_nor_replaced() {
    each(|ground| {
        ground.make("directory");
        assert_eq!(reason(ground.write("directory", b"x")), Reason::WrongKind);
        assert_eq!(reason(ground.host.remove_file(&ground.path("directory"))), Reason::WrongKind);
        ground.write("file", b"x").expect("write");
        assert_eq!(reason(ground.host.remove_directory(&ground.path("file"))), Reason::WrongKind);
        assert_eq!(reason(ground.host.observe(&ground.path("file/below"), None)), Reason::WrongKind);
        assert_eq!(reason(ground.write("file/below", b"x")), Reason::WrongKind);
        let again = ground.host.create_directory(&ground.path("directory"), &Attributes::default());
        assert_eq!(reason(again), Reason::WrongKind);
        let Some(link) = &ground.link else { return };
        link(&ground.path("link"));
        assert_eq!(ground.seen("link"), PathState::Other("a link"));
        assert_eq!(reason(ground.write("link", b"x")), Reason::WrongKind);
        let set = ground.host.set_attributes(&ground.path("link"), &Attributes::default());
        assert_eq!(reason(set), Reason::WrongKind);
        assert_eq!(ground.seen("link"), PathState::Other("a link"));
    });
}

#[test]
fn a_link_in_the_path_is_not_followed() {
    each(|ground| {
        let Some(link) = &ground.link else { return };
        link(&ground.path("link"));
        assert_eq!(reason(ground.host.observe(&ground.path("link/x"), None)), Reason::LinkInPath);
        assert_eq!(reason(ground.write("link/x", b"x")), Reason::LinkInPath);
        let made = ground.host.create_directory(&ground.path("link/x"), &Attributes::default());
        assert_eq!(reason(made), Reason::LinkInPath);
        assert_eq!(reason(ground.host.remove_file(&ground.path("link/x"))), Reason::LinkInPath);
        assert_eq!(ground.seen("x"), PathState::Absent);
    });
}

#[test]
fn below_a_directory_that_is_not_there_nothing_is_seen_and_nothing_written() {
    each(|ground| {
        assert_eq!(ground.seen("none/below"), PathState::Absent);
        assert_eq!(reason(ground.write("none/below", b"x")), Reason::IoError);
        let made = ground.host.create_directory(&ground.path("none/below"), &Attributes::default());
        assert_eq!(reason(made), Reason::IoError);
        assert_eq!(ground.host.remove_file(&ground.path("none/below")), Ok(()));
        assert_eq!(ground.host.remove_directory(&ground.path("none/below")), Ok(Removed::Gone));
        assert_eq!(ground.host.discard_interrupted(&ground.path("none/below")), Ok(()));
    });
}

#[test]
fn removal_is_done_once_and_only_of_what_is_empty() {
    each(|ground| {
        ground.make("directory");
        ground.write("directory/file", b"x").expect("write");
        assert_eq!(ground.host.remove_directory(&ground.path("directory")), Ok(Removed::NotEmpty));
        assert_eq!(ground.host.remove_file(&ground.path("directory/file")), Ok(()));
        assert_eq!(ground.host.remove_file(&ground.path("directory/file")), Ok(()), "again");
        assert_eq!(ground.host.remove_directory(&ground.path("directory")), Ok(Removed::Gone));
        assert_eq!(ground.host.remove_directory(&ground.path("directory")), Ok(Removed::Gone), "again");
    });
}

#[test]
fn what_a_crash_left_beside_a_file_is_cleared_away_by_the_next_write_or_recovery() {
    let ground = machine::ground();
    let base = Path::new(&ground.base);
    ground.write("a", b"x").expect("write");
    assert_eq!(names(base), ["a"]);
    let leave = || {
        // A reader that fails in the middle is as near to a crash as one process can come; so is the name.
        let interim = format!(".windlass-{}", windlass::model::Revision::of(b"a"));
        fs::write(base.join(&interim), b"half").expect("left");
        assert_eq!(names(base).len(), 2);
    };
    leave();
    ground.write("a", b"y").expect("write");
    assert_eq!(names(base), ["a"]);
    leave();
    ground.host.discard_interrupted(&ground.path("a")).expect("cleared");
    assert_eq!(names(base), ["a"]);
    leave();
    ground.host.remove_file(&ground.path("a")).expect("removed");
    assert!(names(base).is_empty());
}

#[test]
fn a_content_that_breaks_off_leaves_the_old_file_and_nothing_beside_it() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk broke"))
        }
    }
    let ground = machine::ground();
    ground.write("a", b"old").expect("write");
    let mut content = std::io::Read::chain(Cursor::new(b"half".to_vec()), Broken);
    let written = ground.host.write_file(&ground.path("a"), &mut content, &Attributes::default(), false);
    assert_eq!(reason(written), Reason::IoError);
    assert_eq!(fs::read(ground.path("a").as_str()).expect("file"), b"old");
    assert_eq!(names(Path::new(&ground.base)), ["a"]);
}

#[test]
fn a_change_that_keeps_size_and_modification_time_is_seen() {
    let ground = machine::ground();
    ground.write("a", b"one").expect("write");
    assert_eq!(ground.digest("a"), Digest::of(b"one"));
    let path = ground.path("a").to_string();
    let before = fs::metadata(&path).expect("file").modified().expect("time");
    fs::write(&path, b"two").expect("changed");
    fs::File::options().write(true).open(&path).and_then(|f| f.set_modified(before)).expect("time set back");
    assert_eq!(ground.digest("a"), Digest::of(b"two"));
}

/// What lies in a folder of this machine.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("folder");
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
