//! What the user sees while the demo goes on, and at its end.

use std::io::{self, Write as _};

use super::records::Records;
use crate::analysis::AnalysisResult;
use crate::failure::Failure;
use crate::report::Report;
use crate::terminal::{Line, Style, ink};

const MARKED: &str = "◂ callee: written on the caller's span by the callee, from its own process";
const CUT_OFF: &str =
    "the callee was killed before it wrote its session span: what was below that stands apart";

/// The standard output.
pub(super) struct Screen {
    /// None when the user wants records and nothing else.
    report: Option<Report>,
    style: Style,
}

impl Screen {
    /// `json`: span records as JSON lines, and nothing else.
    pub(super) fn new(json: bool, style: Style) -> Self {
        Self {
            report: (!json).then(|| Report::new(style)),
            style,
        }
    }

    /// Says what this is about.
    pub(super) fn headline(&self, text: &str) -> Result<(), Failure> {
        let mut line = Line::default();
        line.push(ink::STRONG, text);
        self.lines([line, Line::default()])
    }

    /// Results that have come.
    pub(super) fn results(&mut self, results: &[AnalysisResult]) -> Result<(), Failure> {
        match &mut self.report {
            Some(report) => write(&report.render(results)),
            None => Ok(()),
        }
    }

    /// What became of a call that was made after something happened that makes it fail.
    pub(super) fn after<T>(
        &self,
        what: &str,
        call: Result<T, capspan::Error>,
    ) -> Result<(), Failure> {
        let (verb, answer) = match &call {
            Ok(_) => ("is answered", ""),
            Err(error) => ("fails", error.reason()),
        };
        let mut happened = Line::default();
        happened.push(ink::STOPPED, &format!("✂ {what}")).push(
            ink::PLAIN,
            &format!(", and the next call on the cursor {verb}:"),
        );
        let mut answered = Line::default();
        answered.push(ink::PLAIN, "  ").push(ink::PLAIN, answer);
        self.lines([Line::default(), happened, answered])
    }

    /// The trace, with remarks below it. `is_cut_off`: the callee was killed before it had written
    /// all.
    pub(super) fn trace(&self, records: &Records, is_cut_off: bool) -> Result<(), Failure> {
        if self.report.is_none() {
            return write(records.as_json());
        }
        let tree = records.as_tree(&self.style);
        let remarks = [(tree.contains("◂ callee"), MARKED), (is_cut_off, CUT_OFF)];
        write(&format!("\n{tree}\n"))?;
        self.lines(
            remarks
                .into_iter()
                .filter(|(holds, _)| *holds)
                .map(|(_, remark)| {
                    let mut line = Line::default();
                    line.push(ink::FAINT, remark);
                    line
                }),
        )
    }

    fn lines(&self, lines: impl IntoIterator<Item = Line>) -> Result<(), Failure> {
        if self.report.is_none() {
            return Ok(());
        }
        let mut out = String::new();
        for mut line in lines {
            line.cut(self.style.width())
                .write(self.style.colour(), &mut out);
        }
        write(&out)
    }
}

fn write(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(Failure::output)
}
