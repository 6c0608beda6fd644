//! Text that is nothing but text.

use std::borrow::Cow;

use crate::terminal::escape;

/// So much of a name stands on a line.
const MAX: usize = 200;

/// `text` for an element or an attribute in quotes. As on a terminal, what has no width or turns the
/// direction of writing around is shown as an escape.
pub(super) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in escape(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// The beginning of `text`, where that is very long.
pub(super) fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX) {
        None => text.into(),
        Some((end, _)) => format!("{}…", &text[..end]).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_can_be_an_element_or_end_an_attribute() {
        assert_eq!(
            html(r#"<script>alert("1" & '2')</script>"#),
            "&lt;script&gt;alert(&quot;1&quot; &amp; &#39;2&#39;)&lt;/script&gt;"
        );
    }

    #[test]
    fn what_hides_or_turns_text_is_shown() {
        assert_eq!(html("a\u{202e}b\u{0}\u{1b}\n"), "a\\u{202e}b\\0\\u{1b}\\n");
        assert_eq!(html("שלום 日本語"), "שלום 日本語");
    }

    #[test]
    fn what_is_long_is_cut() {
        assert_eq!(cut(&"é".repeat(MAX)), "é".repeat(MAX));
        assert_eq!(cut(&"é".repeat(MAX + 1)), format!("{}…", "é".repeat(MAX)));
    }
}
