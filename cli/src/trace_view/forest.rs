//! Which span hangs below which.

use std::collections::HashMap;

use crate::records::Span;

/// One trace: its spans in the order in which they are printed.
#[derive(Debug)]
pub struct Trace<'a> {
    /// Its id.
    pub id: &'a str,
    /// The spans.
    pub rows: Vec<Row<'a>>,
    /// When the first span began.
    pub start: u64,
    /// When the last thing happened that is known of.
    pub end: u64,
}

/// One span and its place in the tree.
#[derive(Debug)]
pub struct Row<'a> {
    /// The span.
    pub span: &'a Span,
    /// How many spans it is below.
    pub depth: usize,
    /// What is drawn before the span itself.
    pub branch: String,
    /// What is drawn before the lines below the span.
    pub trunk: String,
    /// Why the span is not below its parent.
    pub stray: Option<Stray<'a>>,
}

/// Why a span with a parent stands at the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stray<'a> {
    /// The parent is not among the spans.
    Missing(&'a str),
    /// The span is an ancestor of itself, which nobody but a liar writes.
    Circle,
}

/// The traces of `spans`, by the time of their beginning. Below `levels` levels the tree is not
/// drawn any deeper.
pub fn traces(spans: &[Span], levels: usize) -> Vec<Trace<'_>> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut parts: Vec<Vec<&Span>> = Vec::new();
    for span in spans {
        let place = *places.entry(&span.trace_id).or_insert(parts.len());
        if place == parts.len() {
            parts.push(Vec::new());
        }
        parts[place].push(span);
    }
    let mut traces: Vec<_> = parts.into_iter().map(|part| trace(part, levels)).collect();
    traces.sort_by_key(|trace| trace.start);
    traces
}

/// `part` is all spans of one trace, at least one.
fn trace(mut part: Vec<&Span>, levels: usize) -> Trace<'_> {
    part.sort_by_key(|span| span.start_time_unix_nano.unwrap_or(u64::MAX));
    let times = part.iter().flat_map(|span| {
        let events = span.events.iter().map(|event| event.time_unix_nano);
        [span.start_time_unix_nano, span.end_time_unix_nano]
            .into_iter()
            .chain(events)
            .flatten()
    });
    let starts = part.iter().filter_map(|span| span.start_time_unix_nano);
    Trace {
        id: part.first().map_or("", |span| &span.trace_id),
        start: starts.min().unwrap_or(0),
        end: times.max().unwrap_or(0),
        rows: Walk::new(&part, levels).rows(),
    }
}

/// A walk over the tree without recursion: a peer may send a tree of any depth.
struct Walk<'a, 's> {
    part: &'s [&'a Span],
    children: Vec<Vec<usize>>,
    strays: Vec<Option<Stray<'a>>>,
    seen: Vec<bool>,
    levels: usize,
    rows: Vec<Row<'a>>,
}

impl<'a, 's> Walk<'a, 's> {
    fn new(part: &'s [&'a Span], levels: usize) -> Self {
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (index, span) in part.iter().enumerate() {
            places.entry(&span.span_id).or_insert(index);
        }
        let mut children = vec![Vec::new(); part.len()];
        let mut strays = vec![None; part.len()];
        for (index, span) in part.iter().enumerate() {
            let Some(parent) = span.parent() else {
                continue;
            };
            match places.get(parent) {
                Some(place) => {
                    children[*place].push(index);
                    // It holds as long as no walk from a root comes by.
                    strays[index] = Some(Stray::Circle);
                }
                None => strays[index] = Some(Stray::Missing(parent)),
            }
        }
        Self {
            part,
            children,
            strays,
            seen: vec![false; part.len()],
            levels,
            rows: Vec::with_capacity(part.len()),
        }
    }

    fn rows(mut self) -> Vec<Row<'a>> {
        for index in 0..self.part.len() {
            if self.strays[index] != Some(Stray::Circle) {
                self.descend(index);
            }
        }
        for index in 0..self.part.len() {
            if !self.seen[index] {
                self.descend(index);
            }
        }
        self.rows
    }

    fn descend(&mut self, root: usize) {
        // For each level down to the current span: will there be another one on it?
        let mut more = Vec::new();
        let mut todo = vec![(root, 0, false)];
        self.seen[root] = true;
        while let Some((index, depth, another)) = todo.pop() {
            more.truncate(depth);
            more.push(another);
            let mut below: Vec<usize> = Vec::new();
            for child in std::mem::take(&mut self.children[index]) {
                if !std::mem::replace(&mut self.seen[child], true) {
                    below.push(child);
                }
            }
            self.rows.push(Row {
                span: self.part[index],
                depth,
                branch: branch(&more, self.levels),
                trunk: trunk(&more, self.levels, !below.is_empty()),
                stray: self.strays[index].filter(|_| depth == 0),
            });
            let children = below.iter().rev().enumerate();
            todo.extend(children.map(|(rank, child)| (*child, depth + 1, rank > 0)));
        }
    }
}

fn branch(more: &[bool], levels: usize) -> String {
    let mut out = String::new();
    // A root has no branch.
    let Some((last, upper)) = more.get(1..).and_then(<[bool]>::split_last) else {
        return out;
    };
    push_levels(upper, levels.saturating_sub(1), &mut out);
    out.push_str(if *last { "├─ " } else { "└─ " });
    out
}

fn trunk(more: &[bool], levels: usize, children: bool) -> String {
    let mut out = String::new();
    push_levels(more.get(1..).unwrap_or_default(), levels, &mut out);
    out.push_str(if children { "│  " } else { "   " });
    out
}

/// Draws the innermost `levels` levels.
fn push_levels(more: &[bool], levels: usize, out: &mut String) {
    let hidden = more.len().saturating_sub(levels);
    if hidden > 0 {
        out.push_str("… ");
    }
    for more in &more[hidden..] {
        out.push_str(if *more { "│  " } else { "   " });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: &str, parent: &str, start: u64) -> Span {
        Span {
            trace_id: "t".into(),
            span_id: id.into(),
            parent_span_id: Some(parent.into()),
            start_time_unix_nano: Some(start),
            ..Span::default()
        }
    }

    fn drawn(spans: &[Span], levels: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for trace in traces(spans, levels) {
            for row in trace.rows {
                let stray = match row.stray {
                    None => String::new(),
                    Some(stray) => format!(" {stray:?}"),
                };
                lines.push(format!("{}{}{stray}", row.branch, row.span.span_id));
            }
        }
        lines
    }

    #[test]
    fn children_stand_below_their_parent_by_time() {
        let spans = [
            span("late", "root", 9),
            span("early", "root", 2),
            span("leaf", "early", 3),
            span("root", "", 1),
            span("last", "late", 10),
        ];
        assert_eq!(
            drawn(&spans, 9),
            ["root", "├─ early", "│  └─ leaf", "└─ late", "   └─ last"]
        );
    }

    #[test]
    fn strays_stand_at_the_root() {
        let spans = [
            span("root", "", 5),
            span("orphan", "gone", 1),
            span("a", "b", 2),
            span("b", "a", 3),
            span("own", "own", 4),
        ];
        assert_eq!(
            drawn(&spans, 9),
            [
                "orphan Missing(\"gone\")",
                "root",
                "a Circle",
                "└─ b",
                "own Circle"
            ]
        );
    }

    #[test]
    fn a_span_that_is_there_twice_is_shown_twice() {
        let spans = [span("a", "", 1), span("a", "", 2), span("b", "a", 3)];
        assert_eq!(drawn(&spans, 9), ["a", "└─ b", "a"]);
    }

    #[test]
    fn deep_trees_are_drawn_to_a_level_only() {
        let chain: Vec<_> = (0..20_000)
            .map(|i| {
                span(
                    &format!("s{i}"),
                    &if i == 0 {
                        String::new()
                    } else {
                        format!("s{}", i - 1)
                    },
                    i,
                )
            })
            .collect();
        let lines = drawn(&chain, 3);
        assert_eq!(lines.len(), 20_000);
        assert_eq!(lines[3], "      └─ s3");
        assert_eq!(lines[4], "…       └─ s4");
        assert_eq!(lines[19_999], "…       └─ s19999");
    }

    #[test]
    fn traces_come_by_the_time_of_their_beginning() {
        let mut other = span("x", "", 0);
        other.trace_id = "u".into();
        let spans = [span("a", "", 7), other];
        let found: Vec<_> = traces(&spans, 9).iter().map(|trace| trace.id).collect();
        assert_eq!(found, ["u", "t"]);
    }
}
