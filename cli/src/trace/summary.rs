//! What was shown, in numbers.

use std::collections::BTreeMap;

use crate::records::{End, Span};
use crate::terminal::{Line, Style, count, duration, ink};

/// A file may have as many outcomes as it has spans; so many are told apart.
const OUTCOMES: usize = 16;
/// So many names of roots are told apart.
const NAMES: usize = 1_000;
/// Of a name so much.
const NAME: usize = 200;
/// Of so many traces it is kept how long they took: 32 MB.
const DURATIONS: usize = 4_000_000;
const BETWEEN: &str = " · ";
const OTHERS: &str = "(others)";

/// Numbers of the traces that were shown.
#[derive(Debug, Default)]
pub(super) struct Summary {
    traces: u64,
    spans: u64,
    outcomes: BTreeMap<String, u64>,
    /// By the name of the root.
    roots: Option<BTreeMap<String, Root>>,
    durations: usize,
}

/// The traces with a root of one name.
#[derive(Debug, Default)]
struct Root {
    traces: u64,
    failed: u64,
    durations: Vec<u64>,
}

impl Summary {
    /// `stats`: also by the name of the root.
    pub(super) fn new(stats: bool) -> Self {
        Self {
            roots: stats.then(BTreeMap::new),
            ..Self::default()
        }
    }

    /// Counts one trace.
    pub(super) fn add(&mut self, spans: &[Span]) {
        self.traces += 1;
        self.spans += spans.len() as u64;
        for span in spans {
            let outcome = match span.outcome() {
                "" => "no outcome",
                outcome => outcome,
            };
            *entry(&mut self.outcomes, outcome, OUTCOMES) += 1;
        }
        if let (Some(roots), Some(span)) = (&mut self.roots, root(spans)) {
            let root = entry(roots, &span.name, NAMES);
            root.traces += 1;
            root.failed += u64::from(span.end() == End::Bad);
            if let Some(time) = span.duration().filter(|_| self.durations < DURATIONS) {
                root.durations.push(time);
                self.durations += 1;
            }
        }
    }

    pub(super) fn has_table(&self) -> bool {
        self.roots.is_some()
    }

    /// One line, however long.
    pub(super) fn text(&self) -> String {
        self.parts().join(BETWEEN)
    }

    /// As many lines as it takes.
    pub(super) fn lines(&self, style: &Style) -> String {
        let faint = |text: &str| {
            let mut line = Line::default();
            line.push(ink::FAINT, text).cut(style.width());
            line
        };
        let mut out = String::new();
        let mut line = Line::default();
        for part in self.parts() {
            let mut longer = line.clone();
            longer.append(faint(BETWEEN)).append(faint(&part));
            if line.width() == 0 {
                line = faint(&part);
            } else if longer.width() <= style.width() {
                line = longer;
            } else {
                line.write(style.colour(), &mut out);
                line = faint(&part);
            }
        }
        line.write(style.colour(), &mut out);
        out
    }

    fn parts(&self) -> Vec<String> {
        let number = |number, what: &str| {
            let plural = if number == 1 { "" } else { "s" };
            format!("{} {what}{plural}", count(number))
        };
        let mut parts = vec![number(self.traces, "trace"), number(self.spans, "span")];
        let mut outcomes: Vec<_> = self.outcomes.iter().collect();
        outcomes.sort_by_key(|(name, number)| (u64::MAX - **number, *name));
        parts.extend(
            outcomes
                .iter()
                .map(|(name, number)| format!("{} {name}", count(**number))),
        );
        parts
    }

    /// The numbers by the name of the root, as a table.
    pub(super) fn table(self, style: &Style) -> String {
        let mut rows = vec![["traces", "failed", "p50", "p90", "max", "root"].map(String::from)];
        let mut roots: Vec<_> = self.roots.into_iter().flatten().collect();
        roots.sort_by(|(name, root), (other_name, other)| {
            (other.traces, name).cmp(&(root.traces, other_name))
        });
        for (name, mut root) in roots {
            root.durations.sort_unstable();
            let at =
                |part: f64| percentile(&root.durations, part).map_or_else(|| "–".into(), duration);
            let name = if name.is_empty() {
                "(no name)".into()
            } else {
                name
            };
            let [traces, failed] = [root.traces, root.failed].map(count);
            rows.push([traces, failed, at(0.5), at(0.9), at(1.0), name]);
        }
        let mut out = String::new();
        let widths: Vec<usize> = (0..5)
            .map(|column| {
                rows.iter()
                    .map(|row| row[column].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        for (index, row) in rows.iter().enumerate() {
            let ink = if index == 0 { ink::FAINT } else { ink::PLAIN };
            let mut line = Line::default();
            for (cell, width) in row.iter().zip(&widths) {
                line.push(ink, &format!("{cell:>width$}  "));
            }
            line.push(if index == 0 { ink::FAINT } else { ink::STRONG }, &row[5])
                .cut(style.width())
                .write(style.colour(), &mut out);
        }
        out
    }
}

/// The first of its roots, or, where no root is here, what began first.
fn root(spans: &[Span]) -> Option<&Span> {
    let start = |span: &&Span| span.start_time_unix_nano.unwrap_or(u64::MAX);
    let roots = spans.iter().filter(|span| span.parent().is_none());
    roots
        .min_by_key(start)
        .or_else(|| spans.iter().min_by_key(start))
}

/// The smallest that `part` of all are no greater than.
fn percentile(sorted: &[u64], part: f64) -> Option<u64> {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// The entry of `name`; of all others, when there are too many.
fn entry<'a, T: Default>(map: &'a mut BTreeMap<String, T>, name: &str, most: usize) -> &'a mut T {
    let name = match name.char_indices().nth(NAME) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    };
    let is_known = map.len() < most || map.contains_key(&name);
    let name = if is_known { name } else { OTHERS.to_owned() };
    map.entry(name).or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(name: &str, parent: &str, outcome: &str, took: Option<u64>) -> Span {
        Span {
            name: name.into(),
            parent_span_id: Some(parent.into()),
            outcome: Some(outcome.into()),
            start_time_unix_nano: Some(5),
            end_time_unix_nano: took.map(|took| 5 + took),
            open: took.is_none(),
            ..Span::default()
        }
    }

    #[test]
    fn all_is_counted_by_outcome() {
        let mut summary = Summary::new(false);
        summary.add(&[span("a", "", "ok", Some(1)), span("b", "x", "ok", Some(1))]);
        summary.add(&[span("c", "x", "timeout", Some(1)), span("d", "", "", None)]);
        summary.add(&[span("e", "", "", Some(0))]);
        assert_eq!(
            summary.text(),
            "3 traces · 5 spans · 2 ok · 1 no outcome · 1 open · 1 timeout"
        );
    }

    #[test]
    fn what_is_too_wide_goes_on_below() {
        let mut summary = Summary::new(false);
        summary.add(&[
            span("a", "", "ok", Some(1)),
            span("b", "x", "timeout", Some(1)),
        ]);
        let lines = summary.lines(&Style::new(20, false));
        assert_eq!(lines, "1 trace · 2 spans\n1 ok · 1 timeout\n");
    }

    #[test]
    fn roots_have_percentiles() {
        let mut summary = Summary::new(true);
        for took in (1..=10).rev() {
            let outcome = if took == 3 { "exception" } else { "ok" };
            summary.add(&[
                span("child", "r", "ok", Some(7)),
                span("get", "", outcome, Some(took * 1_000)),
            ]);
        }
        summary.add(&[span("rare\n", "gone", "ok", None)]);
        let table = summary.table(&Style::new(60, false));
        assert_eq!(
            table,
            "traces  failed      p50      p90      max  root\n    \
                 10       1  5.00 µs  9.00 µs  10.0 µs  get\n     \
                  1       0        –        –        –  rare\\n\n"
        );
    }

    #[test]
    fn names_and_outcomes_without_end_take_no_memory_without_end() {
        let mut summary = Summary::new(true);
        for index in 0..3_000 {
            let text = format!("{index}{}", "x".repeat(1_000));
            summary.add(&[span(&text, "", &text, Some(1))]);
        }
        let roots = summary.roots.as_ref().unwrap();
        assert_eq!(
            (roots.len(), summary.outcomes.len()),
            (NAMES + 1, OUTCOMES + 1)
        );
        assert_eq!(roots[OTHERS].traces, 2_000);
        assert!(roots.keys().all(|name| name.chars().count() <= NAME + 1));
    }
}
