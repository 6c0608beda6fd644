//! A file as it is, or the standard input, to its end.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use super::interrupt::Unfinished;
use super::progress::bytes;
use super::work::Work;
use crate::args::TraceArgs;
use crate::failure::Failure;
use crate::terminal::{Style, count};

/// So much is read at a time.
pub(super) const CHUNK: usize = 256 << 10;

/// Shows all that is there.
pub(super) fn run(args: &TraceArgs, style: Style, unfinished: &Unfinished) -> Result<(), Failure> {
    let (mut input, length): (Box<dyn Read>, _) = if args.file == Path::new("-") {
        (Box::new(io::stdin()), None)
    } else {
        let file = File::open(&args.file).map_err(|error| told(&args.file, error))?;
        let found = file.metadata().map_err(|error| told(&args.file, error))?;
        (Box::new(file), found.is_file().then_some(found.len()))
    };
    for out in [&args.html, &args.perfetto].into_iter().flatten() {
        is_another(&args.file, out)?;
    }
    let mut work = Work::new(args, style, unfinished)?;
    let mut chunk = vec![0; CHUNK];
    let mut done = 0;
    loop {
        let read = match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(told(&args.file, error)),
        };
        work.feed(&chunk[..read], Duration::ZERO)?;
        done += read as u64;
        let records = work.records();
        work.progress.tell(|| match length {
            Some(length) => format!(
                "{} of {} read, {} spans",
                bytes(done),
                bytes(length),
                count(records)
            ),
            None => format!("{} read, {} spans", bytes(done), count(records)),
        });
    }
    work.finish(Duration::ZERO)
}

/// A file that is read must not be written meanwhile.
fn is_another(file: &Path, out: &Path) -> Result<(), Failure> {
    match (fs::canonicalize(file), fs::canonicalize(out)) {
        (Ok(read), Ok(written)) if read == written && read.is_file() => {
            Err(Failure::told(format!("{} is what is read", out.display())))
        }
        _ => Ok(()),
    }
}

pub(super) fn told(path: &Path, error: io::Error) -> Failure {
    Failure::told(format!("{}: {error}", path.display()))
}
