//! What the service found, for people: one line a result.

use crate::analysis::AnalysisResult;
use crate::terminal::{Line, Style, count, duration, ink};

const LABEL: usize = 16;

/// `result` as one line, with its line break.
pub fn render(result: &AnalysisResult, style: &Style) -> String {
    let mut line = Line::default();
    let mut row = |label: &str, value: &str| {
        line.push(ink::FAINT, label)
            .pad(LABEL)
            .push(ink::PLAIN, value);
    };
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
        AnalysisResult::Word(word) => {
            row("word", &format!("{:>8}  {}", count(word.count), word.text));
        }
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
        AnalysisResult::Band(band) => {
            let words = match band.to {
                Some(to) => format!("{} to {} words", band.from, to),
                None => format!("{} or more", band.from),
            };
            row(
                "  length",
                &format!("{:>8}  {words}", count(band.sentences)),
            );
        }
        AnalysisResult::ReadingTime(reading) => {
            let nanoseconds = u64::try_from(reading.time.as_nanos()).unwrap_or(u64::MAX);
            let time = duration(nanoseconds);
            let speed = reading.words_per_minute;
            row("reading time", &format!("{time} at {speed} words a minute"));
        }
    }
    let mut out = String::new();
    line.cut(style.width()).write(style.colour(), &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{Counter, Cursor};

    #[test]
    fn each_result_is_one_line() {
        let mut counter = Counter::default();
        counter.feed("One two. One two three! So.");
        let (results, _) = Cursor::new(counter.finish()).next(100);
        let style = Style::new(80, false);
        let lines: String = results
            .iter()
            .map(|result| render(result, &style))
            .collect();
        let expected = "
text            27 bytes, 9 tokens, 6 words, 4 of them distinct
word                   2  one
word                   2  two
word                   1  so
word                   1  three
sentences       3, of 1 to 3 words; median 2, mean 2.0
  length               3  1 to 5 words
reading time    1.51 s at 238 words a minute
";
        assert_eq!(lines, expected.trim_start());
    }
}
