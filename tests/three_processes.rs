//! A session from a session, over three processes: one trace, told in three places.
//!
//! The test is the first process. It starts this program twice more, as the second and the third, which it
//! tells so by a variable; their standard input is the socket to the process before.
#![cfg(all(unix, feature = "json"))]

use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use capnp::capability::{Client, FromClientHook};
use capspan::Tasks;
use capspan::guard::Connection;
use capspan::pipeline::{Callee, EventContext, Pipeline, Service};
use capspan::session::CallSpans;
use capspan::trace::{InSpan, JsonLines, SpanKind, Tracer};
use capspan_testkit::testkit_capnp::thing;
use serde_json::Value;
use tokio::task::{LocalSet, spawn_local};
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};

/// Says which process this is.
const ROLE: &str = "CAPSPAN_TEST_ROLE";

fn calls() -> CallSpans {
    CallSpans::new().interface::<thing::Client>("Thing", ["number"])
}

fn tracer(service: &str) -> (Tracer, JsonLines<Vec<u8>>) {
    let lines = JsonLines::new(Vec::new());
    (Tracer::new(lines.clone()).with_service(service), lines)
}

fn written(lines: &JsonLines<Vec<u8>>) -> String {
    lines.finish().unwrap();
    let written = lines.with_writer(|bytes| String::from_utf8(bytes.clone()).unwrap());
    written.unwrap()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, work)
}

type Half<T> = tokio_util::compat::Compat<T>;

fn halves(
    socket: UnixStream,
) -> (
    Half<tokio::net::unix::OwnedReadHalf>,
    Half<tokio::net::unix::OwnedWriteHalf>,
) {
    socket.set_nonblocking(true).unwrap();
    let socket = tokio::net::UnixStream::from_std(socket).unwrap();
    let (reader, writer) = socket.into_split();
    (reader.compat(), writer.compat_write())
}

/// Starts the process of a role, and connects to it.
fn next(role: &str, tasks: &Tasks) -> (Pipeline, Child) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "is_another_process", "--nocapture"])
        .env(ROLE, role)
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (reader, writer) = halves(ours);
    let (connection, driver) = Connection::connect(reader, writer);
    spawn_local(driver);
    let pipeline = Pipeline::over(&connection, tasks).call_spans(calls());
    (pipeline, child)
}

/// What a process whose work is done has written: records of spans, among the words of the test harness.
fn records(mut child: Child) -> String {
    let stdout = child.stdout.take().unwrap();
    let lines = BufReader::new(stdout).lines().map(Result::unwrap);
    let records: Vec<_> = lines.filter(|line| line.starts_with('{')).collect();
    assert!(child.wait().unwrap().success());
    records.join("\n") + "\n"
}

/// Gives each session an object that asks the next process, if there is one.
struct Relay {
    next: Option<Pipeline>,
}

struct Object(Rc<Relay>);

impl Service for Relay {
    async fn open_session(self: Rc<Self>, _: EventContext) -> Result<Client, capnp::Error> {
        let object: thing::Client = capnp_rpc::new_client(Object(self));
        Ok(Client::new(object.into_client_hook()))
    }
}

impl thing::Server for Object {
    async fn number(
        self: Rc<Self>,
        _params: thing::NumberParams,
        mut results: thing::NumberResults,
    ) -> Result<(), capnp::Error> {
        let number = match &self.0.next {
            Some(next) => number(next, "onwards").await + 1,
            None => 1,
        };
        results.get().set_number(number);
        Ok(())
    }
}

/// Opens a session in the span that is current, and asks once.
async fn number(pipeline: &Pipeline, name: &str) -> u32 {
    let session = pipeline.open_session::<thing::Client>(name);
    let (thing, handle) = session.into_parts();
    let response = thing.number_request().send().promise.await.unwrap();
    let number = response.get().unwrap().get_number();
    drop((response, thing));
    handle.done().await.unwrap();
    number
}

/// Does nothing, unless it is the second or the third process.
#[test]
fn is_another_process() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let (tracer, lines) = tracer(&role);
    // Its connection ends with the event loop: so it is waited for afterwards.
    let third = run(async {
        let (tasks, driver) = Tasks::new();
        spawn_local(driver);
        let (next, child) = match role.as_str() {
            "second" => {
                let (pipeline, child) = next("third", &tasks);
                (Some(pipeline), Some(child))
            }
            _ => (None, None),
        };
        let callee = Callee::new(Relay { next }, &tasks);
        let callee = callee.tracer(tracer).call_spans(calls());
        let stdin = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
        let (reader, writer) = halves(UnixStream::from(stdin));
        let (_, driver) = Connection::serve(reader, writer, |ending| callee.bootstrap(ending));
        driver.await.unwrap();
        child
    });
    print!("\n{}", written(&lines));
    if let Some(third) = third {
        print!("{}", records(third));
    }
}

#[test]
fn s3_a_session_from_a_session_over_three_processes() {
    let (tracer, lines) = tracer("first");
    let second = run(async {
        let (tasks, driver) = Tasks::new();
        spawn_local(driver);
        let (pipeline, child) = next("second", &tasks);
        let request = tracer.root().start("request", SpanKind::Internal);
        let asked = number(&pipeline, "open").in_span(request.parent()).await;
        assert_eq!(asked, 2);
        request.end();
        child
    });
    let all = written(&lines) + &records(second);
    let spans: Vec<Value> = all
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let tree = "\
request INTERNAL first
  open CLIENT first ok
    Thing/number CLIENT first ok
    session SERVER second ok
      Thing/number SERVER second ok
        onwards CLIENT second ok
          Thing/number CLIENT second ok
          session SERVER third ok
            Thing/number SERVER third ok
";
    assert_eq!(drawn(&spans, &Value::Null, 0), tree);
    assert_eq!(spans.len(), tree.lines().count(), "each closed once: {all}");
    for span in &spans {
        assert_eq!(span["traceId"], spans[0]["traceId"]);
    }
}

/// The children of a span, with theirs, in the order in which they began.
fn drawn(spans: &[Value], parent: &Value, depth: usize) -> String {
    let text = |span: &Value, key: &str| span[key].as_str().unwrap_or_default().to_owned();
    let mut children: Vec<_> = spans
        .iter()
        .filter(|span| span["parentSpanId"] == *parent)
        .collect();
    // Of two that begin in different processes at the same moment, the caller's is first.
    children.sort_by_key(|span| (text(span, "kind"), text(span, "startTimeUnixNano")));
    let mut tree = String::new();
    for span in children {
        let words = ["name", "kind", "service", "outcome"].map(|key| text(span, key));
        let line = format!("{:indent$}{}", "", words.join(" "), indent = 2 * depth);
        tree += line.trim_end();
        tree += "\n";
        tree += &drawn(spans, &span["spanId"], depth + 1);
    }
    tree
}
