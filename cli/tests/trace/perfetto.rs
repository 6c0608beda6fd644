//! Chrome's trace JSON.

use std::collections::HashMap;

use serde_json::Value;

use super::{good, records};

/// The events, after what the format wants of them was checked.
pub(crate) fn events(text: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(text).unwrap();
    assert_eq!(file["displayTimeUnit"], "ns");
    let events = file["traceEvents"].as_array().unwrap().clone();
    let mut slices: HashMap<(u64, u64), Vec<(f64, f64)>> = HashMap::new();
    let mut named = Vec::new();
    for event in &events {
        let track = (
            event["pid"].as_u64().unwrap(),
            event["tid"].as_u64().unwrap(),
        );
        match event["ph"].as_str().unwrap() {
            "M" => {
                named.push((event["name"].clone(), track));
                assert!(event["args"]["name"].is_string());
                continue;
            }
            "X" => {
                let (start, took) = (
                    event["ts"].as_f64().unwrap(),
                    event["dur"].as_f64().unwrap(),
                );
                slices.entry(track).or_default().push((start, start + took));
            }
            "B" => {
                let start = event["ts"].as_f64().unwrap();
                slices
                    .entry(track)
                    .or_default()
                    .push((start, f64::INFINITY));
            }
            "i" => assert_eq!(event["s"], "t"),
            "s" => assert!(event["id"].is_u64()),
            "f" => assert_eq!(event["bp"], "e"),
            other => panic!("{other}"),
        }
        assert!(event["name"].is_string() && event["ts"].is_f64(), "{event}");
        assert!(named.contains(&("thread_name".into(), track)), "{event}");
    }
    for (track, slices) in slices {
        for (index, a) in slices.iter().enumerate() {
            for b in &slices[..index] {
                let apart = a.1 <= b.0 || b.1 <= a.0;
                let nested = (a.0 <= b.0 && b.1 <= a.1) || (b.0 <= a.0 && a.1 <= b.1);
                assert!(apart || nested, "{track:?}: {a:?} {b:?}");
            }
        }
    }
    events
}

fn named<'a>(events: &'a [Value], phase: &str, name: &str) -> Vec<&'a Value> {
    events
        .iter()
        .filter(|event| event["ph"] == phase && event["name"] == name)
        .collect()
}

#[test]
fn services_are_processes_spans_slices_and_events_instants() {
    let events = events(&good(&["--perfetto", "-", "--name", "README"], &records()));
    let of_process = |pid: u64| {
        let names = named(&events, "M", "process_name");
        names.into_iter().find(|event| event["pid"] == pid).unwrap()["args"]["name"].clone()
    };
    let [analysis] = named(&events, "X", "analysis of README.md")[..] else {
        panic!("one slice")
    };
    assert_eq!(of_process(analysis["pid"].as_u64().unwrap()), "caller");
    assert_eq!(
        (&analysis["cat"], analysis["dur"].as_f64()),
        (&"client".into(), Some(11_350.0))
    );
    let args = &analysis["args"];
    assert_eq!(args["attributes"]["analysis.tokens"], 1788);
    assert_eq!(
        (&args["outcome"], &args["originalName"]),
        (&"ok".into(), &"session".into())
    );
    let [first] = named(&events, "i", "first result")[..] else {
        panic!("one instant")
    };
    let offset = first["ts"].as_f64().unwrap() - analysis["ts"].as_f64().unwrap();
    assert_eq!((offset, &first["tid"]), (3_210.0, &analysis["tid"]));
    assert_eq!(first["args"]["byCallee"], true);
}

#[test]
fn arrows_lead_to_other_services_and_to_what_links() {
    let events = events(&good(&["--perfetto", "-"], &records()));
    let (from, to) = (named(&events, "s", "call"), named(&events, "f", "call"));
    assert_eq!((from.len(), to.len()), (3, 3));
    for (from, to) in from.iter().zip(&to) {
        assert_eq!(from["id"], to["id"]);
        assert_ne!(from["pid"], to["pid"]);
        assert!(from["ts"].as_f64() <= to["ts"].as_f64());
    }
    assert_eq!(named(&events, "f", "link").len(), 1);
}

#[test]
fn what_is_open_has_no_end() {
    let events = events(&good(&["--perfetto", "-"], &records()));
    let [open] = named(&events, "B", "session")[..] else {
        panic!("one slice")
    };
    assert_eq!(open["args"]["outcome"], "open");
}

#[test]
fn nothing_is_a_file_as_well() {
    assert_eq!(events(&good(&["--perfetto", "-"], "")), Vec::<Value>::new());
}
