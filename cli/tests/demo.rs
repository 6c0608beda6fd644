//! The demo as its users meet it: two real processes, one session, one trace.

use std::collections::HashSet;
use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A text whose numbers are known: 21 words, 25 tokens; sentences of 3, 2 and 16 words. It has more
/// results than are handed out at once.
const TEXT: &str = "Ada calls Bob.\n\nBob answers! \u{1f680}\n\nOne two three four five six seven \
    eight nine ten eleven twelve thirteen fourteen fifteen sixteen.\n";

fn demo(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_capspan"));
    command
        .arg("demo")
        .args(words)
        .env("COLUMNS", "100")
        .stdin(Stdio::null());
    command
}

/// Runs the demo on [`TEXT`] in a file of this name.
fn demo_of(title: &str, words: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(title);
    fs::write(&file, TEXT).unwrap();
    demo(words).arg("--input").arg(file).output().unwrap()
}

/// The spans that a run with `--json` prints, after what holds for each of them was checked.
fn spans(words: &[&str]) -> Vec<Value> {
    let output = demo_of("a text.md", &[&["--json"], words].concat());
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*told), (Some(0), ""));
    let lines = String::from_utf8(output.stdout).unwrap();
    let spans: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for key in ["traceId", "spanId"] {
        let ids: HashSet<_> = spans.iter().map(|span| text(&span[key])).collect();
        let expected = if key == "traceId" { 1 } else { spans.len() };
        assert_eq!(ids.len(), expected, "{key}: {lines}");
    }
    for span in &spans {
        assert!(span.get("open").is_none() && span.get("endTimeUnixNano").is_some());
        assert_eq!(span["dropped"], serde_json::json!({}), "{span}");
    }
    spans
}

fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
}

fn find<'a>(spans: &'a [Value], service: &str, name: &str) -> &'a Value {
    let mut found = spans
        .iter()
        .filter(|span| span["service"] == service && span["name"] == name);
    match (found.next(), found.next()) {
        (Some(span), None) => span,
        other => panic!("{service} {name}: {other:?} in {spans:?}"),
    }
}

/// The caller's spans are what they are to be, and say that the session ended so. The session's.
fn assert_callers<'a>(spans: &'a [Value], outcome: &str) -> &'a Value {
    let root = find(spans, "caller", "capspan demo");
    assert_eq!(root.get("parentSpanId"), None);
    assert_eq!(
        (&root["kind"], &root["outcome"]),
        (&"INTERNAL".into(), &outcome.into())
    );

    let session = find(spans, "caller", "analyze a text.md");
    assert_eq!(session["parentSpanId"], root["spanId"]);
    assert_eq!(
        (&session["kind"], &session["outcome"]),
        (&"CLIENT".into(), &outcome.into())
    );
    assert_eq!(session["originalName"], "session");
    assert_eq!(session["nameByCallee"], true);
    let mut attributes = serde_json::json!({
        "analysis.model": "unicode-words",
        "analysis.bytes": TEXT.len(),
        "analysis.tokens": 25,
        "analysis.words": 21,
    });
    match outcome {
        "canceled" => attributes["capspan.reason"] = "the caller dropped it".into(),
        "disconnected" => attributes["error.type"] = outcome.into(),
        _ => {}
    }
    assert_eq!(session["attributes"], attributes);
    let mut marked: Vec<_> = session["setByCallee"]
        .as_array()
        .unwrap()
        .iter()
        .map(text)
        .collect();
    marked.sort_unstable();
    let keys = [
        "analysis.bytes",
        "analysis.model",
        "analysis.tokens",
        "analysis.words",
    ];
    assert_eq!(marked, keys);
    let events = session["events"].as_array().unwrap();
    assert_eq!(events.len(), 1, "{session}");
    assert_eq!(
        (&events[0]["name"], &events[0]["byCallee"]),
        (&"first result".into(), &true.into())
    );

    for span in [root, session] {
        let code = span.get("status").map(|status| text(&status["code"]));
        assert_eq!(
            code,
            (outcome == "disconnected").then_some("ERROR"),
            "{span}"
        );
    }
    session
}

/// The callee's session span is a child of the caller's, its own spans are its children.
fn assert_callees<'a>(spans: &'a [Value], session: &Value, outcome: &str) -> &'a Value {
    let callees = find(spans, "callee", "session");
    assert_eq!(callees["parentSpanId"], session["spanId"]);
    assert_eq!(
        (&callees["kind"], &callees["outcome"]),
        (&"SERVER".into(), &outcome.into())
    );
    for (name, outcome) in [("count", "ok"), ("rank", "ok"), ("cursor", outcome)] {
        let span = find(spans, "callee", name);
        assert_eq!(span["parentSpanId"], callees["spanId"]);
        assert_eq!(span["outcome"], outcome);
    }
    assert_eq!(spans.len(), 6);
    callees
}

#[test]
fn a_session_that_finishes_is_one_trace_of_both_processes() {
    for words in [&[][..], &["--tcp"], &["--end", "finish"]] {
        let spans = spans(words);
        let session = assert_callers(&spans, "ok");
        let callees = assert_callees(&spans, session, "ok");
        // Summary, 20 words, sentences, 4 bands, reading time.
        assert_eq!(callees["attributes"]["results.sent"], 27);
    }
}

#[test]
fn a_session_that_is_dropped_is_canceled_on_both_sides() {
    for words in [&["--end", "cancel"][..], &["--end", "cancel", "--tcp"]] {
        let spans = spans(words);
        let session = assert_callers(&spans, "canceled");
        assert_callees(&spans, session, "canceled");
    }
}

#[test]
fn a_callee_that_is_killed_leaves_the_callers_spans_disconnected() {
    for words in [&["--end", "kill"][..], &["--end", "kill", "--tcp"]] {
        let spans = spans(words);
        assert_callers(&spans, "disconnected");
        // What it had written is there, what it had not is absent.
        for name in ["count", "rank"] {
            assert_eq!(find(&spans, "callee", name)["outcome"], "ok");
        }
        assert_eq!(spans.len(), 4);
    }
}

#[test]
fn people_see_the_results_and_a_tree() {
    let output = demo_of("a text.md", &[]);
    assert_eq!(output.status.code(), Some(0));
    let shown = String::from_utf8(output.stdout).unwrap();
    let bytes = TEXT.len();
    for row in [
        &format!("a text.md ({bytes} bytes), analyzed by a second process over a Unix socket"),
        "frequent words  bob 2   ada 1   answers 1   calls 1   ",
        "INTERNAL caller capspan demo ",
        "└─ CLIENT caller analyze a text.md ",
        "   │  renamed from session  ◂ callee",
        "   │  analysis.words = 21  ◂ callee",
        "   └─ SERVER callee session ",
        "      ├─ INTERNAL callee count ",
        "      └─ INTERNAL callee cursor ",
    ] {
        let found = shown.lines().filter(|line| line.starts_with(row)).count();
        assert_eq!(found, 1, "{row} in\n{shown}");
    }
    assert!(!shown.contains('\u{1b}'));
}

#[test]
fn people_see_what_a_call_says_after_the_end() {
    for (end, expected) in [
        (
            "cancel",
            "  canceled: the session is over: the caller dropped it",
        ),
        ("kill", "  the session is over: the "),
    ] {
        let output = demo_of("a text.md", &["--end", end]);
        let shown = String::from_utf8(output.stdout).unwrap();
        let mut lines = shown.lines().skip_while(|line| !line.starts_with('✂'));
        let happened = lines.next().unwrap();
        assert!(happened.ends_with("and the next call on the cursor fails:"));
        assert!(lines.next().unwrap().starts_with(expected), "{shown}");
    }
}

#[test]
fn a_name_that_is_too_long_is_cut_by_the_callers_limit() {
    let title = "n".repeat(251) + ".txt";
    let output = demo_of(&title, &["--json"]);
    let lines = String::from_utf8(output.stdout).unwrap();
    let name = lines.lines().find_map(|line| {
        let span: Value = serde_json::from_str(line).ok()?;
        let name = span["name"].as_str()?.to_owned();
        name.starts_with("analyze ").then_some(name)
    });
    assert_eq!(name.unwrap().len(), 256);
}

#[test]
fn an_empty_text_and_a_long_one_are_texts_too() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("empty", String::new()),
        ("long", "One more sentence. ".repeat(20_000)),
    ] {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        let output = demo(&["--json", "--input"]).arg(file).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{name}: {output:?}");
        let lines = String::from_utf8(output.stdout).unwrap();
        assert_eq!(lines.lines().count(), 6, "{name}");
    }
}

/// Status 2, nothing on the standard output, one line on the standard error.
fn assert_refused(output: &Output, expected: &str) {
    let told = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(output.stdout.is_empty());
    assert!(
        told.starts_with("capspan: ") && told.contains(expected),
        "{told}"
    );
    assert_eq!(told.find('\n'), Some(told.len() - 1), "{told}");
}

#[test]
fn a_file_that_is_no_text_is_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let output = demo(&["--input"]).arg(&missing).output().unwrap();
    assert_refused(&output, "missing: No such file");

    let binary = folder.path().join("binary");
    fs::write(&binary, b"\x7fELF\0").unwrap();
    let output = demo(&["--json", "--input"]).arg(&binary).output().unwrap();
    assert_refused(&output, "not a text");
    let output = demo(&["--input"]).arg(folder.path()).output().unwrap();
    assert_refused(&output, "directory");
}

#[test]
fn a_collector_that_can_be_none_is_told_in_one_line() {
    let output = demo(&["--otlp", "localhost:4318"]).output().unwrap();
    let told = "--otlp: \"localhost:4318\" is not a collector's URL, as http://127.0.0.1:4318 is";
    assert_refused(&output, told);
}

#[test]
fn a_busy_socket_is_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let _held = UnixListener::bind(&path).unwrap();
    let output = demo(&["--socket"]).arg(&path).output().unwrap();
    assert_refused(&output, "something is there already");

    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    let output = demo(&[&format!("--tcp={address}")]).output().unwrap();
    assert_refused(&output, "in use");
}

#[test]
fn a_callee_without_a_caller_is_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nobody");
    let output = Command::new(env!("CARGO_BIN_EXE_capspan"))
        .args(["demo-callee", "--title=x", "--socket"])
        .arg(&path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_refused(&output, "connecting to the caller");
}

#[test]
fn a_reader_that_leaves_is_no_error_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = demo(&["--socket"])
        .arg(&socket)
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn();
    let output = child.and_then(Child::wait_with_output).unwrap();
    assert_eq!(
        (output.status.code(), &output.stderr[..]),
        (Some(0), &[][..])
    );
    assert!(!socket.exists());
}

/// A demo that has said its first words: its callee is there, and analyses a text that takes it a
/// while.
fn busy_demo(folder: &Path, words: &[&str]) -> Child {
    let file = folder.join("long");
    fs::write(&file, "One more sentence.\n\n".repeat(500_000)).unwrap();
    let mut child = demo(words)
        .arg("--input")
        .arg(&file)
        .arg("--socket")
        .arg(folder.join("socket"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let out = child.stdout.as_mut().unwrap();
    out.read_exact(&mut [0; 4]).unwrap();
    child
}

fn kill(signal: &str, process: &str) {
    let status = Command::new("kill").args([signal, process]).status();
    assert!(status.unwrap().success());
}

#[test]
fn an_interrupted_demo_is_silent_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let child = busy_demo(folder.path(), &[]);
    kill("-INT", &child.id().to_string());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), &output.stderr[..]),
        (Some(130), &[][..])
    );
    assert!(!folder.path().join("socket").exists());
}

#[test]
#[cfg(target_os = "linux")]
fn a_callee_that_dies_by_itself_is_told_in_one_line_below_the_callers_spans() {
    let folder = tempfile::tempdir().unwrap();
    let child = busy_demo(folder.path(), &[]);
    let id = child.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    kill("-KILL", children.trim());
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert_eq!(told, "capspan: the callee failed (signal: 9 (SIGKILL))\n");
    let shown = String::from_utf8(output.stdout).unwrap();
    let closed = |line: &&str| line.ends_with("  disconnected");
    assert_eq!(shown.lines().filter(closed).count(), 2, "{shown}");
}
