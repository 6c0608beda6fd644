//! Where on a line everything stands.

use std::collections::HashSet;

use super::bar;
use super::details::{self, Names};
use super::forest::{Row, Trace};
use crate::records::{End, Span};
use crate::terminal::ink::{self, Ink};
use crate::terminal::{Line, MAX_WIDTH, Style, duration};

const GAP: usize = 2;
const BAR: std::ops::RangeInclusive<usize> = 8..=60;
/// A label narrower than this says nothing: rather give up the bar, then the second column.
const LABEL: usize = 24;

/// How many levels of a tree are drawn on lines of `width`: half of it.
pub(super) fn levels(width: usize) -> usize {
    width / 6
}

/// Writes `trace` at the end of `out`.
pub(super) fn render(trace: &Trace<'_>, names: &Names<'_>, style: &Style, out: &mut String) {
    for line in heading(trace, style.width()) {
        line.write(style.colour(), out);
    }
    let rows: Vec<_> = trace.rows.iter().map(Cells::of).collect();
    let columns = Columns::fit(&rows, style.width());
    for (row, cells) in trace.rows.iter().zip(rows) {
        for line in columns.lines(cells, row, trace) {
            line.write(style.colour(), out);
        }
        let room = style.width().saturating_sub(trunk(row).width());
        for detail in details::lines(row, names, room) {
            let mut line = trunk(row);
            line.append(detail).write(style.colour(), out);
        }
    }
}

/// On one line where it fits, else on two.
fn heading(trace: &Trace<'_>, width: usize) -> Vec<Line> {
    let services: HashSet<_> = trace.rows.iter().map(|row| &row.span.service).collect();
    let mut facts = Line::default();
    let text = format!(
        "{} · {} · {}",
        number(trace.rows.len(), "span"),
        number(services.len(), "service"),
        duration(trace.end.saturating_sub(trace.start)),
    );
    facts.push(ink::FAINT, &text);
    let mut line = Line::default();
    line.push(ink::FAINT, "trace ").push(ink::STRONG, trace.id);
    if line.width() + GAP + facts.width() <= width {
        line.push(ink::PLAIN, "  ").append(facts);
        return vec![line];
    }
    line.cut(width);
    facts.cut(width);
    vec![line, facts]
}

fn number(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn trunk(row: &Row<'_>) -> Line {
    let mut line = Line::default();
    line.push(ink::FAINT, &row.trunk);
    line
}

/// What is shown of one span on its own line, apart from the bar.
struct Cells {
    label: Line,
    time: String,
    outcome: Line,
}

impl Cells {
    fn of(row: &Row<'_>) -> Self {
        let span = row.span;
        let mut label = Line::default();
        label.push(ink::FAINT, &row.branch);
        for (ink, word) in [(ink::KIND, &span.kind), (ink::SERVICE, &span.service)] {
            if !word.is_empty() {
                label.push(ink, word).push(ink::PLAIN, " ");
            }
        }
        if span.name.is_empty() {
            label.push(ink::FAINT, "(no name)");
        } else {
            label.push(ink::STRONG, &span.name);
        }
        // No column is wider; a name may be, by far.
        label.cut(MAX_WIDTH);
        let mut outcome = Line::default();
        outcome.push(ink_of(span), span.outcome()).cut(16);
        Self {
            label,
            time: span.duration().map_or_else(|| "–".into(), duration),
            outcome,
        }
    }
}

fn ink_of(span: &Span) -> Ink {
    match span.end() {
        End::Good => ink::GOOD,
        End::Stopped | End::Open => ink::STOPPED,
        End::Bad => ink::BAD,
    }
}

/// How wide the columns of a trace are: label, bar, time, outcome.
struct Columns {
    width: usize,
    label: usize,
    bar: usize,
    time: usize,
    /// Time and outcome on a line of their own.
    stacked: bool,
}

impl Columns {
    fn fit(rows: &[Cells], width: usize) -> Self {
        let widest = |of: fn(&Cells) -> usize| rows.iter().map(of).max().unwrap_or(0);
        let wanted = widest(|cells| cells.label.width());
        let time = widest(|cells| cells.time.chars().count());
        let outcome = widest(|cells| cells.outcome.width());
        let room = width.saturating_sub(time + outcome + 2 * GAP);
        let least_bar = BAR.start() + GAP;

        let stacked = room < LABEL.min(wanted);
        let (label, bar) = if stacked {
            (width, 0)
        } else if room < LABEL.min(wanted) + least_bar {
            (room.min(wanted), 0)
        } else {
            // A third for the bar, and what the labels leave over.
            let label = wanted.min(room - least_bar.max(room / 3));
            (label, (room - label - GAP).min(*BAR.end()))
        };
        Self {
            width,
            label,
            bar,
            time,
            stacked,
        }
    }

    fn lines(&self, cells: Cells, row: &Row<'_>, trace: &Trace<'_>) -> Vec<Line> {
        let Cells {
            mut label,
            time,
            outcome,
        } = cells;
        label.cut(self.label);
        if self.stacked {
            let mut below = trunk(row);
            below
                .push(ink::PLAIN, &time)
                .push(ink::PLAIN, " ")
                .append(outcome);
            below.cut(self.width);
            return vec![label, below];
        }
        label.pad(self.label + GAP);
        if self.bar > 0 {
            label
                .push(ink_of(row.span), &self.draw(row.span, trace))
                .pad(self.label + self.bar + 2 * GAP);
        }
        // Right-aligned by hand: `{:>}` counts characters, and so does the column's width.
        label
            .push(ink::PLAIN, &format!("{time:>width$}  ", width = self.time))
            .append(outcome);
        vec![label]
    }

    fn draw(&self, span: &Span, trace: &Trace<'_>) -> String {
        let Some(start) = span.start_time_unix_nano else {
            return String::new();
        };
        let after = |time: u64| time.saturating_sub(trace.start);
        let end = span.end_time_unix_nano.filter(|_| !span.open).map(after);
        bar::draw(after(start), end, after(trace.end), self.bar)
    }
}
