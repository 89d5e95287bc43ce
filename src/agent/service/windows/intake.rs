//! Takes the enrollment file that the installer was given into the state directory. Does IO.

use std::{
    ffi::c_void,
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::windows::{
        fs::{MetadataExt as _, OpenOptionsExt as _},
        io::AsRawHandle as _,
    },
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use tracing::{error, info};
use windows_sys::Win32::{
    Foundation::{ERROR_LOCK_VIOLATION, ERROR_SHARING_VIOLATION, GENERIC_READ},
    Storage::FileSystem::{
        DELETE, FILE_ATTRIBUTE_REPARSE_POINT, FILE_DISPOSITION_INFO, FILE_FLAG_OPEN_REPARSE_POINT,
        FILE_WRITE_ATTRIBUTES, FileDispositionInfo, SetFileInformationByHandle,
    },
};

use super::registry;
use crate::agent::{
    enrollment_file,
    host::machine,
    identity::IdentityFolder,
    service::{
        enrollment_path,
        intake::{Given, Had, Intake, decide},
        parameters::ENROLLMENT_FILE,
    },
};

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 64 << 10;
/// How long another program may keep the file; the service is starting meanwhile.
const LET_GO_WITHIN: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Takes the file that the installer was given, if there is one, and deletes it. What goes wrong is logged, and the
/// agent goes on without it.
pub fn take_enrollment(state_dir: &Path) {
    let Some(path) = registry::parameters(ENROLLMENT_FILE).filter(|path| !path.is_empty()) else { return };
    // It holds a token, which is nothing for a folder of somebody else.
    if let Err(error) = machine::create_private_directory(state_dir) {
        error!(resource = path, %error, "the installer's enrollment file could not be taken and deleted");
        return;
    }
    let opened = open(Path::new(&path));
    let given = match &opened {
        Ok((_, text)) => match enrollment_file::parse(text) {
            Ok(file) => Given::Usable(file.token_digest()),
            Err(why) => Given::Unusable(why),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Given::Absent,
        Err(error) => Given::Unusable(error.to_string()),
    };
    let copy = enrollment_path(state_dir);
    let identity = IdentityFolder::open(state_dir.join("identity")).and_then(|folder| folder.load()).ok().flatten();
    let had = Had {
        identity: identity.map(|identity| identity.token_digest),
        copy: enrollment_file::read(&copy).ok().map(|file| file.token_digest()),
    };
    let intake = decide(&given, &had);
    let done = match (&intake, opened) {
        (Intake::Nothing, _) => return,
        (Intake::Refuse(why), _) => {
            error!(resource = path, error = why, "the installer's enrollment file cannot be used");
            return;
        }
        (Intake::Take, Ok((file, text))) => {
            machine::write_private_file(&copy, text.as_bytes()).and_then(|()| delete(&file))
        }
        (Intake::Discard, Ok((file, _))) => delete(&file),
        (Intake::Forget | Intake::Take | Intake::Discard, _) => Ok(()),
    };
    match done.and_then(|()| registry::forget_enrollment_file()) {
        Ok(()) => info!(resource = path, "the installer's enrollment file was taken"),
        Err(error) => {
            error!(resource = path, %error, "the installer's enrollment file could not be taken and deleted");
        }
    }
}

/// Opened once, so that what is deleted is what was read, and no link that somebody put in its place.
fn open(path: &Path) -> io::Result<(File, String)> {
    let mut options = OpenOptions::new();
    // Shared with whoever looks at a new file, such as a scanner.
    options.access_mode(GENERIC_READ | DELETE | FILE_WRITE_ATTRIBUTES).custom_flags(FILE_FLAG_OPEN_REPARSE_POINT);
    let file = once_it_is_let_go(|| options.open(path))?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.file_attributes() & FILE_ATTRIBUTE_REPARSE_POINT != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "expected a regular file"));
    }
    let mut text = String::new();
    (&file).take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is larger than 64 KiB"));
    }
    Ok((file, text))
}

/// Tries again for a while where another program has it for itself.
fn once_it_is_let_go<T>(attempt: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + LET_GO_WITHIN;
    loop {
        match attempt() {
            Err(error) if is_in_use(&error) && Instant::now() < deadline => sleep(LOOK_AGAIN),
            outcome => return outcome,
        }
    }
}

fn is_in_use(error: &io::Error) -> bool {
    let codes = [ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION].map(u32::cast_signed);
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// It goes when it is closed, also where it is read-only.
fn delete(file: &File) -> io::Result<()> {
    let mut permissions = file.metadata()?.permissions();
    if permissions.readonly() {
        #[allow(clippy::permissions_set_readonly_false)] // of Windows: the attribute
        permissions.set_readonly(false);
        file.set_permissions(permissions)?;
    }

    let information = FILE_DISPOSITION_INFO { DeleteFile: true };
    let size = u32::try_from(size_of::<FILE_DISPOSITION_INFO>()).unwrap_or_default();
    // SAFETY: the handle is open for as long as the file is, and the information outlives the call.
    #[allow(unsafe_code)]
    let done = unsafe {
        SetFileInformationByHandle(
            file.as_raw_handle(),
            FileDispositionInfo,
            (&raw const information).cast::<c_void>(),
            size,
        )
    };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
