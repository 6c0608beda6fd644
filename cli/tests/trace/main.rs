//! `capspan trace` as its users meet it.

mod follow;
mod hostile;
mod limits;
mod markup;
mod page;
mod perfetto;
mod shown;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The records of all the files that trees are tested with, and a line that is none.
fn records() -> String {
    let mut text = String::new();
    for (index, name) in ["demo", "kill", "strays", "wide"].iter().enumerate() {
        text +=
            &std::fs::read_to_string(place("trace_view").join(format!("{name}.jsonl"))).unwrap();
        // Each file uses the same ids.
        let own = format!("4bf92f3577b34da6{index:016}");
        text = text.replace("4bf92f3577b34da6a3ce929d0e0e4736", &own);
    }
    text + "{\"traceId\":\"cut o"
}

fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
}

fn trace(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_capspan"));
    command
        .arg("trace")
        .args(words)
        .env_remove("NO_COLOR")
        .env("COLUMNS", "80")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What the program makes of `input` on its standard input.
fn piped(words: &[&str], input: &str) -> Output {
    let mut child = trace(&[&["-"], words].concat()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || {
        // A program that fails early reads no further.
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// What it writes to the standard output, when all goes well.
fn good(words: &[&str], input: &str) -> String {
    let output = piped(words, input);
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
