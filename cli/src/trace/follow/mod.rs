//! A file as it grows.

use std::io::{self, Write as _};
use std::path::Path;

use tokio::signal;
use tokio::time::Instant;

use super::interrupt::Unfinished;
use super::work::Work;
use crate::args::TraceArgs;
use crate::failure::Failure;
use crate::terminal::Style;

mod grown;
mod stream;

use self::grown::{Grown, POLL};
use self::stream::Stream;

/// What came of a look at the file.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Nothing, for now.
    Rest,
    /// Nothing, and what comes next is another file, or this one from its beginning.
    Anew,
    /// There will be nothing more.
    End,
}

/// Shows what comes until the user wants no more, or nothing can come.
pub(super) fn run(args: &TraceArgs, style: Style) -> Result<(), Failure> {
    let mut work = Work::new(args, style, &Unfinished::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::told(format!("event loop: {error}")))?;
    let begin = Instant::now();
    let result = runtime.block_on(async {
        tokio::select! {
            biased;
            _ = signal::ctrl_c() => Err(Failure::Interrupted),
            result = follow(&args.file, &mut work, begin) => result,
        }
    });
    match result {
        Ok(()) => work.finish(begin.elapsed()),
        // What is not over yet is shown as well.
        Err(Failure::Interrupted) => work.finish(begin.elapsed()).and(Err(Failure::Interrupted)),
        Err(other) => Err(other),
    }
}

async fn follow(file: &Path, work: &mut Work, begin: Instant) -> Result<(), Failure> {
    let mut source = Source::open(file)?;
    let mut is_behind = true;
    let mut looked = begin.elapsed();
    loop {
        let step = source.next().await?;
        let now = begin.elapsed();
        match step {
            Step::Bytes(bytes) => {
                work.feed(&bytes, now)?;
                // Others may never stop writing.
                if !is_behind && now - looked >= POLL {
                    work.show_over(now)?;
                    looked = now;
                }
            }
            Step::Rest if std::mem::take(&mut is_behind) => work.caught_up()?,
            Step::Rest => {
                work.show_over(now)?;
                looked = now;
            }
            Step::Anew => work.cut_off(now)?,
            Step::End => return Ok(()),
        }
    }
}

enum Source {
    Grown(Grown),
    Stream(Stream),
}

impl Source {
    fn open(file: &Path) -> Result<Self, Failure> {
        if file == Path::new("-") {
            return Ok(Self::Stream(Stream::read(
                "standard input".into(),
                io::stdin(),
            )));
        }
        // A pipe has no length, and is not to be opened a second time.
        match std::fs::metadata(file) {
            Ok(found) if !found.is_file() => {
                let open =
                    std::fs::File::open(file).map_err(|error| super::source::told(file, error))?;
                Ok(Self::Stream(Stream::read(file.display().to_string(), open)))
            }
            found => {
                if found.is_err() {
                    let told = Failure::told(format!("{}: not there yet, waiting", file.display()));
                    // Where the standard error is closed, nobody wants to know.
                    let _ = writeln!(io::stderr(), "capspan: {told}");
                }
                Ok(Self::Grown(Grown::new(file)))
            }
        }
    }

    async fn next(&mut self) -> Result<Step, Failure> {
        match self {
            Self::Grown(grown) => grown.next().await,
            Self::Stream(stream) => stream.next().await,
        }
    }
}
