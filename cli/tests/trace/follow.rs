//! A file that grows while the program looks at it. Each step waits for what the program prints.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command};

use super::trace;

fn record(trace: &str, id: &str, parent: &str, name: &str) -> String {
    format!(
        "{{\"traceId\":\"{trace}\",\"spanId\":\"{id}\",\"parentSpanId\":\"{parent}\",\"name\":\"{name}\",\
         \"startTimeUnixNano\":\"1\",\"endTimeUnixNano\":\"2\",\"outcome\":\"ok\"}}\n"
    )
}

fn append(file: &Path, text: &str) {
    let open = File::options().append(true).create(true).open(file);
    open.unwrap().write_all(text.as_bytes()).unwrap();
}

struct Followed {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Followed {
    fn new(words: &[&str]) -> Self {
        let mut child = trace(words).arg("--follow").spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// Reads up to a line with `part`. What was read.
    fn until(&mut self, part: &str) -> String {
        let mut read = String::new();
        while !read.lines().last().is_some_and(|line| line.contains(part)) {
            let before = read.len();
            self.out.read_line(&mut read).unwrap();
            assert!(read.len() > before, "it ended before {part:?}: {read}");
        }
        read
    }

    /// What is left after the end, whose status is this.
    fn rest(mut self, status: i32) -> String {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(status), "{rest}");
        rest
    }

    fn interrupt(self) -> String {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-INT", &id]).status();
        assert!(status.unwrap().success());
        self.rest(130)
    }
}

#[test]
fn traces_are_shown_as_they_end_whatever_becomes_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("spans.jsonl");
    append(&file, &record("t1", "a", "", "there before"));
    let mut followed = Followed::new(&[file.to_str().unwrap(), "--quiet=100ms"]);
    followed.until("there before");

    // A line comes in two parts, and a trace in two lines.
    let line = record("t2", "b", "c", "child");
    append(&file, &line[..20]);
    append(&file, &line[20..]);
    append(&file, &record("t2", "c", "", "parent"));
    let shown = followed.until("child");
    assert!(
        shown.contains("parent") && shown.contains("└─ child"),
        "{shown}"
    );

    // Of the root of this one nothing is known here.
    append(&file, &record("t3", "d", "far", "no root"));
    followed.until("no root");

    append(&file, &record("t4", "e", "", "last of the old file"));
    fs::rename(&file, folder.path().join("spans.1")).unwrap();
    append(
        &file,
        &record("t5", "f", "", &format!("new file{}", "x".repeat(500))),
    );
    followed.until("last of the old file");
    followed.until("new file");

    fs::write(&file, record("t6", "g", "", "truncated")).unwrap();
    followed.until("truncated");

    assert_eq!(followed.interrupt(), "\n6 traces · 7 spans · 7 ok\n");
}

#[test]
fn what_is_not_over_is_shown_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("spans.jsonl");
    append(&file, &record("t1", "a", "far", "begun"));
    append(&file, &record("t2", "b", "", "over"));
    let mut followed = Followed::new(&[file.to_str().unwrap(), "--quiet=1h"]);
    let shown = followed.until("over");
    assert!(!shown.contains("begun"), "{shown}");
    followed.until("");
    let rest = followed.interrupt();
    assert!(
        rest.contains("begun") && rest.ends_with("2 traces · 2 spans · 2 ok\n"),
        "{rest}"
    );
}

#[test]
fn the_last_of_what_is_there_then_all_that_comes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("spans.jsonl");
    for name in ["one", "two", "three"] {
        append(&file, &record(name, "a", "", name));
    }
    let mut followed = Followed::new(&[file.to_str().unwrap(), "--last=1", "--quiet=1h"]);
    // All began at once: the greatest id is the last.
    followed.until("trace two");
    append(&file, &record("four", "a", "", "four"));
    append(&file, &record("open", "a", "far", "open"));
    append(&file, &record("begun", "a", "far", "begun"));
    append(&file, &record("five", "a", "", "five"));
    followed.until("trace five");
    let rest = followed.interrupt();
    assert!(
        rest.contains("trace begun") && rest.contains("trace open"),
        "{rest}"
    );
    assert!(rest.ends_with("5 traces · 5 spans · 5 ok\n"), "{rest}");
}

#[test]
fn lines_pass_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("spans.jsonl");
    append(&file, &record("t1", "a", "", "first"));
    let mut followed = Followed::new(&[file.to_str().unwrap(), "--json", "--name=fi"]);
    followed.until("first");
    append(&file, &record("t2", "b", "", "second"));
    append(&file, &record("t3", "c", "far", "fifth"));
    assert_eq!(followed.until("fifth"), record("t3", "c", "far", "fifth"));
    assert_eq!(followed.interrupt(), "");
}

#[test]
fn a_file_that_is_not_there_yet_is_waited_for_and_that_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("later.jsonl");
    let mut followed = Followed::new(&[file.to_str().unwrap()]);
    let mut told = String::new();
    let mut error = BufReader::new(followed.child.stderr.take().unwrap());
    error.read_line(&mut told).unwrap();
    assert!(
        told.ends_with("later.jsonl: not there yet, waiting\n"),
        "{told}"
    );
    append(&file, &record("t1", "a", "", "it came"));
    followed.until("it came");
    followed.interrupt();
}

#[test]
fn the_standard_input_is_followed_to_its_end() {
    let mut followed = Followed::new(&["-"]);
    let mut stdin = followed.child.stdin.take().unwrap();
    stdin
        .write_all(record("t1", "a", "", "first").as_bytes())
        .unwrap();
    followed.until("first");
    stdin
        .write_all(record("t2", "b", "far", "last").trim().as_bytes())
        .unwrap();
    drop(stdin);
    followed.until("last");
    let rest = followed.rest(0);
    assert!(rest.ends_with("2 traces · 2 spans · 2 ok\n"), "{rest}");
}
