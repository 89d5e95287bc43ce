//! A program and its arguments as the one line that Windows keeps of them. Pure.
//! Source: Microsoft C++, "Parsing C command-line arguments".

/// Quotes each word so that the program's C runtime reads the same words back.
pub fn join(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
    quoted.join(" ")
}

fn quote(word: &str) -> String {
    if !word.is_empty() && !word.contains([' ', '\t', '\n', '\u{b}', '"']) {
        return word.to_owned();
    }
    let mut quoted = String::from("\"");
    let mut backslashes = 0;
    for character in word.chars() {
        match character {
            '\\' => backslashes += 1,
            '"' => {
                // Those before a quote stand for themselves only when doubled, and one more makes it a letter.
                quoted.push_str(&"\\".repeat(backslashes * 2 + 1));
                quoted.push('"');
                backslashes = 0;
                continue;
            }
            _ => {
                quoted.push_str(&"\\".repeat(backslashes));
                backslashes = 0;
            }
        }
        if character != '\\' {
            quoted.push(character);
        }
    }
    quoted.push_str(&"\\".repeat(backslashes * 2));
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_they_must_be() {
        for (word, quoted) in [
            ("plain", "plain"),
            ("", r#""""#),
            (r"C:\a\b.exe", r"C:\a\b.exe"),
            (r"C:\Program Files\a.exe", r#""C:\Program Files\a.exe""#),
            (r"C:\Program Files\", r#""C:\Program Files\\""#),
            (r#"say "hi""#, r#""say \"hi\"""#),
            (r#"a\"b c"#, r#""a\\\"b c""#),
            (r"a\\b c", r#""a\\b c""#),
        ] {
            assert_eq!(join(&[word.to_owned()]), quoted);
        }
        assert_eq!(join(&["a b".into(), "c".into()]), r#""a b" c"#);
    }
}
