//! Markup that is safe by construction: what is written in the sources goes out as it is, all else is
//! escaped, in texts and in quoted attributes alike.

use std::fmt::{self, Display, Write};

/// A page, or a part of one, as it comes to be.
#[derive(Default)]
pub(super) struct Html {
    text: String,
}

impl Html {
    /// Markup: a literal.
    pub(super) fn lit(&mut self, markup: &'static str) -> &mut Self {
        self.text.push_str(markup);
        self
    }

    /// A text, or the value of an attribute that stands in double quotes: anybody's.
    pub(super) fn put(&mut self, text: impl Display) -> &mut Self {
        // A string takes all that is written to it.
        let _never_fails = write!(Escaped(&mut self.text), "{text}");
        self
    }

    /// What was made elsewhere.
    pub(super) fn add(&mut self, part: Self) -> &mut Self {
        self.text.push_str(&part.text);
        self
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}

/// Escapes what is written to it.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '`' => self.0.push_str("&#96;"),
                _ if is_unseen(character) => {
                    write!(self.0, "\\u{{{:x}}}", u32::from(character))?;
                }
                _ => self.0.push(character),
            }
        }
        Ok(())
    }
}

/// Does it show nothing, or turn the direction of what stands beside it? It is shown as an escape. What
/// joins letters is a part of some languages, and stays.
fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let mut html = Html::default();
        html.put(text);
        html.into_text()
    }

    #[test]
    fn nothing_that_is_put_is_markup() {
        assert_eq!(
            shown("<script>alert('x')</script> & \"`"),
            "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;&#96;"
        );
        for character in (0..=0x0011_0000).filter_map(char::from_u32) {
            let shown = shown(&character.to_string());
            let is_plain = !shown.contains(['<', '>', '"', '\'', '`']);
            assert!(is_plain && !shown.chars().any(char::is_control), "{shown}");
        }
    }

    #[test]
    fn what_is_not_seen_is_shown() {
        assert_eq!(shown("a\0b\nc"), "a\\u{0}b\\u{a}c");
        assert_eq!(shown("\u{202e}abc\u{2066}"), "\\u{202e}abc\\u{2066}");
        assert_eq!(
            shown("\u{feff}\u{e0041}\u{85}"),
            "\\u{feff}\\u{e0041}\\u{85}"
        );
        assert_eq!(shown("שלום می‌خواهم"), "שלום می‌خواهم");
    }
}
