//! What can be asked of a Linux machine alone: modes, programs that hold a file open, pipes.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Cursor, Read},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use windlass::{
    agent::host::{Host, PathState, Reason, linux::LinuxHost},
    model::{Attributes, Digest, HostPath, Mode},
};

use super::{Ground, reason};

/// This machine, and an empty folder on it.
pub fn ground() -> Ground {
    let folder = tempfile::tempdir().expect("folder");
    let base = folder.path().canonicalize().expect("path").to_str().expect("UTF-8").to_owned();
    let elsewhere = PathBuf::from(&base);
    let link = Box::new(move |path: &HostPath| symlink(&elsewhere, path.as_str()).expect("link"));
    Ground { host: Box::new(LinuxHost::default()), base, link: Some(link), _folder: Some(folder) }
}

fn with_mode(bits: u32) -> Attributes {
    Attributes { mode: Mode::new(bits), ..Attributes::default() }
}

fn mode(ground: &Ground, below: &str) -> u32 {
    ground.ownership(below).mode
}

#[test]
fn modes_are_the_defaults_or_what_is_asked_and_stay_where_nothing_is_asked() {
    for ground in [Ground::memory("/base"), ground()] {
        ground.write("public", b"x").expect("write");
        assert_eq!(mode(&ground, "public"), 0o644);
        ground.write_as("secret", b"x", &Attributes::default(), true).expect("write");
        assert_eq!(mode(&ground, "secret"), 0o600);
        ground.write_as("asked", b"x", &with_mode(0o4750), false).expect("write");
        assert_eq!(mode(&ground, "asked"), 0o4750);
        ground.write_as("narrow", b"x", &with_mode(0o600), false).expect("write");
        ground.write("narrow", b"y").expect("replace");
        assert_eq!(mode(&ground, "narrow"), 0o600, "a replaced file stays as closed as it was");
        ground.make("directory");
        assert_eq!(mode(&ground, "directory"), 0o755);
        ground.host.create_directory(&ground.path("closed"), &with_mode(0o1777)).expect("create");
        assert_eq!(mode(&ground, "closed"), 0o1777, "whatever the process's mask");
        ground.host.set_attributes(&ground.path("directory"), &with_mode(0o700)).expect("set");
        ground.host.set_attributes(&ground.path("public"), &with_mode(0o640)).expect("set");
        assert_eq!((mode(&ground, "directory"), mode(&ground, "public")), (0o700, 0o640));
    }
}

#[test]
fn a_path_of_another_platform_is_not_taken_for_one_of_this_machine() {
    let path = HostPath::parse("C:\\Acme").expect("path");
    assert_eq!(reason(LinuxHost::default().observe(&path, None)), Reason::NotSupportedHere);
}

#[test]
fn a_program_that_holds_the_old_file_open_keeps_it() {
    let ground = ground();
    ground.write("a", b"old").expect("write");
    let inode = fs::metadata(ground.path("a").as_str()).expect("file").ino();
    let mut open = fs::File::open(ground.path("a").as_str()).expect("open");
    ground.write("a", b"new").expect("replace");
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut open, &mut bytes).expect("read");
    assert_eq!(bytes, b"old");
    assert_ne!(fs::metadata(ground.path("a").as_str()).expect("file").ino(), inode);
}

#[test]
fn a_pipe_is_not_read() {
    let ground = ground();
    let path = ground.path("pipe").to_string();
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo");
    assert!(made.success());
    assert_eq!(ground.seen("pipe"), PathState::Other("a pipe"));
    assert_eq!(reason(ground.write("pipe", b"x")), Reason::WrongKind);
}

#[test]
fn where_nothing_may_be_written_the_reason_says_so() {
    let ground = ground();
    ground.make("closed");
    let closed = ground.path("closed").to_string();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).expect("closed");
    let written = ground.write("closed/a", b"x");
    if fs::metadata("/proc/self").expect("proc").uid() == 0 {
        // Root is kept out by what is not for writing at all.
        let path = HostPath::parse("/proc/sys/windlass").expect("path");
        let made = LinuxHost::default().create_directory(&path, &Attributes::default());
        assert!(matches!(reason(made), Reason::PermissionDenied | Reason::ReadOnlyFilesystem | Reason::IoError));
    } else {
        assert_eq!(reason(written), Reason::PermissionDenied);
    }
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("opened");
}

/// Bytes, before the first of which something is done.
struct After<F: FnMut()>(Option<F>, Cursor<&'static [u8]>);

impl<F: FnMut()> Read for After<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(mut act) = self.0.take() {
            act();
        }
        self.1.read(buffer)
    }
}

#[test]
fn a_folder_that_becomes_a_link_while_a_file_is_written_leads_nowhere() {
    let (ground, elsewhere) = (ground(), tempfile::tempdir().expect("folder"));
    ground.make("folder");
    let (folder, aside) = (PathBuf::from(&ground.base).join("folder"), PathBuf::from(&ground.base).join("aside"));
    let swap = || {
        fs::rename(&folder, &aside).expect("renamed");
        symlink(elsewhere.path(), &folder).expect("linked");
    };
    let mut content = After(Some(swap), Cursor::new(b"x"));
    let at = ground.path("folder/file");
    assert_eq!(ground.host.write_file(&at, &mut content, &Attributes::default(), false), Ok(()));
    assert_eq!(fs::read(aside.join("file")).expect("in the folder that was meant"), b"x");
    assert_eq!(fs::read_dir(elsewhere.path()).expect("folder").count(), 0);
    fs::write(elsewhere.path().join("file"), "theirs").expect("written");
    for refused in [
        ground.write("folder/file", b"y"),
        ground.host.set_attributes(&at, &with_mode(0o777)),
        ground.host.remove_file(&at),
        ground.host.discard_interrupted(&at),
        ground.host.create_directory(&ground.path("folder/new"), &Attributes::default()),
    ] {
        assert_eq!(reason(refused), Reason::LinkInPath);
    }
    assert_eq!(fs::read_to_string(elsewhere.path().join("file")).expect("there"), "theirs");
}

#[test]
fn a_folder_that_is_a_link_now_and_then_leads_nowhere_either() {
    let (ground, elsewhere) = (ground(), tempfile::tempdir().expect("folder"));
    ground.make("folder");
    let (folder, link) = (PathBuf::from(&ground.base).join("folder"), PathBuf::from(&ground.base).join("link"));
    symlink(elsewhere.path(), &link).expect("linked");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                renameat_with(CWD, &folder, CWD, &link, RenameFlags::EXCHANGE).expect("exchanged");
            }
        });
        let mut ends = BTreeSet::new();
        // Until both have happened, should the other thread have its turn seldom.
        let mut rounds = 0..20_000;
        let both = |ends: &BTreeSet<_>| ends.contains(&None) && ends.contains(&Some("LinkInPath"));
        while let Some(round) = rounds.next().filter(|round| *round < 500 || !both(&ends)) {
            let made = ground.host.create_directory(&ground.path(&format!("folder/{round}")), &with_mode(0o700));
            let written = ground.write(&format!("folder/{round}.txt"), b"x");
            ends.extend([made, written].map(|end| end.err().map(|error| error.reason.as_str())));
        }
        done.store(true, Ordering::Relaxed);
        // The link may be a folder again by the time that it is named.
        ends.remove(&Some("WrongKind"));
        assert_eq!(ends, [None, Some("LinkInPath")].into());
    });
    assert_eq!(fs::read_dir(elsewhere.path()).expect("folder").count(), 0);
}

#[test]
fn a_file_with_other_names_elsewhere_keeps_its_mode() {
    let ground = ground();
    ground.write("theirs", b"x").expect("write");
    fs::hard_link(ground.path("theirs").as_str(), ground.path("a").as_str()).expect("linked");
    assert_eq!(reason(ground.host.set_attributes(&ground.path("a"), &with_mode(0o666))), Reason::LinkInPath);
    assert_eq!(mode(&ground, "theirs"), 0o644);
    ground.write_as("a", b"y", &with_mode(0o666), false).expect("replaced");
    assert_eq!((mode(&ground, "theirs"), ground.digest("theirs")), (0o644, Digest::of(b"x")));
}
