//! The options of `capspan trace`.

use std::path::PathBuf;
use std::time::Duration;

use capspan::trace::Outcome;
use clap::Args;
use clap::builder::PossibleValuesParser;

const EXAMPLES: &str = "\
A span is wanted when all filters hold for it; a trace is shown, as a whole, when a span of it
is wanted. Traces come in the order in which they began.

Lines that are no span records are skipped, and told at the end with the number of the first. A
line may have 4 MiB. At most --max-spans spans are kept at a time, of about 512 MiB: beyond that
traces to which nothing was added for the longest time are shown before the others.

Examples:
  capspan trace spans.jsonl                        everything, as trees
  capspan trace spans.jsonl --failed --last 5      the last five traces in which something failed
  capspan trace spans.jsonl --id 4bf92f            one trace, or the trace of one span
  capspan trace spans.jsonl --name query --min-duration 50ms
  capspan trace spans.jsonl --follow               each trace when it is over, while the file grows
  capspan trace spans.jsonl --stats                percentiles by the name of the root
  capspan trace spans.jsonl --html spans.html      a page that needs nothing else
  capspan trace spans.jsonl --perfetto spans.json  for https://ui.perfetto.dev
  capspan demo --json | capspan trace -

Exit status: 0 when it is done, also if nothing was wanted; 2 when it can't be done, with one line
that says why; 130 after Ctrl-C, which is how --follow ends.";

/// The options of `trace`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(after_help = EXAMPLES)]
pub struct TraceArgs {
    /// Span records, one JSON object a line; - for the standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Only the last N traces
    #[arg(long, value_name = "N", value_parser = at_least_one, conflicts_with = "json")]
    pub last: Option<usize>,

    /// Go on as the file grows, is rotated or truncated, and show each trace when its root has closed
    #[arg(
        short,
        long,
        conflicts_with_all = ["stats", "html", "perfetto"]
    )]
    pub follow: bool,

    /// Show a trace whose root has not closed when nothing of it came for so long
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = time, requires = "follow")]
    pub quiet: Duration,

    /// Numbers in place of trees: how long traces took, by the name of their root
    #[arg(long, conflicts_with = "json")]
    pub stats: bool,

    /// The lines of the spans that are wanted, as they are, in place of trees
    #[arg(long, conflicts_with_all = ["html", "perfetto"])]
    pub json: bool,

    /// Write a self-contained HTML page in place of trees; - for the standard output
    #[arg(long, value_name = "OUT")]
    pub html: Option<PathBuf>,

    /// Write Chrome trace JSON, which Perfetto shows, in place of trees; - for the standard output
    #[arg(long, value_name = "OUT")]
    pub perfetto: Option<PathBuf>,

    /// How many spans to keep at a time
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = at_least_one)]
    pub max_spans: usize,

    /// What spans are wanted.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// What spans are wanted: those for which all of this holds.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Filters")]
pub struct FilterArgs {
    /// The id of its trace, or its own, begins with this
    #[arg(long, value_name = "PREFIX")]
    pub id: Option<String>,

    /// This is a part of its name, or of its former name, in capitals or not
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,

    /// It ended like this; may be given several times
    #[arg(long, value_name = "OUTCOME", value_parser = outcomes())]
    pub outcome: Vec<String>,

    /// It is this service's; may be given several times
    #[arg(long, value_name = "NAME")]
    pub service: Vec<String>,

    /// It took at least so long: 250us, 10ms, 1.5s, 2m, 1h
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub min_duration: Option<Duration>,

    /// It took at most so long
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub max_duration: Option<Duration>,

    /// It has failed: neither ok nor canceled nor revoked, or with an error
    #[arg(long)]
    pub failed: bool,
}

fn outcomes() -> PossibleValuesParser {
    PossibleValuesParser::new(
        Outcome::ALL
            .map(Outcome::as_str)
            .into_iter()
            .chain(["open"]),
    )
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("not a number from 1 on".into()),
        Ok(number) => Ok(number),
    }
}

/// A time with its unit.
fn time(text: &str) -> Result<Duration, String> {
    let wrong = || "not a time with its unit, as 10ms and 1.5s are".to_owned();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * unit).map_err(|_| "too long".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Command;
    use crate::args::tests::{command, failure};

    fn trace(words: &[&str]) -> TraceArgs {
        match command(&[&["trace"], words].concat()) {
            Command::Trace(args) => args,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    #[test]
    fn a_file_is_enough() {
        let plain = TraceArgs {
            file: "-".into(),
            filter: FilterArgs::default(),
            last: None,
            follow: false,
            quiet: Duration::from_secs(2),
            stats: false,
            json: false,
            html: None,
            perfetto: None,
            max_spans: 200_000,
        };
        assert_eq!(trace(&["-"]), plain);
        assert!(failure(&["trace"]).contains("<FILE>"));
    }

    #[test]
    fn filters_are_taken() {
        let words = [
            "f",
            "--id",
            "4B",
            "--name=get",
            "--outcome",
            "ok",
            "--outcome",
            "open",
            "--service",
            "a",
            "--service",
            "b",
            "--min-duration",
            "1.5ms",
            "--max-duration=2m",
            "--failed",
        ];
        let wanted = FilterArgs {
            id: Some("4B".into()),
            name: Some("get".into()),
            outcome: vec!["ok".into(), "open".into()],
            service: vec!["a".into(), "b".into()],
            min_duration: Some(Duration::from_micros(1_500)),
            max_duration: Some(Duration::from_secs(120)),
            failed: true,
        };
        assert_eq!(trace(&words).filter, wanted);
    }

    #[test]
    fn times_have_a_unit() {
        let cases = [
            ("7ns", Duration::from_nanos(7)),
            ("250us", Duration::from_micros(250)),
            ("250µs", Duration::from_micros(250)),
            ("0s", Duration::ZERO),
            (".5s", Duration::from_millis(500)),
            ("2min", Duration::from_secs(120)),
            ("1h", Duration::from_secs(3600)),
        ];
        for (text, wanted) in cases {
            assert_eq!(time(text), Ok(wanted), "{text}");
        }
        for wrong in [
            "",
            "5",
            "ms",
            "-1s",
            "1.2.3s",
            "1 s",
            "NaNs",
            "infs",
            "1d",
            "99999999999999999999h",
        ] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for words in [
            &["--follow", "--stats"][..],
            &["--follow", "--html", "x"],
            &["--follow", "--perfetto", "x"],
            &["--json", "--html", "x"],
            &["--json", "--perfetto", "x"],
            &["--json", "--stats"],
            &["--json", "--last", "3"],
            &["--quiet", "1s"],
            &["--last", "0"],
            &["--max-spans", "0"],
            &["--outcome", "fine"],
        ] {
            let told = failure(&[&["trace", "f"], words].concat());
            assert!(told.ends_with("(see 'capspan trace --help')"), "{told}");
        }
    }
}
