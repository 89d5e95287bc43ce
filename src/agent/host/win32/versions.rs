//! How Windows is named for people. Pure.

/// Such as `Windows 11 Pro 23H2`, from values of `HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion`. The product's
/// name there goes on saying 10 since build 22000, which is the first of Windows 11.
pub fn os_version(product_name: &str, display_version: &str, build: &str) -> String {
    let name = if product_name.is_empty() { "Windows" } else { product_name };
    let is_later = build.parse::<u32>().is_ok_and(|build| build >= 22_000);
    let name = match name.strip_prefix("Windows 10") {
        Some(rest) if is_later => format!("Windows 11{rest}"),
        _ => name.to_owned(),
    };
    if display_version.is_empty() { name } else { format!("{name} {display_version}") }
}

/// Such as `19045.4651`.
pub fn build(build: &str, revision: Option<u32>) -> String {
    match revision {
        Some(revision) if !build.is_empty() => format!("{build}.{revision}"),
        _ => build.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_is_named_as_people_know_it() {
        for (name, display, build, expected) in [
            ("Windows 10 Pro", "22H2", "19045", "Windows 10 Pro 22H2"),
            ("Windows 10 Pro", "23H2", "22631", "Windows 11 Pro 23H2"),
            ("Windows 10 Enterprise LTSC 2021", "", "19044", "Windows 10 Enterprise LTSC 2021"),
            ("Windows Server 2022 Standard", "21H2", "20348", "Windows Server 2022 Standard 21H2"),
            ("", "", "", "Windows"),
        ] {
            assert_eq!(os_version(name, display, build), expected);
        }
        assert_eq!(super::build("19045", Some(4651)), "19045.4651");
        assert_eq!(super::build("19045", None), "19045");
        assert_eq!(super::build("", Some(1)), "");
    }
}
