//! Traces to wherever they are to be shown.

use std::io::{self, Write as _};
use std::path::Path;

use super::html::Page;
use super::interrupt::Unfinished;
use super::out_file::OutFile;
use super::perfetto::Perfetto;
use super::summary::Summary;
use crate::args::TraceArgs;
use crate::failure::Failure;
use crate::records::Span;
use crate::terminal::Style;
use crate::trace_view::render;

/// All that is made of the traces.
pub(super) struct Show {
    style: Style,
    /// Are they shown as trees?
    trees: bool,
    page: Option<Page>,
    perfetto: Option<Perfetto>,
    summary: Summary,
    /// Is the standard output the page or the trace itself, so that nothing else may be on it?
    is_taken: bool,
}

impl Show {
    pub(super) fn new(
        args: &TraceArgs,
        style: Style,
        unfinished: &Unfinished,
    ) -> Result<Self, Failure> {
        let outs = [&args.html, &args.perfetto];
        let is_taken = outs
            .iter()
            .filter(|out| out.as_deref() == Some(Path::new("-")))
            .count();
        if is_taken > 1 {
            return Err(Failure::told(
                "--html and --perfetto can't both be the standard output (see 'capspan trace --help')",
            ));
        }
        let title = match args.file.file_name() {
            Some(name) if name != "-" => name.to_string_lossy().into_owned(),
            _ => "standard input".into(),
        };
        let create = |path| OutFile::create(path, unfinished);
        let page = args.html.as_deref().map(create).transpose()?;
        let perfetto = args.perfetto.as_deref().map(create).transpose()?;
        Ok(Self {
            style,
            trees: !args.stats && args.html.is_none() && args.perfetto.is_none(),
            page: page.map(|out| Page::begin(out, &title)).transpose()?,
            perfetto: perfetto.map(Perfetto::begin).transpose()?,
            summary: Summary::new(args.stats),
            is_taken: is_taken > 0,
        })
    }

    /// Are traces shown where the user may look on?
    pub(super) fn is_on_stdout(&self) -> bool {
        self.trees || self.is_taken
    }

    /// One trace: all of its spans that are here.
    pub(super) fn trace(&mut self, spans: &[Span]) -> Result<(), Failure> {
        self.summary.add(spans);
        if self.trees {
            print(&format!("{}\n", render(spans, &self.style)))?;
        }
        if let Some(page) = &mut self.page {
            page.trace(spans)?;
        }
        if let Some(perfetto) = &mut self.perfetto {
            perfetto.trace(spans)?;
        }
        Ok(())
    }

    /// There are no more. Gives what could not be shown in some way, to be told.
    pub(super) fn finish(self) -> Result<Vec<String>, Failure> {
        let mut remarks = Vec::new();
        let (text, summary) = (self.summary.text(), self.summary.lines(&self.style));
        if let Some(page) = self.page {
            page.finish(&text)?;
        }
        if let Some(perfetto) = self.perfetto {
            remarks.extend(perfetto.finish()?);
        }
        if self.is_taken {
            return Ok(remarks);
        }
        let mut out = String::new();
        if self.summary.has_table() {
            out = self.summary.table(&self.style);
            out.push('\n');
        }
        out += &summary;
        print(&out)?;
        Ok(remarks)
    }
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(Failure::output)
}
