//! What can be asked of a Linux machine alone: modes, programs that hold a file open, pipes.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::PathBuf,
};

use windlass::{
    agent::host::{Host, PathState, Reason, linux::LinuxHost},
    model::{Attributes, HostPath, Mode},
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
