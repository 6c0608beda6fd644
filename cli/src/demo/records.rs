//! The span records of both processes.

use crate::records;
use crate::terminal::Style;
use crate::trace_view;

/// Span records, one a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Records {
    lines: String,
    /// What was no record; it is left out.
    pub(super) bad: Vec<String>,
}

impl Records {
    /// The records of all these processes.
    pub(super) fn of(written: [&str; 2]) -> Self {
        let (mut lines, mut bad) = (String::new(), Vec::new());
        for line in written.iter().flat_map(|text| text.lines()) {
            let (spans, wrong) = records::read(line);
            if !spans.is_empty() {
                lines.push_str(line);
                lines.push('\n');
            }
            bad.extend(wrong.into_iter().map(|wrong| wrong.reason));
        }
        Self { lines, bad }
    }

    /// As JSON lines.
    pub(super) fn as_json(&self) -> &str {
        &self.lines
    }

    /// As a tree for people.
    pub(super) fn as_tree(&self, style: &Style) -> String {
        let (spans, _) = records::read(&self.lines);
        trace_view::render(&spans, style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_off_is_left_out_and_told() {
        let caller = "{\"traceId\":\"t\",\"spanId\":\"a\"}\n";
        let callee = "{\"traceId\":\"t\",\"spanId\":\"b\"}\n{\"traceId\":\"t\",\"sp";
        let records = Records::of([caller, callee]);
        let expected =
            "{\"traceId\":\"t\",\"spanId\":\"a\"}\n{\"traceId\":\"t\",\"spanId\":\"b\"}\n";
        assert_eq!(records.as_json(), expected);
        assert_eq!(records.bad.len(), 1);
    }
}
