//! Makes text harmless.

use unicode_segmentation::UnicodeSegmentation;

/// Combining marks are drawn over their neighbours: a heap of them can hide other lines.
const MAX_CLUSTER: usize = 8;

/// `text` with everything escaped that a terminal might take for a command, that has no width, or
/// that turns the direction of writing around: control and format characters, separators other than
/// the plain space, what Unicode has not assigned. A backslash is doubled, so that nothing can look
/// like an escape that is none.
pub fn escape(text: &str) -> String {
    // Most text is of this kind, and needs no look at what its characters are to each other.
    if text
        .bytes()
        .all(|byte| matches!(byte, b' '..=b'~') && byte != b'\\')
    {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for cluster in text.graphemes(true) {
        if matches!(cluster, "'" | "\"") {
            out.push_str(cluster);
        } else if cluster.chars().nth(MAX_CLUSTER).is_some() {
            out.extend(cluster.escape_unicode());
        } else {
            out.extend(cluster.escape_debug());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_of_any_language_stays() {
        for text in [
            "it's \"so\"",
            " !#$%&()*+,-./09:;<=>?@AZ[]^_`az{|}~",
            "naïve e\u{301}",
            "日本語",
            "שלום",
            "│ ├─ ◂ ▏█ …",
            "👩 🇪🇺",
        ] {
            assert_eq!(escape(text), text);
        }
    }

    #[test]
    fn commands_to_the_terminal_are_escaped() {
        assert_eq!(
            escape("\u{1b}[31mred\u{7}\u{9b}2J"),
            "\\u{1b}[31mred\\u{7}\\u{9b}2J"
        );
        assert_eq!(escape("a\r\nb\tc\0"), "a\\r\\nb\\tc\\0");
        assert_eq!(escape("\u{7f}\u{85}\u{2028}"), "\\u{7f}\\u{85}\\u{2028}");
    }

    #[test]
    fn what_hides_or_turns_text_is_escaped() {
        assert_eq!(
            escape("a\u{202e}b\u{200b}c\u{feff}"),
            "a\\u{202e}b\\u{200b}c\\u{feff}"
        );
        assert_eq!(
            escape("a\u{2066}b\u{ad}\u{e0041}"),
            "a\\u{2066}b\\u{ad}\\u{e0041}"
        );
    }

    #[test]
    fn an_escape_can_not_be_forged() {
        assert_eq!(escape("\\u{1b}"), "\\\\u{1b}");
    }

    #[test]
    fn a_heap_of_marks_is_taken_apart() {
        let heap = format!("a{}", "\u{301}".repeat(50));
        assert!(escape(&heap).is_ascii());
        assert_eq!(escape("\u{301}"), "\\u{301}");
    }
}
