//! A page that shows traces by itself: no script, nothing from any other place, and nothing of the spans
//! is anything but text. What opens and closes are `details` elements, which browsers let people work by
//! keyboard, and bars are SVG, whose attributes are numbers, so that the policy can forbid all styles but
//! the one on top.

mod span;
mod text;

use std::fmt::Write as _;

use self::text::{cut, html};
use super::out_file::OutFile;
use crate::failure::Failure;
use crate::records::Span;
use crate::terminal::duration;
use crate::trace_view::{Trace, traces};

const STYLE: &str = include_str!("page.css");
/// What `STYLE` is by SHA-256, as the policy names it.
const STYLE_HASH: &str = "IqOeo3wZN1++BMxjB4IZU9z5lFVXCuy2QOxBQQeT4vA=";
/// So many traces are open from the start.
const OPEN: usize = 10;
/// Below this level spans stand side by side: browsers build no deeper trees.
const LEVELS: usize = 40;

/// A page in the making.
pub(super) struct Page {
    out: OutFile,
    traces: usize,
}

impl Page {
    pub(super) fn begin(mut out: OutFile, title: &str) -> Result<Self, Failure> {
        let title = html(&cut(title));
        let head = format!(
            r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'sha256-{STYLE_HASH}'; base-uri 'none'; form-action 'none'"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="color-scheme" content="light dark"/>
<meta name="referrer" content="no-referrer"/>
<title>Traces of {title}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>Traces of <bdi>{title}</bdi></h1>
<p><span class="callee">◂ callee</span> marks what the callee has written on its caller's span. Each line opens and closes: by a click, or by Tab and Enter.</p>
</header>
<main>
"#
        );
        out.write(&head)?;
        Ok(Self { out, traces: 0 })
    }

    /// Writes one trace.
    pub(super) fn trace(&mut self, spans: &[Span]) -> Result<(), Failure> {
        for trace in traces(spans, 0) {
            self.traces += 1;
            let mut out = String::new();
            heading(&trace, self.traces <= OPEN, &mut out);
            self.out.write(&out)?;
            // The levels of the elements that are open.
            let mut open: Vec<usize> = Vec::new();
            for row in &trace.rows {
                let level = row.depth.min(LEVELS);
                out.clear();
                while open.last().is_some_and(|last| *last >= level) {
                    open.pop();
                    out.push_str("</details>\n");
                }
                open.push(level);
                span::write(row, &trace, &mut out);
                self.out.write(&out)?;
            }
            for _ in open {
                self.out.write("</details>\n")?;
            }
            self.out.write("</details>\n")?;
        }
        Ok(())
    }

    /// There are no more; `summary` says what there was.
    pub(super) fn finish(mut self, summary: &str) -> Result<(), Failure> {
        let summary = html(summary);
        let version = env!("CARGO_PKG_VERSION");
        let foot = format!(
            "</main>\n<footer><p>{summary}</p><p>Written by capspan {version}</p></footer>\n</body>\n</html>\n"
        );
        self.out.write(&foot)?;
        self.out.finish()
    }
}

fn heading(trace: &Trace<'_>, is_open: bool, out: &mut String) {
    let spans = trace.rows.len();
    let plural = if spans == 1 { "" } else { "s" };
    let open = if is_open { r#" open="""# } else { "" };
    let name = trace.rows.first().map_or("", |row| &row.span.name);
    let worst = trace
        .rows
        .iter()
        .map(|row| row.span)
        .find(|span| span::class(span) == "bad");
    let failed = match worst {
        Some(span) => format!(
            r#" <span class="outcome bad">{}</span>"#,
            html(&cut(span::outcome(span)))
        ),
        None => String::new(),
    };
    // Writing to a string can't fail.
    let _ = writeln!(
        out,
        r#"<details class="trace"{open}><summary><h2><bdi>{}</bdi></h2> <code>{}</code> <span class="facts">{spans} span{plural} · {}</span>{failed}</summary>"#,
        html(&cut(name)),
        html(&cut(trace.id)),
        duration(trace.end.saturating_sub(trace.start)),
    );
}
