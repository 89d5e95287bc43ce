//! Whether the machine waits for a restart: what installers said, and the places where Windows itself notes it. Does
//! IO.

use std::io;

use windows_registry::LOCAL_MACHINE;

/// A key that is gone once the machine has started anew: installers of windlass asked for that.
const ASKED_FOR: &str = r"SOFTWARE\windlass\RestartPending";
/// Of component-based servicing, and of Windows Update.
const NOTED: [&str; 2] = [
    r"SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending",
    r"SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired",
];
/// Source: Win32, MoveFileEx: files that are replaced or removed at the next start.
const RENAMES: (&str, &str) = (r"SYSTEM\CurrentControlSet\Control\Session Manager", "PendingFileRenameOperations");

pub(super) fn is_pending() -> bool {
    let is_there = |key: &str| LOCAL_MACHINE.open(key).is_ok();
    let (key, value) = RENAMES;
    let renames = LOCAL_MACHINE.open(key).and_then(|key| key.get_value(value));
    is_there(ASKED_FOR)
        || NOTED.into_iter().any(is_there)
        || renames.is_ok_and(|list| list.iter().any(|byte| *byte != 0))
}

/// Until the machine has started anew.
pub(super) fn remember() -> io::Result<()> {
    let (parent, _) = ASKED_FOR.rsplit_once('\\').unwrap_or_default();
    LOCAL_MACHINE.create(parent)?;
    LOCAL_MACHINE.options().read().create().volatile().open(ASKED_FOR)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_installer_asked_for_is_remembered() {
        remember().expect("noted");
        remember().expect("once more");
        assert!(is_pending());
        LOCAL_MACHINE.remove_tree(ASKED_FOR).expect("removed");
    }
}
