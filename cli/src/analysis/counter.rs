//! Reads a text piece by piece and counts.
//!
//! Unicode's sentence rule ends a sentence at every line break, which is wrong for text that is
//! wrapped at some column. So lines are first put together into paragraphs, which end at an empty
//! line or where Markdown begins something new; these are cut into sentences, and those into tokens.

use std::collections::{BTreeMap, HashMap};

use unicode_segmentation::UnicodeSegmentation;

use super::results::{self, Analysis, Summary};

/// In bytes, the longest line and about the longest paragraph. What is longer (a log, a file without
/// line breaks) is cut there, so that no piece of text makes more work at once than a few of these.
const LONGEST: usize = 64 << 10;

/// What to call this way of analysing a text.
pub const MODEL: &str = "unicode-words";

/// Counts tokens, words and sentences of a text that is [fed](Counter::feed) to it.
///
/// It needs memory for one paragraph and for each different word, not for the whole text.
#[derive(Debug, Default)]
pub struct Counter {
    line: String,
    paragraph: String,
    summary: Summary,
    words: HashMap<String, u64>,
    lengths: BTreeMap<u64, u64>,
    key: String,
}

impl Counter {
    /// Takes the next piece of the text. Where the pieces are cut makes no difference.
    pub fn feed(&mut self, piece: &str) {
        self.summary.bytes += piece.len() as u64;
        for mut part in piece.split_inclusive('\n') {
            while self.line.len() + part.len() > LONGEST {
                let room = LONGEST - self.line.len();
                let (now, later) = part.split_at(part.floor_char_boundary(room));
                self.line.push_str(now);
                self.cut_line();
                part = later;
            }
            self.line.push_str(part);
            if part.ends_with('\n') {
                self.end_line();
            }
        }
    }

    /// The text is over: what is known of it?
    pub fn finish(mut self) -> Analysis {
        self.end_line();
        self.end_paragraph();
        self.summary.distinct_words = self.words.len() as u64;
        Analysis {
            summary: self.summary,
            words: results::most_frequent(self.words),
            sentences: results::sentence_lengths(&self.lengths),
            bands: results::bands(&self.lengths),
            reading_time: results::reading_time(self.summary.words),
        }
    }

    /// Ends a line that is full: between two words, if there is more than one.
    fn cut_line(&mut self) {
        let end = self.line.trim_end().rfind(char::is_whitespace);
        // A cut at its start would leave it as full as it is.
        let end = end.filter(|end| *end > 0);
        let rest = self.line.split_off(end.unwrap_or(self.line.len()));
        self.end_line();
        self.line = rest;
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let text = line.trim();
        if text.is_empty() || begins_block(text) {
            self.end_paragraph();
        }
        if !self.paragraph.is_empty() {
            self.paragraph.push(' ');
        }
        self.paragraph.push_str(text);
        if text.starts_with('#') || self.paragraph.len() > LONGEST {
            self.end_paragraph();
        }
    }

    fn end_paragraph(&mut self) {
        let paragraph = std::mem::take(&mut self.paragraph);
        for sentence in paragraph.split_sentence_bounds() {
            let words_before = self.summary.words;
            for token in sentence.split_word_bounds() {
                self.count_token(token);
            }
            let length = self.summary.words - words_before;
            if length > 0 {
                *self.lengths.entry(length).or_default() += 1;
            }
        }
    }

    fn count_token(&mut self, token: &str) {
        if token.chars().all(char::is_whitespace) {
            return;
        }
        self.summary.tokens += 1;
        if !token.contains(char::is_alphanumeric) {
            return;
        }
        self.summary.words += 1;
        self.key.clear();
        self.key.extend(
            token
                .chars()
                .map(|c| if c == '’' { '\'' } else { c })
                .flat_map(char::to_lowercase),
        );
        if let Some(count) = self.words.get_mut(&self.key) {
            *count += 1;
        } else {
            self.words.insert(self.key.clone(), 1);
        }
    }
}

/// Does this line begin a heading, list item, table row or code block of Markdown?
fn begins_block(line: &str) -> bool {
    let numbered = line
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .starts_with(". ");
    ["#", "|", "```", "~~~", "- ", "* ", "+ "]
        .iter()
        .any(|mark| line.starts_with(mark))
        || (numbered && line.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::FrequentWord;

    fn analyse(text: &str) -> Analysis {
        let mut counter = Counter::default();
        counter.feed(text);
        counter.finish()
    }

    fn summary(text: &str) -> (u64, u64, u64, u64) {
        let found = analyse(text).summary;
        (found.bytes, found.tokens, found.words, found.distinct_words)
    }

    fn sentences(text: &str) -> Vec<(u64, u64)> {
        let mut counter = Counter::default();
        counter.feed(text);
        counter.end_line();
        counter.end_paragraph();
        counter.lengths.into_iter().collect()
    }

    #[test]
    fn words_are_tokens_that_hold_a_letter_or_a_digit() {
        // The | cat | , | the | 2 | cats | — | all | . = 9 tokens, 6 words, "the" twice.
        assert_eq!(summary("The cat, the 2 cats — all."), (28, 9, 6, 5));
        assert_eq!(summary("3.14 isn't naïve"), (17, 3, 3, 3));
        assert_eq!(summary(" \n\t\r\n "), (6, 0, 0, 0));
        assert_eq!(summary("..."), (3, 3, 0, 0));
        assert_eq!(summary(""), (0, 0, 0, 0));
    }

    #[test]
    fn case_and_the_form_of_the_apostrophe_make_no_other_word() {
        let found = analyse("It's IT’S it's Ärger ärger");
        let word = |text: &str, count| FrequentWord {
            text: text.into(),
            count,
        };
        assert_eq!(found.words, [word("it's", 3), word("ärger", 2)]);
    }

    #[test]
    fn a_sentence_goes_on_over_a_line_break_but_not_over_an_empty_line() {
        assert_eq!(sentences("One two\nthree. Four!\r\nFive"), [(1, 2), (3, 1)]);
        assert_eq!(sentences("One two\n\nthree"), [(1, 1), (2, 1)]);
        assert_eq!(sentences("One two\r\n\r\nthree"), [(1, 1), (2, 1)]);
    }

    #[test]
    fn marks_of_markdown_end_a_sentence() {
        assert_eq!(sentences("# A title\nsome text"), [(2, 2)]);
        assert_eq!(
            sentences("A list:\n- one\n- one two three\n"),
            [(1, 1), (2, 1), (3, 1)]
        );
        // The number counts as a word; with a capital after it, as a sentence too.
        assert_eq!(sentences("so\n12. is it"), [(1, 1), (3, 1)]);
        assert_eq!(sentences("so\n12. Is it"), [(1, 2), (2, 1)]);
        assert_eq!(sentences("- - -\n"), []);
    }

    #[test]
    fn the_words_of_all_sentences_are_all_words() {
        let text = include_str!("../../text/capabilities.txt");
        let found = analyse(text);
        let mean = found.summary.words as f64 / found.sentences.count as f64;
        assert_eq!(found.sentences.mean, mean);
        let banded: u64 = found.bands.iter().map(|band| band.sentences).sum();
        assert_eq!(banded, found.sentences.count);
    }

    #[test]
    fn no_line_and_no_paragraph_grows_without_end() {
        let spaced = "word ".repeat(LONGEST);
        let (below, joined) = (spaced.replace(' ', "\n"), spaced.replace(' ', ""));
        let indented = format!(" {joined}");
        let cut = (joined.len() / LONGEST) as u64;
        for (text, words) in [
            (spaced, LONGEST as u64),
            (below, LONGEST as u64),
            (joined, cut),
            (indented, cut + 1),
        ] {
            let mut counter = Counter::default();
            for piece in text.as_bytes().chunks(LONGEST - 7) {
                counter.feed(str::from_utf8(piece).unwrap());
                assert!(counter.line.len() <= LONGEST && counter.paragraph.len() <= LONGEST);
            }
            let mut at_once = Counter::default();
            at_once.feed(&text);
            let found = counter.finish();
            assert_eq!(found, at_once.finish());
            assert_eq!(found.summary.words, words);
        }
    }

    #[test]
    fn where_the_pieces_are_cut_makes_no_difference() {
        let text = "# Häuser\r\n\r\nIt’s 3.5 km. \u{1f469}\u{200d}\u{1f52c} says:\n- “so”\nEnd?";
        let whole = analyse(text);
        for cut in (0..text.len()).filter(|at| text.is_char_boundary(*at)) {
            let mut counter = Counter::default();
            counter.feed(&text[..cut]);
            counter.feed(&text[cut..]);
            assert_eq!(counter.finish(), whole, "cut at {cut}");
        }
        let mut counter = Counter::default();
        for c in text.chars() {
            counter.feed(c.encode_utf8(&mut [0; 4]));
        }
        assert_eq!(counter.finish(), whole);
    }
}
