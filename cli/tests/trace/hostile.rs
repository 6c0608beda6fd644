//! Records that somebody wrote to do harm: in no way of showing them do they do any.

use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr as _;

use super::{good, markup, perfetto, place};

/// Names that want to be something else.
const NAMES: [&str; 12] = [
    "<script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    "\"><svg onload=alert(1)>",
    "' onmouseover='alert(1)",
    "]]></summary></details>--><!--",
    "&lt;&#x3c;&amp;",
    "\u{1b}[2J\u{1b}]0;owned\u{7}\r\n",
    "\u{9b}31m\u{9d}0;x\u{9c}",
    "\u{202e}gpj.exe\u{2066}\u{200f}",
    "\u{0}\u{7f}\u{feff}\u{2028}\u{e0041}\u{fffe}",
    "a\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}",
    "{{constructor.constructor('alert(1)')()}}${alert(1)}",
];

fn input() -> String {
    let mut lines = std::fs::read_to_string(place("trace_view").join("hostile.jsonl")).unwrap();
    let mut push = |span: Value| lines += &format!("{span}\n");
    for (index, name) in NAMES.iter().enumerate() {
        push(json!({
            "traceId": format!("t{name}"), "spanId": name, "parentSpanId": format!("{name}{index}"), "name": name,
            "originalName": name, "kind": name, "service": name, "outcome": name, "startTimeUnixNano": "5",
            "endTimeUnixNano": "9", "status": {"code": "ERROR", "message": name}, "attributes": {*name: name, "list": [[name], {*name: 1}]},
            "setByCallee": [name], "events": [{"name": name, "timeUnixNano": "7", "attributes": {*name: [name]}}],
            "links": [{"traceId": format!("t{name}"), "spanId": name}], "dropped": {*name: u64::MAX},
        }));
    }
    let long = "<b>\u{202e}长".repeat(1_000);
    push(
        json!({"traceId": "long", "spanId": long, "name": long, "service": long, "kind": long, "outcome": long}),
    );
    // Times beyond all sense, and ends before starts.
    for (index, (start, end)) in [
        (0, u64::MAX),
        (u64::MAX, 0),
        (u64::MAX, u64::MAX),
        (1 << 62, 1),
    ]
    .iter()
    .enumerate()
    {
        push(json!({
            "traceId": "times", "spanId": index.to_string(), "startTimeUnixNano": start, "endTimeUnixNano": end,
            "events": [{"name": "never", "timeUnixNano": u64::MAX}],
        }));
    }
    // A chain of 3,000, a circle, one that is its own parent, and the same id over and over.
    for index in 1..3_000 {
        push(
            json!({"traceId": "deep", "spanId": format!("{index}"), "parentSpanId": format!("{}", index - 1), "startTimeUnixNano": index}),
        );
    }
    for (id, parent) in [("a", "b"), ("b", "c"), ("c", "a"), ("own", "own")] {
        push(
            json!({"traceId": "circle", "spanId": id, "parentSpanId": parent, "startTimeUnixNano": 1}),
        );
    }
    for start in 0..50 {
        push(
            json!({"traceId": "same", "spanId": "s", "parentSpanId": "s", "startTimeUnixNano": start, "endTimeUnixNano": 100}),
        );
    }
    push(
        json!({"traceId": "same", "spanId": "s", "late": true, "timeUnixNano": "99999999", "attributes": {"\u{1b}[2J": "\u{202e}"}}),
    );
    lines
}

fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !"\u{202e}\u{2066}\u{200f}\u{feff}\u{2028}\u{e0041}\u{fffe}\u{200b}".contains(c)
}

#[test]
fn trees_and_numbers() {
    for words in [
        &["--width=20"][..],
        &["--width=80"],
        &["--stats", "--width=80"],
    ] {
        let printed = good(words, &input());
        let width = if words[0] == "--width=20" { 20 } else { 80 };
        for line in printed.lines() {
            assert!(line.chars().all(is_harmless), "{line:?}");
            assert!(line.width() <= width, "{line:?}");
        }
        assert!(!printed.is_empty());
    }
}

#[test]
fn the_page() {
    let page = good(&["--html", "-"], &input());
    let page = markup::read(&page);
    assert!(page.text.chars().all(|c| is_harmless(c) || c == '\n'));
    assert!(page.text.contains("<script>alert(1)</script>"), "as text");
    assert!(page.text.contains("level 2998: shown side by side"));
    assert!(
        page.depth < 100,
        "browsers build no deeper trees: {}",
        page.depth
    );
}

#[test]
fn perfettos_file() {
    let text = good(&["--perfetto", "-"], &input());
    assert!(text.chars().all(|c| is_harmless(c) || c == '\n'));
    let events = perfetto::events(&text);
    for name in NAMES {
        assert!(
            events
                .iter()
                .any(|event| event["ph"] == "X" && event["name"] == name),
            "{name:?}"
        );
    }
}

#[test]
fn lines() {
    let text = good(&["--json"], &input());
    assert!(text.chars().all(|c| is_harmless(c) || c == '\n'));
    let read = |text: &str| -> Vec<Value> {
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    assert_eq!(read(&text), read(&input()));
}
