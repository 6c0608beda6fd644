//! `capspan demo --otlp`: the spans of both its processes.

use std::env;

use capspan_interop::{Collector, Printed, PrintedPart};
use serde_json::Value;
use tokio::process::Command;

use crate::{assert_same, printed, run, to};

#[test]
fn both_processes_export_what_they_print() {
    run(async {
        let mut collector = Collector::start(None);
        let program = env::var_os("CAPSPAN_TOOL").expect("CAPSPAN_TOOL names it: run .ci/interop");
        let mut demo = Command::new(program);
        demo.args(["demo", "--json", "--otlp", &collector.url()]);
        let output = demo.output().await.expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        let otel = to(&collector);
        let printed = printed(&mut collector, &otel).await;
        let lines = String::from_utf8(output.stdout).expect("JSON lines");
        let spans = lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("a span"));
        let wanted: Vec<_> = spans.map(|span: Value| wanted(&span)).collect();
        for service in ["caller", "callee"] {
            assert!(wanted.iter().any(|span| span.service == service));
        }
        assert_same(wanted, printed);
    });
}

/// What is to be printed of a span that is told of as JSON.
fn wanted(span: &Value) -> Printed {
    let text = |key: &str| span[key].as_str().unwrap_or_default().to_owned();
    let mut printed = Printed {
        service: text("service"),
        trace_id: text("traceId"),
        span_id: text("spanId"),
        parent: text("parentSpanId"),
        name: text("name"),
        kind: format!("SPAN_KIND_{}", text("kind")),
        start: text("startTimeUnixNano"),
        end: text("endTimeUnixNano"),
        status: format!(
            "STATUS_CODE_{}",
            span["status"]["code"].as_str().unwrap_or("UNSET")
        ),
        message: span["status"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        ..Printed::default()
    };
    let mut say = |key: &str, value: &Value| {
        printed
            .attributes
            .insert(key.to_owned(), value_printed(value));
    };
    for (key, value) in span["attributes"].as_object().into_iter().flatten() {
        say(key, value);
    }
    for (key, member) in [
        ("capspan.outcome", "outcome"),
        ("capspan.original_name", "originalName"),
        ("capspan.named_by_callee", "nameByCallee"),
        ("capspan.set_by_callee", "setByCallee"),
    ] {
        if span
            .get(member)
            .is_some_and(|value| *value != Value::Array(Vec::new()))
        {
            say(key, &span[member]);
        }
    }
    for event in span["events"].as_array().into_iter().flatten() {
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let mut part = PrintedPart {
            fields: vec![text("name"), text("timeUnixNano")],
            ..PrintedPart::default()
        };
        for (key, value) in event["attributes"].as_object().into_iter().flatten() {
            part.attributes.insert(key.clone(), value_printed(value));
        }
        if event["byCallee"] == true {
            part.attributes
                .insert("capspan.by_callee".to_owned(), "Bool(true)".to_owned());
        }
        printed.events.push(part);
    }
    assert_eq!(span["links"], Value::Array(Vec::new()));
    printed
}

fn value_printed(value: &Value) -> String {
    match value {
        Value::String(text) => format!("Str({text})"),
        Value::Bool(is) => format!("Bool({is})"),
        Value::Number(number) if number.is_f64() => format!("Double({number})"),
        Value::Number(number) => format!("Int({number})"),
        Value::Array(list) => {
            let elements: Vec<_> = list.iter().map(value_printed).collect();
            format!("Slice({})", elements.join(", "))
        }
        other => panic!("{other}"),
    }
}
