//! What traced calls cost, beside tonic with its usual tracing:
//!
//! ```sh
//! cargo run --release -p capspan-compare            # a table
//! cargo run --release -p capspan-compare -- 51      # of so many rounds
//! ```
//!
//! The same echo of 64 bytes over a Unix socket, between two threads with an event loop each, in five ways:
//!
//! - tonic, bare
//! - tonic with `tracing`, `tracing-opentelemetry` and the SDK's batch exporter: a client's and a server's span for
//!   each call, whose context travels in the metadata
//! - plain `capnp-rpc`
//! - the same over a guarded connection of capspan's, without a session and without spans
//! - capspan: a session over a guarded connection, with a client's and a server's span for each call, through
//!   `export::Otel`
//!
//! Both exporters throw away what they get. Each way has a process of its own, and all take turns: so whatever else
//! the machine does happens to all. What is told are medians of the rounds.

mod child;
mod grpc;
mod rpc;
mod sink;
mod way;

use std::error::Error;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use way::Way;

/// How long each way calls in a round, about.
const TURN: Duration = Duration::from_millis(150);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => compare(31),
        ["--way", name] => child::run(name.parse()?),
        [rounds] => compare(rounds.parse()?),
        _ => Err("usage: capspan-compare [ROUNDS]".into()),
    }
}

fn compare(rounds: usize) -> Result<(), Box<dyn Error>> {
    println!("| in flight | | bare, µs a call | traced, µs a call | traced/bare |");
    println!("|---|---|---|---|---|");
    for in_flight in [1, 64] {
        let mut ways = Way::ALL
            .map(Turns::start)
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        for way in &mut ways {
            way.calibrate(in_flight)?;
        }
        for round in 0..rounds.max(3) {
            let count = ways.len();
            for turn in 0..count {
                ways[(round + turn) % count].take(in_flight)?;
            }
        }
        for (name, bare, traced) in Way::LINES {
            let [bare, traced] = [bare, traced].map(|way| &ways[way as usize].times);
            let ratios = traced.iter().zip(bare).map(|(traced, bare)| traced / bare);
            let ratio = median(ratios.collect());
            let [bare, traced] = [bare, traced].map(|times| median(times.clone()) / 1e3);
            println!("| {in_flight} | {name} | {bare:.1} | {traced:.1} | {ratio:.2} |");
        }
        for way in ways {
            way.end()?;
        }
    }
    Ok(())
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// One way, in a process of its own, and how long its calls took: nanoseconds each, by round.
struct Turns {
    way: Way,
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    calls: usize,
    times: Vec<f64>,
}

impl Turns {
    fn start(way: Way) -> Result<Self, Box<dyn Error>> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["--way", way.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Self {
            way,
            commands: process.stdin.take().ok_or("no way to it")?,
            answers: BufReader::new(process.stdout.take().ok_or("no way back")?),
            process,
            calls: 0,
            times: Vec::new(),
        })
    }

    fn ask(&mut self, in_flight: usize, calls: usize) -> Result<f64, Box<dyn Error>> {
        writeln!(self.commands, "{in_flight} {calls}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        Ok(answer.trim().parse()?)
    }

    /// Finds out how many calls fill a turn, and warms up.
    fn calibrate(&mut self, in_flight: usize) -> Result<(), Box<dyn Error>> {
        self.ask(in_flight, 2_000)?;
        let each = self.ask(in_flight, 4_000)?;
        self.calls = (TURN.as_nanos() as f64 / each) as usize;
        Ok(())
    }

    fn take(&mut self, in_flight: usize) -> Result<(), Box<dyn Error>> {
        let each = self.ask(in_flight, self.calls)?;
        self.times.push(each);
        Ok(())
    }

    /// Says how many of its spans have arrived, if it has any.
    fn end(mut self) -> Result<(), Box<dyn Error>> {
        drop(self.commands);
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        self.process.wait()?;
        if self.way.is_traced() {
            eprintln!("{}: {}", self.way.name(), answer.trim());
        }
        Ok(())
    }
}
