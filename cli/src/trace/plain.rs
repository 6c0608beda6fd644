//! JSON that a terminal may show.

use std::fmt::Write as _;

/// `json`, which is one JSON value on a line, with the same meaning, so that no terminal takes a part of it
/// for a command, and none of it hides or turns what stands beside it: such characters are written as
/// JSON's own escapes.
pub(super) fn plain(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut units = [0; 2];
    for c in json.chars() {
        match c {
            ' '..='~' => out.push(c),
            // JSON allows these between values only, and there a space says the same.
            '\t' | '\r' | '\n' => out.push(' '),
            _ if is_plain(c) => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut units) {
                    // Writing to a string can't fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out
}

/// Neither control nor format nor unassigned; a mark that belongs to the character before it is plain.
fn is_plain(c: char) -> bool {
    let mut text = String::from("a");
    text.push(c);
    text.escape_debug().count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meaning_stays_and_what_is_harmless_does() {
        for text in [
            r#"{"a": "b\u001b \" \\", "ü": "日本語 e\u0301 👩"}"#,
            "{\"a\":\t\"\u{7f}\u{9b}2J \u{202e} \u{200b} \u{2028} \u{e0041} \u{feff}\"}\r",
            "\"שלום e\u{301}\"",
        ] {
            let made = plain(text);
            let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            assert_eq!(read(&made), read(text));
            assert!(
                !made.contains(|c: char| !matches!(c, ' '..='~') && !is_plain(c)),
                "{made}"
            );
        }
        let harmless = r#"{"a": "שלום 日本語 👩"}"#;
        assert_eq!(plain(harmless), harmless);
    }
}
