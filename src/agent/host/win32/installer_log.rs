//! The part of an installer's log that says why it failed: a few lines, without the properties that it lists, which
//! may hold what is not for everyone. Pure.

/// At most so much is read from a log's end.
pub const TAIL_BYTES: u64 = 256 << 10;
/// A message stays readable.
const MOST_LINES: usize = 6;
const MOST_CHARS: usize = 800;

/// From the bytes at a log's end. Windows Installer writes UTF-16; whether the bytes begin in the middle of a unit or
/// line does not matter.
pub fn gist(bytes: &[u8]) -> String {
    let text = decoded(bytes);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(says_something).collect();
    // An action that failed returns 3; what went before says why.
    let end = lines.iter().position(|line| line.contains("Return value 3")).map_or(lines.len(), |at| at + 1);
    let lines = &lines[end.saturating_sub(MOST_LINES)..end];
    let gist = lines.join(" | ");
    let skipped = gist.chars().count().saturating_sub(MOST_CHARS);
    gist.chars().skip(skipped).collect()
}

fn says_something(line: &&str) -> bool {
    !line.is_empty() && !line.starts_with("Property(") && !line.contains("PROPERTY CHANGE") && !line.contains("Command")
}

fn decoded(bytes: &[u8]) -> String {
    let zeros = |odd: usize| bytes.iter().skip(odd).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    // Most of a log is of letters whose second byte is zero.
    if even.max(odd) < bytes.len() / 8 {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let start = usize::from(even > odd);
    let (units, _) = bytes[start..].as_chunks::<2>();
    let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    String::from_utf16_lossy(&units).trim_start_matches('\u{feff}').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "=== Verbose logging started ===\r\n\
        MSI (s) (A0:3C): PROPERTY CHANGE: Adding PIN property. Its value is '1234'.\r\n\
        MSI (s) (A0:3C): Command Line: PIN=1234\r\n\
        Action start 10:00:00: InstallFiles.\r\n\
        Error 1303. The installer has insufficient privileges to access C:\\Größe.\r\n\
        Action ended 10:00:01: InstallFiles. Return value 3.\r\n\
        Property(S): PIN = 1234\r\n\
        === Logging stopped ===\r\n";

    fn utf16(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn the_line_that_says_why_is_found_whatever_the_encoding() {
        let with_mark = [vec![0xff, 0xfe], utf16(LOG)].concat();
        let cut = utf16(LOG)[1..].to_vec();
        for bytes in [LOG.as_bytes().to_vec(), utf16(LOG), with_mark, cut] {
            let gist = gist(&bytes);
            assert!(gist.contains("Error 1303") && gist.contains("Größe"), "{gist}");
            assert!(gist.ends_with("Return value 3."), "{gist}");
        }
    }

    #[test]
    fn values_of_properties_are_left_out() {
        let gist = gist(&utf16(LOG));
        assert!(!gist.contains("1234"), "{gist}");
        assert!(!super::gist(LOG.replace("Return value 3", "Return value 1").as_bytes()).contains("1234"));
    }

    #[test]
    fn a_gist_is_short_and_there_may_be_none() {
        assert_eq!(gist(b""), "");
        let gist = gist("a long line of words\n".repeat(1000).as_bytes());
        assert!(gist.len() <= MOST_CHARS, "{gist}");
        assert!(super::gist("x".repeat(5000).as_bytes()).len() <= MOST_CHARS);
    }
}
