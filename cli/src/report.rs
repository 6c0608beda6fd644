//! What the service found, for people.

use crate::analysis::{AnalysisResult, FrequentWord, LengthBand};
use crate::terminal::{Line, Style, count, duration, ink};

const LABEL: usize = 16;
const GAP: usize = 3;
/// How long the bar of all sentences would be.
const BAR: u128 = 40;

/// Shows results as they come, a few at a time.
#[derive(Debug)]
pub struct Report {
    style: Style,
    /// Has the list of words its label already?
    has_words: bool,
    sentences: u64,
}

impl Report {
    /// A report that looks like this.
    pub fn new(style: Style) -> Self {
        Self {
            style,
            has_words: false,
            sentences: 0,
        }
    }

    /// `results` as lines, each with its line break: the words fill lines, all else takes one.
    pub fn render(&mut self, results: &[AnalysisResult]) -> String {
        let mut out = String::new();
        let mut words = Line::default();
        for result in results {
            if let AnalysisResult::Word(word) = result {
                self.word(word, &mut words, &mut out);
            } else {
                self.write(&mut words, &mut out);
                self.write(&mut self.line(result), &mut out);
            }
            if let AnalysisResult::Sentences(found) = result {
                self.sentences = found.count;
            }
        }
        self.write(&mut words, &mut out);
        out
    }

    /// Adds `word` to the line of `words`, or to the next one.
    fn word(&mut self, word: &FrequentWord, words: &mut Line, out: &mut String) {
        let mut cell = Line::default();
        cell.push(ink::PLAIN, &word.text)
            .push(ink::FAINT, &format!(" {}", count(word.count)));
        if words.width() + GAP + cell.width() > self.style.width() {
            self.write(words, out);
        }
        if words.width() == 0 {
            let label = if self.has_words { "" } else { "frequent words" };
            words.push(ink::FAINT, label).pad(LABEL);
            self.has_words = true;
        } else {
            words.push(ink::PLAIN, &" ".repeat(GAP));
        }
        words.append(cell);
    }

    fn line(&self, result: &AnalysisResult) -> Line {
        match result {
            AnalysisResult::Summary(summary) => row(
                "text",
                &format!(
                    "{} bytes, {} tokens, {} words, {} of them distinct",
                    count(summary.bytes),
                    count(summary.tokens),
                    count(summary.words),
                    count(summary.distinct_words),
                ),
            ),
            AnalysisResult::Word(word) => row("word", &word.text),
            AnalysisResult::Sentences(found) => row(
                "sentences",
                &format!(
                    "{}, of {} to {} words; median {}, mean {:.1}",
                    count(found.count),
                    count(found.min),
                    count(found.max),
                    found.median,
                    found.mean,
                ),
            ),
            AnalysisResult::Band(band) => self.band(band),
            AnalysisResult::ReadingTime(reading) => {
                let nanoseconds = u64::try_from(reading.time.as_nanos()).unwrap_or(u64::MAX);
                let time = duration(nanoseconds);
                let speed = reading.words_per_minute;
                row("reading time", &format!("{time} at {speed} words a minute"))
            }
        }
    }

    fn band(&self, band: &LengthBand) -> Line {
        let words = match band.to {
            Some(to) => format!("{:>4}–{to} words", band.from),
            None => format!("{:>4} or more", band.from),
        };
        let mut line = row(&words, "");
        line.push(ink::PLAIN, &format!("{:>5}  ", count(band.sentences)))
            .push(ink::SERVICE, &bar(band.sentences, self.sentences));
        line
    }

    /// Writes `line`, if there is anything on it, and leaves nothing of it.
    fn write(&self, line: &mut Line, out: &mut String) {
        let mut line = std::mem::take(line);
        if line.width() > 0 {
            line.cut(self.style.width()).write(self.style.colour(), out);
        }
    }
}

/// A bar for `part` of `all`, in eighths of a character; something for whatever is not zero.
fn bar(part: u64, all: u64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let length = u128::from(part) * BAR * 8 / u128::from(all.max(1));
    // More than all there is, only a service says that can't count.
    let length = length.clamp(u128::from(part > 0), BAR * 8) as usize;
    "█".repeat(length / 8) + EIGHTHS[length % 8]
}

fn row(label: &str, value: &str) -> Line {
    let mut line = Line::default();
    line.push(ink::FAINT, label)
        .pad(LABEL)
        .push(ink::PLAIN, value);
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{Counter, Cursor};

    fn render(text: &str, width: usize, at_once: u32) -> String {
        let mut counter = Counter::default();
        counter.feed(text);
        let mut cursor = Cursor::new(counter.finish());
        let mut report = Report::new(Style::new(width, false));
        let mut out = String::new();
        loop {
            let (results, done) = cursor.next(at_once);
            out.push_str(&report.render(&results));
            if done {
                return out;
            }
        }
    }

    #[test]
    fn words_fill_lines_and_all_else_takes_one() {
        let expected = "
text            27 bytes, 9 tokens, 6 words, 4 of them distinct
frequent words  one 2   two 2   so 1   three 1
sentences       3, of 1 to 3 words; median 2, mean 2.0
   1–5 words        3  ████████████████████████████████████████
reading time    1.51 s at 238 words a minute
";
        let text = "One two. One two three! So.";
        assert_eq!(render(text, 80, 100), expected.trim_start());
    }

    #[test]
    fn the_words_of_the_next_results_begin_a_line_without_a_label() {
        let shown = render("One two. One two three! So.", 30, 3);
        let lines: Vec<_> = shown.lines().take(3).collect();
        let expected = [
            "text            27 bytes, 9 t…",
            "frequent words  one 2   two 2",
            "                so 1   three 1",
        ];
        assert_eq!(lines, expected);
    }
}
