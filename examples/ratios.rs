//! How much longer a call takes through a membrane, and an exchange as a session:
//!
//! ```sh
//! cargo run --release --example ratios              # a table
//! cargo run --release --features fast-clock --example ratios    # spans by the faster clock
//! cargo run --release --example ratios -- --json    # one object
//! cargo run --release --example ratios -- --least   # connections: what no membrane can do without
//! cargo run --release --example ratios -- --run in_process/none ours 1000   # for a profiler
//! ```
//!
//! Both ways are run in turn, in batches of about a millisecond, so that whatever else the machine does
//! happens to both, and each row in several processes, as where things come to lie in memory is worth some
//! hundredths of a ratio; what is told is the median of the processes' medians of the batches' ratios.
//! Allocations are counted by the example `allocations`, which this one runs.

use std::error::Error;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use capspan::trace::{NoopObserver, Tracer};
use capspan_testkit::exchange::{Exchange, Loop, Row};
use serde_json::{Value, json};

/// In how many processes each row is measured, and how long in each.
const PROCESSES: usize = 15;
const EACH: Duration = Duration::from_millis(350);
const BATCH: Duration = Duration::from_millis(1);

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] => print_table(&measure_all()?),
        ["--json"] => println!("{}", measure_all()?),
        ["--least"] => print_least()?,
        ["--run", row, way, times] => return run(row, way, times.parse()?),
        ["--measure", row, way] => print_measured(row, way)?,
        _ => {
            return Err(
                "usage: ratios [--json | --least | --run ROW bare|ours|least TIMES]".into(),
            );
        }
    }
    Ok(())
}

fn run(row: &str, way: &str, times: usize) -> Result<(), Box<dyn Error>> {
    let row = row_named(row)?;
    let event_loop = Loop::new();
    let exchange = event_loop.run(async { exchange(row, way) })?;
    Ok(event_loop.run(exchange.run(times))?)
}

/// Where spans are told of.
fn tracer() -> Tracer {
    let tracer = Tracer::new(NoopObserver);
    #[cfg(feature = "fast-clock")]
    let tracer = tracer.with_clock(capspan::trace::FastClock::new());
    tracer
}

/// On a [`Loop`].
fn exchange(row: Row, way: &str) -> Result<Exchange, &'static str> {
    match way {
        "bare" => Ok(Exchange::bare(row)),
        "ours" => Ok(Exchange::ours_by(row, tracer())),
        "least" => Exchange::least(row).ok_or("the least is known for calls over a connection"),
        _ => Err("no such way"),
    }
}

fn row_named(name: &str) -> Result<Row, &'static str> {
    let mut rows = Row::ALL.into_iter();
    rows.find(|row| row.path().join("/") == name)
        .ok_or("no such row")
}

fn measure_all() -> Result<Value, Box<dyn Error>> {
    let mut report = json!({});
    let counted = count_allocations()?;
    for row in Row::ALL {
        let measured = measure_in_processes(row, "ours")?;
        put(&mut report, &[], row, round(measured.ratio, 1000.0));
        let added = round(measured.nanoseconds_added, 1.0);
        put(&mut report, &["nanoseconds_added"], row, added);
        let bare = round(measured.nanoseconds_bare, 1.0);
        put(&mut report, &["nanoseconds_bare"], row, bare);
    }
    for (name, counts) in counted.as_object().into_iter().flatten() {
        report[name] = counts.clone();
    }
    Ok(report)
}

fn count_allocations() -> Result<Value, Box<dyn Error>> {
    let output = Command::new(option_env!("CARGO").unwrap_or("cargo"))
        .args(["run", "--quiet", "--release", "--example", "allocations"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("the example `allocations` failed".into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// In a process of its own: one line of numbers for `measure_in_processes`.
fn print_measured(row: &str, way: &str) -> Result<(), Box<dyn Error>> {
    // The system's allocator gives blocks like this one back to the kernel until it has seen one freed;
    // that costs more than a call with 1 MiB, and hits one way or the other by chance.
    drop(std::hint::black_box(vec![1_u8; 24 << 20]));
    let Measured {
        ratio,
        nanoseconds_bare,
        nanoseconds_added,
    } = measure(row_named(row)?, way)?;
    println!("{}", json!([ratio, nanoseconds_bare, nanoseconds_added]));
    Ok(())
}

fn measure_in_processes(row: Row, way: &str) -> Result<Measured, Box<dyn Error>> {
    let mut measured = Vec::new();
    for _ in 0..PROCESSES {
        let output = Command::new(std::env::current_exe()?)
            .args(["--measure", &row.path().join("/"), way])
            .stderr(Stdio::inherit())
            .output()?;
        measured.push(serde_json::from_slice::<[f64; 3]>(&output.stdout)?);
    }
    let of = |index: usize| median(measured.iter().map(|numbers| numbers[index]).collect());
    Ok(Measured {
        ratio: of(0),
        nanoseconds_bare: of(1),
        nanoseconds_added: of(2),
    })
}

struct Measured {
    ratio: f64,
    nanoseconds_bare: f64,
    nanoseconds_added: f64,
}

fn measure(row: Row, way: &str) -> Result<Measured, Box<dyn Error>> {
    let event_loop = Loop::new();
    let bare = event_loop.run(async { Exchange::bare(row) });
    let ours = event_loop.run(async { exchange(row, way) })?;
    let time = |exchange: &Exchange, times| {
        let began = Instant::now();
        event_loop.run(exchange.run(times))?;
        Ok::<_, capnp::Error>(began.elapsed().as_secs_f64() * 1e9 / times as f64)
    };
    let began = Instant::now();
    let mut times = 1;
    while time(&bare, times)? * (times as f64) < BATCH.as_nanos() as f64 / 1.5 {
        times *= 2;
    }
    time(&ours, times)?;
    let (mut bares, mut ratios, mut added) = (Vec::new(), Vec::new(), Vec::new());
    while began.elapsed() < EACH || ratios.len() < 31 {
        let (bare, ours) = match ratios.len() % 2 {
            0 => (time(&bare, times)?, time(&ours, times)?),
            _ => {
                let ours = time(&ours, times)?;
                (time(&bare, times)?, ours)
            }
        };
        bares.push(bare);
        ratios.push(ours / bare);
        added.push(ours - bare);
    }
    Ok(Measured {
        ratio: median(ratios),
        nanoseconds_bare: median(bares),
        nanoseconds_added: median(added),
    })
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn round(number: f64, parts: f64) -> f64 {
    (number * parts).round() / parts
}

/// Puts `number` where `row` stands in the part of `report` called `part`.
fn put(report: &mut Value, part: &[&str], row: Row, number: f64) {
    let mut place = report;
    for name in part.iter().chain(row.path()) {
        place = &mut place[*name];
    }
    *place = json!(number);
}

fn print_least() -> Result<(), Box<dyn Error>> {
    println!("| | ratio | of the least | time added, ns | by the least |");
    println!("|---|---|---|---|---|");
    for row in Row::ALL {
        if matches!(row.path(), ["connection", "none" | "caps"]) {
            let [ours, least] = ["ours", "least"].map(|way| measure_in_processes(row, way));
            let (ours, least) = (ours?, least?);
            println!(
                "| {} | {:.3} | {:.3} | {:.0} | {:.0} |",
                row.path().join(", "),
                ours.ratio,
                least.ratio,
                ours.nanoseconds_added,
                least.nanoseconds_added,
            );
        }
    }
    Ok(())
}

fn print_table(report: &Value) {
    println!("| | ratio | time without, ns | time added, ns | allocations added |");
    println!("|---|---|---|---|---|");
    for row in Row::ALL {
        let pointer = format!("/{}", row.path().join("/"));
        let number = |part: &str| {
            let number = report.pointer(&format!("{part}{pointer}"));
            number.and_then(Value::as_f64).unwrap_or(f64::NAN)
        };
        println!(
            "| {} | {:.3} | {:.0} | {:.0} | {:.0} |",
            row.path().join(", ").replace('_', " "),
            number(""),
            number("/nanoseconds_bare"),
            number("/nanoseconds_added"),
            number("/allocations_added"),
        );
    }
}
