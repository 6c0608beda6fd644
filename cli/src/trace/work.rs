//! What becomes of the records, whichever way they come.

use std::io::{self, Write as _};
use std::time::Duration;

use super::filter::Filter;
use super::interrupt::Unfinished;
use super::pass::Pass;
use super::progress::Progress;
use super::show::Show;
use super::store::{Room, Store};
use crate::args::TraceArgs;
use crate::failure::Failure;
use crate::records::{Reader, Record, Span};
use crate::terminal::{Style, count};

/// The most memory that spans may take until they are shown, about: 512 MiB.
const MAX_BYTES: usize = 512 << 20;

/// How long after a root other spans of its trace may come: those of other processes.
const GRACE: Duration = Duration::from_millis(200);

/// Records in, traces or lines out.
pub(super) struct Work {
    title: String,
    max_spans: usize,
    last: Option<usize>,
    quiet: Duration,
    reader: Reader,
    taker: Taker,
    pub(super) progress: Progress,
}

/// What takes the records.
struct Taker {
    filter: Filter,
    way: Way,
    /// Do traces that give way for others get lost, as they are not among the last?
    only_last: bool,
    lost: u64,
}

enum Way {
    Lines(Pass),
    Traces(Store, Box<Show>),
}

impl Work {
    /// `unfinished` gets to know of the files that are written.
    pub(super) fn new(
        args: &TraceArgs,
        style: Style,
        unfinished: &Unfinished,
    ) -> Result<Self, Failure> {
        let way = if args.json {
            Way::Lines(Pass::to_stdout())
        } else {
            let room = Room {
                spans: args.max_spans,
                bytes: MAX_BYTES,
            };
            Way::Traces(
                Store::new(room),
                Box::new(Show::new(args, style, unfinished)?),
            )
        };
        let title = if args.file.as_os_str() == "-" {
            "standard input".into()
        } else {
            args.file.display().to_string()
        };
        Ok(Self {
            title,
            max_spans: args.max_spans,
            last: args.last,
            quiet: args.quiet,
            reader: Reader::default(),
            taker: Taker {
                filter: Filter::new(&args.filter),
                way,
                only_last: args.last.is_some(),
                lost: 0,
            },
            progress: Progress::new(),
        })
    }

    /// Bytes that came at `now`.
    pub(super) fn feed(&mut self, bytes: &[u8], now: Duration) -> Result<(), Failure> {
        let Self {
            reader,
            taker,
            progress,
            ..
        } = self;
        reader.feed(bytes, |line, record| {
            taker.take(line, record, now, progress)
        })
    }

    /// How many records there were up to now.
    pub(super) fn records(&self) -> u64 {
        self.reader.good()
    }

    /// The rest of a line will not come, as its file is another one now.
    pub(super) fn cut_off(&mut self, now: Duration) -> Result<(), Failure> {
        let Self {
            reader,
            taker,
            progress,
            ..
        } = self;
        reader.finish(|line, record| taker.take(line, record, now, progress))
    }

    /// All that was there when it began to be followed was read: shows what is over of that, or the last.
    pub(super) fn caught_up(&mut self) -> Result<(), Failure> {
        self.taker.only_last = false;
        match &mut self.taker.way {
            Way::Lines(pass) => pass.flush(),
            Way::Traces(store, show) => {
                if let Some(last) = self.last {
                    store.keep_last(last);
                }
                show_all(show, &store.rooted(), &mut self.progress)
            }
        }
    }

    /// Shows what is over at `now`.
    pub(super) fn show_over(&mut self, now: Duration) -> Result<(), Failure> {
        match &mut self.taker.way {
            Way::Lines(pass) => pass.flush(),
            Way::Traces(store, show) => {
                let over = store.over(now, GRACE.min(self.quiet), self.quiet);
                show_all(show, &over, &mut self.progress)
            }
        }
    }

    /// There is no more.
    pub(super) fn finish(mut self, now: Duration) -> Result<(), Failure> {
        self.cut_off(now)?;
        let (good, bad) = (self.reader.good(), self.reader.bad());
        if let (0, Some(first)) = (good, self.reader.first_bad()) {
            self.progress.clear();
            return Err(Failure::told(format!(
                "{}: none of {} is a span record: {first}",
                self.title,
                number(bad, "line")
            )));
        }
        let mut remarks = Vec::new();
        if let Some(first) = self.reader.first_bad() {
            remarks.push(format!(
                "{} of {} {} no span record{}; the first is {first}",
                count(bad),
                number(good + bad, "line"),
                if bad == 1 { "is" } else { "are" },
                if bad == 1 { "" } else { "s" },
            ));
        }
        match self.taker.way {
            Way::Lines(mut pass) => pass.flush()?,
            Way::Traces(mut store, mut show) => {
                // What came after the last was known is all to be shown.
                if let Some(last) = self.last.filter(|_| self.taker.only_last) {
                    store.keep_last(last);
                }
                let rest = store.rest();
                show_all(&mut show, &rest, &mut self.progress)?;
                remarks.extend(narrow(&store, self.max_spans, self.taker.lost));
                remarks.extend(show.finish()?);
            }
        }
        self.progress.clear();
        for remark in remarks {
            let told = Failure::told(format!("{}: {remark}", self.title));
            // Where the standard error is closed, nobody wants to know.
            let _ = writeln!(io::stderr(), "capspan: {told}");
        }
        Ok(())
    }
}

impl Taker {
    fn take(
        &mut self,
        line: &str,
        record: Record,
        now: Duration,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let is_wanted = self.filter.wants(&record);
        match &mut self.way {
            Way::Lines(_) if !is_wanted => Ok(()),
            Way::Lines(pass) => {
                progress.clear();
                pass.line(line)
            }
            Way::Traces(store, show) => {
                let gone = store.add(record, is_wanted, now);
                if self.only_last {
                    self.lost += gone.len() as u64;
                    return Ok(());
                }
                for spans in gone {
                    if show.is_on_stdout() {
                        progress.clear();
                    }
                    show.trace(&spans)?;
                }
                Ok(())
            }
        }
    }
}

fn show_all(show: &mut Show, traces: &[Vec<Span>], progress: &mut Progress) -> Result<(), Failure> {
    for (index, spans) in traces.iter().enumerate() {
        if show.is_on_stdout() {
            progress.clear();
        } else {
            progress.tell(|| format!("writing: {index} of {} traces", traces.len()));
        }
        show.trace(spans)?;
    }
    Ok(())
}

/// What there was no room for.
fn narrow(store: &Store, max_spans: usize, lost: u64) -> Vec<String> {
    let room = format!(
        "there is room for {} at a time (--max-spans), of about {} MiB",
        number(max_spans as u64, "span"),
        MAX_BYTES >> 20
    );
    let mut remarks = Vec::new();
    if lost > 0 {
        let lost = number(lost, "trace");
        remarks.push(format!(
            "{lost} gave way before it was known which are the last: {room}"
        ));
    } else if store.gave_way > 0 {
        let early = number(store.gave_way, "trace");
        remarks.push(format!(
            "{early} shown before their turn, and what came of them later stands apart: {room}"
        ));
    }
    if store.left_out > 0 {
        let left_out = number(store.left_out, "span");
        remarks.push(format!(
            "{left_out} left out, of traces that are too large: {room}"
        ));
    }
    remarks
}

fn number(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", count(number))
}
