//! The callee's process: serves its caller, and ends when that is gone.

use std::io::{self, BufRead as _, Read as _};

use capspan::Tasks;
use capspan::guard::Connection;
use capspan::pipeline::Callee;
use capspan::trace::{JsonLines, Tracer};
use tokio::task;

use super::collector::Collector;
use super::service::TextAnalysis;
use super::{block_on, meeting};
use crate::args::CalleeArgs;
use crate::failure::Failure;

/// Connects to the caller at the place that `args` name, with the token that stands on the first
/// line of the standard input, and serves it until the connection is over. Span records go to the
/// standard output, each as soon as its span is closed.
pub fn run(args: CalleeArgs) -> Result<(), Failure> {
    let token = read_token()?;
    // Rust's standard output is flushed at each line break: a callee that is killed leaves all lines
    // that it has written.
    let lines = JsonLines::new(io::stdout());
    let collector = Collector::new(args.otlp.as_deref())?;
    let tracer = collector.tracer(lines.clone()).with_service("callee");
    block_on(async {
        let served = serve(args, token, tracer).await;
        collector.finish().await.and(served)
    })?;
    lines
        .finish()
        .map_err(|error| Failure::told(error.to_string()))
}

fn read_token() -> Result<String, Failure> {
    let mut line = String::new();
    // One byte more than its length: the line break.
    let most = meeting::TOKEN_LENGTH as u64 + 1;
    io::stdin()
        .lock()
        .take(most)
        .read_line(&mut line)
        .map_err(|error| Failure::told(format!("token: {error}")))?;
    Ok(line.trim_end().to_owned())
}

async fn serve(args: CalleeArgs, token: String, tracer: Tracer) -> Result<(), Failure> {
    let stream = meeting::connect(&args.place, &token).await?;
    let (tasks, driver) = Tasks::new();
    task::spawn_local(driver);
    let callee = Callee::new(TextAnalysis::new(args.title), &tasks).tracer(tracer);
    let (reader, writer) = meeting::halves(stream);
    let (_connection, driver) =
        Connection::serve(reader, writer, |ending| callee.bootstrap(ending));
    // However it ends: the caller was told, or is no more.
    let _ended = driver.await;
    Ok(())
}
