//! Which keys programs of 32 and of 64 bits share, and which they see two of. Pure.
//!
//! Source: Win32, "Registry Keys Affected by Windows Installations That Include Windows on Windows (WOW) Support".

use super::{Hive, View};

/// Where a 32-bit program's `HKLM\SOFTWARE` lies.
const NODE: &str = "wow6432node";

/// The key without a `Wow6432Node` that a view can stand for, and with the view of 64 bits if it is shared.
pub(super) fn one_spelling(hive: Hive, mut components: Vec<&str>, view: View) -> (Vec<&str>, View) {
    if hive == Hive::Users {
        // Shared but for what lies in Classes, whose spellings are taken as they are.
        let in_classes = components.iter().take(3).any(|c| c.to_lowercase().ends_with("classes"));
        return (components, if in_classes { view } else { View::Bits64 });
    }
    let is = |component: Option<&&str>, expected: &str| component.is_some_and(|c| c.eq_ignore_ascii_case(expected));
    if !is(components.first(), "software") {
        return (components, View::Bits64);
    }
    let mut view = view;
    // A 32-bit program finds itself at Wow6432Node again.
    while is(components.get(1), NODE) {
        if is(components.get(2), "classes") {
            // A link to Classes\Wow6432Node.
            components.swap(1, 2);
        } else {
            components.remove(1);
            view = View::Bits32;
        }
    }
    if is(components.get(1), "classes") {
        let at = if is(components.get(2), NODE) { 3 } else { 2 };
        let (redirected, linked) = (&REDIRECTED_CLASSES, &LINKED_CLASSES);
        if redirected.iter().any(|class| is(components.get(at), class)) {
            if at == 3 {
                components.remove(2);
                view = View::Bits32;
            }
            return (components, view);
        }
        if at == 3 && linked.iter().any(|class| is(components.get(at), class)) {
            components.remove(2);
        }
        return (components, View::Bits64);
    }
    let below = components[1..].join("\\").to_ascii_lowercase();
    let is_shared =
        SHARED.iter().any(|shared| below.strip_prefix(shared).is_some_and(|r| r.is_empty() || r.starts_with('\\')));
    (components, if is_shared { View::Bits64 } else { view })
}

/// Keys of `HKLM\SOFTWARE\Classes` of which 32-bit programs see their own.
const REDIRECTED_CLASSES: [&str; 5] = ["clsid", "directshow", "interface", "media type", "mediafoundation"];

/// Keys of `HKLM\SOFTWARE\Classes` that `Wow6432Node` links back to.
const LINKED_CLASSES: [&str; 3] = ["appid", "protocols", "typelib"];

/// Keys of `HKLM\SOFTWARE` beside `Classes` that all programs share, since Windows 7.
const SHARED: [&str; 48] = [
    r"clients",
    r"microsoft\com3",
    r"microsoft\cryptography\calais\current",
    r"microsoft\cryptography\calais\readers",
    r"microsoft\cryptography\services",
    r"microsoft\ctf\systemshared",
    r"microsoft\ctf\tip",
    r"microsoft\dfs",
    r"microsoft\driver signing",
    r"microsoft\enterprisecertificates",
    r"microsoft\eventsystem",
    r"microsoft\msmq",
    r"microsoft\non-driver signing",
    r"microsoft\notepad\defaultfonts",
    r"microsoft\ole",
    r"microsoft\ras",
    r"microsoft\rpc",
    r"microsoft\shared tools\msinfo",
    r"microsoft\systemcertificates",
    r"microsoft\termservlicensing",
    r"microsoft\transactionserver",
    r"microsoft\windows\currentversion\app paths",
    r"microsoft\windows\currentversion\control panel\cursors\schemes",
    r"microsoft\windows\currentversion\explorer\autoplayhandlers",
    r"microsoft\windows\currentversion\explorer\driveicons",
    r"microsoft\windows\currentversion\explorer\kindmap",
    r"microsoft\windows\currentversion\group policy",
    r"microsoft\windows\currentversion\policies",
    r"microsoft\windows\currentversion\previewhandlers",
    r"microsoft\windows\currentversion\setup",
    r"microsoft\windows\currentversion\telephony\locations",
    r"microsoft\windows nt\currentversion\console",
    r"microsoft\windows nt\currentversion\fontdpi",
    r"microsoft\windows nt\currentversion\fontlink",
    r"microsoft\windows nt\currentversion\fontmapper",
    r"microsoft\windows nt\currentversion\fonts",
    r"microsoft\windows nt\currentversion\fontsubstitutes",
    r"microsoft\windows nt\currentversion\gre_initialize",
    r"microsoft\windows nt\currentversion\image file execution options",
    r"microsoft\windows nt\currentversion\language pack",
    r"microsoft\windows nt\currentversion\networkcards",
    r"microsoft\windows nt\currentversion\perflib",
    r"microsoft\windows nt\currentversion\ports",
    r"microsoft\windows nt\currentversion\print",
    r"microsoft\windows nt\currentversion\profilelist",
    r"microsoft\windows nt\currentversion\time zones",
    r"policies",
    r"registeredapplications",
];
