//! The caller's process: the demo as the user meets it.

use std::path::Path;
use std::time::Duration;

use capspan::Tasks;
use capspan::guard::Connection;
use capspan::pipeline::Pipeline;
use capspan::trace::{JsonLines, SpanKind, Tracer};
use tokio::signal;
use tokio::task;
use tokio::time::sleep;

use super::block_on;
use super::child::Child;
use super::collector::Collector;
use super::meeting::{self, Door, Stream};
use super::records::Records;
use super::screen::Screen;
use super::session::Caller;
use crate::args::{CalleeArgs, DemoArgs, End};
use crate::failure::Failure;
use crate::input::{self, Input};
use crate::place::{self, Place, Socket};
use crate::terminal::{Style, count};

/// How long the callee may take to be there.
const TIME_TO_CONNECT: Duration = Duration::from_secs(10);

/// Runs the demo. The trace is printed also when the session did not end as it should.
pub fn run(args: &DemoArgs, style: Style) -> Result<(), Failure> {
    let input = input::read(args.input.as_deref(), Path::new("."))?;
    let (socket, place) = place::listen(args)?;
    block_on(async {
        tokio::select! {
            biased;
            _ = signal::ctrl_c() => Err(Failure::Interrupted),
            result = demo(args, style, input, socket, place) => result,
        }
    })
}

async fn demo(
    args: &DemoArgs,
    style: Style,
    input: Input,
    socket: Socket,
    place: Place,
) -> Result<(), Failure> {
    let mut screen = Screen::new(args.json, style);
    let callee_args = CalleeArgs {
        place: place.for_callee(),
        title: input.title.clone(),
        otlp: args.otlp.clone(),
    };
    let collector = Collector::new(args.otlp.as_deref())?;
    let (stream, mut callee) = meet(socket, &callee_args).await?;
    // Nobody else is to come.
    drop(place);
    screen.headline(&headline(&input, args))?;

    let lines = JsonLines::new(Vec::new());
    let tracer = collector.tracer(lines.clone()).with_service("caller");
    let result = call(
        &tracer,
        stream,
        input.text,
        args.end,
        &mut callee,
        &mut screen,
    )
    .await;
    if result == Err(Failure::OutputClosed) {
        return result;
    }
    let exported = collector.finish().await;
    let (written, ended) = callee.finish().await;
    let records = Records::of([&own_records(&lines)?, &written]);
    screen.trace(&records, args.end == End::Kill)?;
    exported.and(ended).and(result)?;
    match records.bad.first() {
        Some(bad) if args.end != End::Kill => {
            Err(Failure::told(format!("not a span record: {bad}")))
        }
        _ => Ok(()),
    }
}

/// Starts the callee and waits until it is there.
async fn meet(socket: Socket, args: &CalleeArgs) -> Result<(Stream, Child), Failure> {
    let not_met = |error| Failure::told(format!("waiting for the callee: {error}"));
    let door = Door::new(socket).map_err(not_met)?;
    let token = meeting::new_token().map_err(not_met)?;
    let mut callee = Child::start(args, &token).await?;
    let stream = tokio::select! {
        stream = door.accept(&token) => stream.map_err(not_met)?,
        failure = callee.ended_early() => return Err(failure),
        () = sleep(TIME_TO_CONNECT) => {
            let seconds = TIME_TO_CONNECT.as_secs();
            return Err(Failure::told(format!("the callee did not connect within {seconds} s")));
        }
    };
    Ok((stream, callee))
}

/// One root span, one connection, one session.
async fn call(
    tracer: &Tracer,
    stream: Stream,
    text: String,
    end: End,
    callee: &mut Child,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let root = tracer.root().start("capspan demo", SpanKind::Internal);
    let (tasks, driver) = Tasks::new();
    task::spawn_local(driver);
    let (reader, writer) = meeting::halves(stream);
    let (connection, driver) = Connection::connect(reader, writer);
    let driver = task::spawn_local(driver);
    let caller = Caller {
        pipeline: &Pipeline::over(&connection, &tasks),
        root: &root,
        callee,
        screen,
        end,
    };
    let result = caller.analyse(text).await;
    root.end();
    // Without its driver the connection is over, and the callee ends by itself.
    driver.abort();
    let _over = driver.await;
    result
}

fn own_records(lines: &JsonLines<Vec<u8>>) -> Result<String, Failure> {
    lines
        .finish()
        .map_err(|error| Failure::told(error.to_string()))?;
    let text = lines.with_writer(|bytes| String::from_utf8_lossy(bytes).into_owned());
    Ok(text.unwrap_or_default())
}

fn headline(input: &Input, args: &DemoArgs) -> String {
    let bytes = count(input.text.len() as u64);
    let over = if args.tcp.is_some() {
        "loopback TCP"
    } else {
        "a Unix socket"
    };
    format!(
        "{} ({bytes} bytes), analyzed by a second process over {over}",
        input.title
    )
}
