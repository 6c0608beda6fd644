//! One line of output, in parts of different ink.

use std::fmt::Write as _;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::escape;
use super::ink::{self, Ink};

const CUT: &str = "…";

/// One line in the making. It knows how many columns it takes.
#[derive(Clone, Debug, Default)]
pub struct Line {
    parts: Vec<(Ink, String)>,
    width: usize,
}

impl Line {
    /// Adds `text`, [escaped](escape).
    pub fn push(&mut self, ink: Ink, text: &str) -> &mut Self {
        let text = escape(text);
        self.width += width(&text);
        self.parts.push((ink, text));
        self
    }

    /// Adds all parts of `other`.
    pub fn append(&mut self, other: Self) -> &mut Self {
        self.width += other.width;
        self.parts.extend(other.parts);
        self
    }

    /// Adds spaces until the line takes `width` columns.
    pub fn pad(&mut self, width: usize) -> &mut Self {
        let missing = width.saturating_sub(self.width);
        self.push(ink::PLAIN, &" ".repeat(missing))
    }

    /// Cuts the line to at most `width` columns; `…` stands for what is gone.
    pub fn cut(&mut self, width: usize) -> &mut Self {
        if self.width <= width {
            return self;
        }
        let room = width.saturating_sub(self::width(CUT));
        let mut kept = Self::default();
        'parts: for (ink, text) in std::mem::take(&mut self.parts) {
            let mut part = String::new();
            for cluster in text.graphemes(true) {
                let next = self::width(cluster);
                if kept.width + next > room {
                    part.push_str(if width > 0 { CUT } else { "" });
                    kept.width += self::width(CUT).min(width);
                    kept.parts.push((ink, part));
                    break 'parts;
                }
                kept.width += next;
                part.push_str(cluster);
            }
            kept.parts.push((ink, part));
        }
        *self = kept;
        self
    }

    /// How many columns it takes.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Writes it at the end of `out`, with a line break, without spaces before that.
    pub fn write(&self, colour: bool, out: &mut String) {
        let inked = |(_, text): &(Ink, String)| !text.trim_end().is_empty();
        let end = self
            .parts
            .iter()
            .rposition(inked)
            .map_or(0, |last| last + 1);
        for (index, (ink, text)) in self.parts[..end].iter().enumerate() {
            let text = if index + 1 == end {
                text.trim_end()
            } else {
                text
            };
            if colour && *ink != ink::PLAIN && !text.is_empty() {
                // Writing to a string can't fail.
                let _ = write!(out, "{ink}{text}{ink:#}");
            } else {
                out.push_str(text);
            }
        }
        out.push('\n');
    }
}

/// The sum over what a reader takes for characters, which is what [`Line::cut`] counts. `text` is escaped.
fn width(text: &str) -> usize {
    if text.is_ascii() {
        return text.len();
    }
    text.graphemes(true).map(UnicodeWidthStr::width).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str, width: usize) -> (String, usize) {
        let mut line = Line::default();
        line.push(ink::PLAIN, text).cut(width);
        let mut out = String::new();
        line.write(false, &mut out);
        (out.trim_end_matches('\n').to_owned(), line.width())
    }

    #[test]
    fn a_line_is_cut_by_columns_never_through_a_character() {
        assert_eq!(cut("abcdef", 6), ("abcdef".into(), 6));
        assert_eq!(cut("abcdef", 5), ("abcd…".into(), 5));
        assert_eq!(cut("日本語", 6), ("日本語".into(), 6));
        assert_eq!(cut("日本語", 5), ("日本…".into(), 5));
        assert_eq!(cut("日本語", 4), ("日…".into(), 3));
        assert_eq!(cut("e\u{301}e\u{301}e\u{301}", 2), ("e\u{301}…".into(), 2));
        assert_eq!(cut("abc", 1), ("…".into(), 1));
        assert_eq!(cut("abc", 0), ("".into(), 0));
    }

    #[test]
    fn colours_enclose_each_part_and_go_when_unwanted() {
        let mut line = Line::default();
        line.push(ink::GOOD, "ok").push(ink::PLAIN, " x  ").pad(12);
        let (mut coloured, mut plain) = (String::new(), String::new());
        line.write(true, &mut coloured);
        line.write(false, &mut plain);
        assert_eq!(coloured, "\u{1b}[32mok\u{1b}[0m x\n");
        assert_eq!(plain, "ok x\n");
    }

    #[test]
    fn nothing_that_is_pushed_reaches_the_terminal_as_a_command() {
        let mut line = Line::default();
        line.push(ink::BAD, "\u{1b}[2J\n");
        let mut out = String::new();
        line.write(true, &mut out);
        assert_eq!(out, "\u{1b}[31m\\u{1b}[2J\\n\u{1b}[0m\n");
    }
}
