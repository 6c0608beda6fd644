//! Span records as a tree, for people.
//!
//! [`render`] prints a tree for each trace in what any number of processes wrote: kind, service, name, a
//! bar for time, duration, outcome, and below each span what is written on it, with a mark on what the
//! callee has written there.

mod bar;
mod details;
mod forest;
mod layout;

pub use details::shown;
pub use forest::{Row, Stray, Trace, traces};

use crate::records::Span;
use crate::terminal::Style;

/// All traces of `spans`, the one that began first on top, as text that ends with a line break (or
/// is empty). No line is wider than the style allows, and nothing of the spans, which may come from
/// peers that nobody trusts, reaches the terminal as a command.
pub fn render(spans: &[Span], style: &Style) -> String {
    let names = details::Names::of(spans);
    let mut out = String::new();
    for trace in forest::traces(spans, layout::levels(style.width())) {
        if !out.is_empty() {
            out.push('\n');
        }
        layout::render(&trace, &names, style, &mut out);
    }
    out
}
