//! Lines into span records.

use super::lines::{Line, Lines, MAX_LINE};
use super::span::{BadLine, Record, read_line};
use crate::terminal::count;

/// What is told of a line is not to be longer than what tells it.
const MAX_REASON: usize = 200;

/// Reads span records from bytes as they come, and counts what is none.
#[derive(Debug)]
pub struct Reader {
    lines: Lines,
    found: Found,
}

/// What was found up to now.
#[derive(Debug)]
struct Found {
    max_line: usize,
    good: u64,
    bad: u64,
    first_bad: Option<BadLine>,
}

impl Default for Reader {
    fn default() -> Self {
        Self::with_max_line(MAX_LINE)
    }
}

impl Reader {
    /// One that takes lines of at most `max` bytes.
    pub fn with_max_line(max: usize) -> Self {
        Self {
            lines: Lines::new(max),
            found: Found {
                max_line: max,
                good: 0,
                bad: 0,
                first_bad: None,
            },
        }
    }

    /// Gives `each` the records on the lines that end in `bytes`, with what stands there, until it
    /// fails.
    pub fn feed<E>(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&str, Record) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { lines, found } = self;
        lines.feed(bytes, |number, line| found.line(number, line, &mut each))
    }

    /// No more comes: the last line may have no break.
    pub fn finish<E>(
        &mut self,
        mut each: impl FnMut(&str, Record) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { lines, found } = self;
        lines.finish(|number, line| found.line(number, line, &mut each))
    }

    /// How many lines were records.
    pub fn good(&self) -> u64 {
        self.found.good
    }

    /// How many lines were none, empty ones apart.
    pub fn bad(&self) -> u64 {
        self.found.bad
    }

    /// The first of those, and what is wrong with it.
    pub fn first_bad(&self) -> Option<&BadLine> {
        self.found.first_bad.as_ref()
    }
}

impl Found {
    fn line<E>(
        &mut self,
        number: usize,
        line: Line<'_>,
        mut each: impl FnMut(&str, Record) -> Result<(), E>,
    ) -> Result<(), E> {
        let read = match line {
            Line::TooLong => {
                let max = count(self.max_line as u64);
                Err(format!("longer than {max} bytes"))
            }
            Line::Text(bytes) => match std::str::from_utf8(bytes) {
                Err(_) => Err("not UTF-8".into()),
                Ok(text) if text.trim().is_empty() => return Ok(()),
                Ok(text) => read_line(text).map(|record| (text, record)),
            },
        };
        match read {
            Ok((text, record)) => {
                self.good += 1;
                each(text, record)
            }
            Err(reason) => {
                self.bad += 1;
                self.first_bad.get_or_insert_with(|| BadLine {
                    number,
                    reason: cut(reason),
                });
                Ok(())
            }
        }
    }
}

fn cut(reason: String) -> String {
    match reason.char_indices().nth(MAX_REASON) {
        None => reason,
        Some((end, _)) => format!("{}…", &reason[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn read(reader: &mut Reader, bytes: &[u8]) -> usize {
        let mut found = 0;
        let mut each = |_: &str, _| {
            found += 1;
            Ok::<_, Infallible>(())
        };
        let Ok(()) = reader.feed(bytes, &mut each);
        let Ok(()) = reader.finish(&mut each);
        found
    }

    #[test]
    fn bad_lines_are_counted_and_the_first_is_told() {
        let mut reader = Reader::default();
        let text = b"{\"traceId\":\"t\",\"spanId\":\"s\"}\n\n  \n{\"traceId\":\"t\"}\nx\xff\n{\"traceId\":\"t\",\"spanId\":\"r\"}";
        assert_eq!(read(&mut reader, text), 2);
        assert_eq!((reader.good(), reader.bad()), (2, 2));
        let first = reader.first_bad().unwrap().to_string();
        assert_eq!(first, "line 4: no spanId");
    }

    #[test]
    fn what_is_hostile_is_bad_and_nothing_else_happens() {
        let deep = format!(
            "{{\"traceId\":\"t\",\"spanId\":\"s\",\"attributes\":{{\"a\":{}{}}}}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        let unknown = format!(
            "{{\"traceId\":\"t\",\"spanId\":\"s\",\"x\":{}{}}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        for line in [
            &b"\xc3\x28"[..],
            b"NaN",
            b"null",
            b"[]",
            br#"{"traceId":"t","spanId":"s","attributes":{"a":NaN}}"#,
            br#"{"traceId":"t","spanId":"s","attributes":{"a":1e999}}"#,
            br#"{"traceId":"t","spanId":"s","startTimeUnixNano":"99999999999999999999"}"#,
            br#"{"traceId":"t","spanId":"s","startTimeUnixNano":-1}"#,
            br#"{"traceId":"t","spanId":"s","dropped":{"a":-1}}"#,
            br#"{"traceId":"t","traceId":"t","spanId":"s"}"#,
            deep.as_bytes(),
        ] {
            let mut reader = Reader::default();
            assert_eq!(
                read(&mut reader, line),
                0,
                "{}",
                String::from_utf8_lossy(&line[..line.len().min(80)])
            );
            assert_eq!(reader.bad(), 1);
        }
        // What nobody looks at may be as deep as it likes.
        read(&mut Reader::default(), unknown.as_bytes());
    }

    #[test]
    fn a_reason_is_short_whatever_stands_on_the_line() {
        let line = format!(
            r#"{{"traceId":"t","spanId":"s","open":"{}"}}"#,
            "é".repeat(10_000)
        );
        let mut reader = Reader::default();
        read(&mut reader, line.as_bytes());
        let reason = &reader.first_bad().unwrap().reason;
        assert!(reason.chars().count() <= MAX_REASON + 1, "{reason}");
        let mut reader = Reader::with_max_line(5);
        read(&mut reader, b"123456");
        assert_eq!(
            reader.first_bad().unwrap().to_string(),
            "line 1: longer than 5 bytes"
        );
    }
}
