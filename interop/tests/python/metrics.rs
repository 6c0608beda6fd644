//! The text of the tool's metrics, as the parser of Prometheus' own client for Python reads it.

use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::Duration;

use capspan::export::ExportCounts;
use capspan::session::{CallSpans, SessionBuilder};
use capspan::trace::Tracer;
use capspan_cli::metrics::MetricsText;
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;
use serde_json::{Map, Value, json};
use tokio::task::spawn_local;

/// What a name may have in it that the text has to escape.
const HOSTILE: &str = "a \"name\"\\ of\nmany lines, {x=\"y\"} 1 # ü\u{202e}";

/// What is read of `text`.
fn parsed(text: &str) -> Map<String, Value> {
    let mut command = capspan_interop::python("metrics.py");
    command
        .as_std_mut()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut program = command.as_std_mut().spawn().expect("it can be started");
    let mut stdin = program.stdin.take().expect("it is piped");
    stdin.write_all(text.as_bytes()).expect("it reads all");
    drop(stdin);
    let mut answer = String::new();
    let mut stdout = program.stdout.take().expect("it is piped");
    stdout.read_to_string(&mut answer).expect("it writes UTF-8");
    assert!(program.wait().expect("its status").success(), "{text}");
    let Value::Object(metrics) = serde_json::from_str(&answer).expect("it writes JSON") else {
        panic!("{answer}");
    };
    metrics
}

/// The samples of one metric that are called `name` and have all of `labels`.
fn samples(metrics: &Map<String, Value>, metric: &str, name: &str, labels: &Value) -> Vec<Value> {
    let samples = metrics[metric]["samples"].as_array().expect("a list");
    let wanted = labels.as_object().expect("labels");
    let has_all = |sample: &&Value| {
        let has = |(key, value): (&String, &Value)| sample["labels"].get(key) == Some(value);
        sample["name"] == name && wanted.iter().all(has)
    };
    samples.iter().filter(has_all).cloned().collect()
}

/// The value of the one sample that there is.
fn value(metrics: &Map<String, Value>, metric: &str, name: &str, labels: &Value) -> f64 {
    let samples = samples(metrics, metric, name, labels);
    let [sample] = &samples[..] else {
        panic!("{name} {labels}: {samples:?}");
    };
    sample["value"].as_f64().expect("a number")
}

async fn session(numbers: &MetricsText) {
    let (tasks, driver) = capspan::Tasks::new();
    spawn_local(driver);
    let tracer = Tracer::new(numbers.metrics().observer());
    let names = CallSpans::new().interface::<thing::Client>(HOSTILE, ["number"]);
    let session = SessionBuilder::new(&tasks)
        .parent(tracer.root())
        .call_spans(names);
    let (thing, session) = session.begin("session", World::new().thing());
    for _ in 0..3 {
        thing
            .number_request()
            .send()
            .promise
            .await
            .expect("it answers");
    }
    let text = numbers.text();
    assert!(
        text.contains("capspan_event_active{capspan_side=\"server\"} 1\n"),
        "{text}"
    );
    drop(thing);
    session.ended().await;
}

#[test]
fn prometheus_reads_what_was_counted() {
    let numbers = MetricsText::new(HOSTILE).expect("a meter");
    capspan_interop::run(Duration::from_secs(30), session(&numbers));
    let counts = || ExportCounts::new(7, 4).queued(1).dropped("queue_full", 2);
    numbers.metrics().exporter(HOSTILE, counts);
    let metrics = parsed(&numbers.text());
    let kinds: Vec<_> = metrics
        .iter()
        .map(|(name, metric)| format!("{name} {}", metric["kind"].as_str().expect("a text")))
        .collect();
    assert_eq!(
        kinds,
        [
            "capspan_call_active gauge",
            "capspan_capability_active gauge",
            "capspan_event_active gauge",
            "capspan_event_duration_seconds histogram",
            "capspan_export_dropped counter",
            "capspan_export_emitted counter",
            "capspan_export_exported counter",
            "capspan_export_queued gauge",
            "rpc_server_call_duration_seconds histogram",
            "target_info gauge",
        ]
    );
    assert!(metrics.values().all(|metric| metric["help"] != ""));

    let calls = "rpc_server_call_duration_seconds";
    let labels = json!({
        "rpc_system_name": "capnproto",
        "rpc_method": format!("{HOSTILE}/number"),
        "capspan_outcome": "ok",
    });
    assert_eq!(
        value(&metrics, calls, &format!("{calls}_count"), &labels),
        3.0
    );
    let sum = value(&metrics, calls, &format!("{calls}_sum"), &labels);
    assert!(sum > 0.0 && sum < 30.0, "{sum}");
    let buckets = samples(&metrics, calls, &format!("{calls}_bucket"), &labels);
    let counts = buckets
        .iter()
        .map(|bucket| bucket["value"].as_f64().expect("a number"));
    let counts: Vec<_> = counts.collect();
    assert!(
        counts.is_sorted() && counts.last() == Some(&3.0),
        "{counts:?}"
    );
    assert_eq!(buckets.last().expect("some")["labels"]["le"], "+Inf");

    let exporter = json!({ "capspan_exporter": HOSTILE });
    let of = |name: &str| {
        let metric = format!("capspan_export_{name}");
        value(&metrics, &metric, &format!("{metric}_total"), &exporter)
    };
    assert_eq!(
        [of("emitted"), of("exported"), of("dropped")],
        [7.0, 4.0, 2.0]
    );
    let side = json!({ "capspan_side": "server" });
    assert_eq!(
        value(
            &metrics,
            "capspan_event_active",
            "capspan_event_active",
            &side
        ),
        0.0
    );
    let info = json!({ "service_name": HOSTILE });
    assert_eq!(value(&metrics, "target_info", "target_info", &info), 1.0);
}
