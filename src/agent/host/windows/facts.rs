//! The machine as it describes itself. Does IO.

use windows_sys::Win32::System::SystemInformation::GetTickCount64;

use crate::model::NodeFacts;

pub(super) fn read() -> NodeFacts {
    NodeFacts {
        os: std::env::consts::OS.to_owned(),
        os_version: "Windows".to_owned(),
        architecture: architecture(std::env::consts::ARCH).to_owned(),
        hostname: std::env::var("COMPUTERNAME").unwrap_or_default(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        boot_time: boot_time(),
        ..NodeFacts::default()
    }
}

fn architecture(rust: &'static str) -> &'static str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

fn boot_time() -> u64 {
    // SAFETY: it takes nothing and cannot fail.
    #[allow(unsafe_code)]
    let milliseconds = unsafe { GetTickCount64() };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    now.as_secs().saturating_sub(milliseconds / 1000)
}
