//! The program as its users meet it.

use std::process::{Command, Output, Stdio};

fn capspan(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_capspan"));
    command.args(words).stdin(Stdio::null());
    command
}

/// Status 2, nothing on the standard output, one line on the standard error.
fn assert_refused(output: &Output) -> String {
    let told = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(output.stdout.is_empty());
    assert!(told.starts_with("capspan: "), "{told}");
    assert_eq!(told.find('\n'), Some(told.len() - 1), "{told}");
    told
}

#[test]
fn a_wrong_argument_is_told_in_one_line_with_status_2() {
    for words in [
        &[][..],
        &["dance"],
        &["demo", "--end", "never"],
        &["demo", "a\nb"],
    ] {
        assert_refused(&capspan(words).output().unwrap());
    }
}

#[test]
fn help_and_version_are_answers() {
    let help = capspan(&["--help"]).output().unwrap();
    assert!(help.status.success() && help.stderr.is_empty());
    let version = capspan(&["--version"]).output().unwrap();
    let expected = format!("capspan {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8(version.stdout).unwrap(), expected);
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = capspan(&["--help"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .and_then(|child| child.wait_with_output())
        .unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    assert!(output.stderr.is_empty(), "{:?}", output.stderr);
}
