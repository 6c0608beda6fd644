//! What is printed, exactly.
//!
//! `CAPSPAN_BLESS=1 cargo test -p capspan-cli --test trace` writes what is printed now; look at the
//! difference before you commit it.

use std::{env, fs};

use super::{good, piped, place, records, trace};

fn check(name: &str, words: &[&str]) {
    let output = piped(words, &records());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let printed = format!(
        "{}--- standard error ---\n{}",
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap()
    );
    let golden = place("trace/golden").join(format!("{name}.txt"));
    if env::var_os("CAPSPAN_BLESS").is_some() {
        fs::write(&golden, &printed).unwrap();
    }
    let expected = fs::read_to_string(&golden).unwrap();
    assert!(
        printed == expected,
        "{} is\n{expected}\nbut this is printed\n{printed}",
        golden.display()
    );
}

#[test]
fn everything() {
    check("everything", &[]);
}

#[test]
fn filtered() {
    check("failed", &["--failed"]);
    check("open_callee", &["--outcome=open", "--service=callee"]);
    check("slow", &["--min-duration=1s", "--name", "長い"]);
    check("none", &["--id", "ffff"]);
}

#[test]
fn the_last() {
    check("last", &["--last=1", "--width=60"]);
}

#[test]
fn numbers_in_place_of_trees() {
    check("stats", &["--stats"]);
}

#[test]
fn lines_as_they_are() {
    check("json", &["--json", "--name=SESSION", "--service=callee"]);
    let all = records();
    let (whole, _) = all.rsplit_once('\n').unwrap();
    assert_eq!(good(&["--json"], &all), format!("{whole}\n"));
}

#[test]
fn colours_are_there_when_they_are_wanted() {
    let plain = good(&[], &records());
    assert!(!plain.contains('\u{1b}'));
    assert_eq!(good(&["--color=never"], &records()), plain);
    assert!(good(&["--color=always"], &records()).contains("\u{1b}[32m"));
}

#[test]
fn a_file_is_read_as_the_standard_input_is() {
    let file = place("trace_view").join("demo.jsonl");
    let output = trace(&[file.to_str().unwrap()]).output().unwrap();
    let expected = good(&[], &fs::read_to_string(file).unwrap());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn what_the_demo_writes_is_read() {
    let demo = std::process::Command::new(env!("CARGO_BIN_EXE_capspan"))
        .args(["demo", "--json"])
        .output()
        .unwrap();
    let shown = good(&["--id", ""], &String::from_utf8(demo.stdout).unwrap());
    assert!(shown.contains("INTERNAL caller capspan demo"), "{shown}");
    assert!(shown.contains("\n1 trace · "), "{shown}");
}

#[test]
fn what_can_not_be_done_is_told_in_one_line() {
    for (words, input, told) in [
        (&["/no such file"][..], "", "/no such file: No such file"),
        (
            &["-"],
            "not JSON\n\nnor this\n",
            "standard input: none of 2 lines is a span record: line 1: expected",
        ),
        (
            &["-", "--html", "-", "--perfetto", "-"],
            "",
            "--html and --perfetto can't both be",
        ),
        (
            &["-", "--html", "/no such folder/x"],
            "",
            "/no such folder/x: ",
        ),
        (&[".", "--width=60"], "", ".: Is a directory"),
    ] {
        let mut child = trace(words).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {error}");
        assert!(error.starts_with(&format!("capspan: {told}")), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn nothing_at_all_is_no_failure() {
    assert_eq!(good(&[], ""), "0 traces · 0 spans\n");
    assert_eq!(good(&["--json"], "\n\n"), "");
}

#[test]
fn what_is_read_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("spans.jsonl");
    fs::write(&file, records()).unwrap();
    let name = file.to_str().unwrap();
    let output = trace(&[name, "--html", name]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(fs::read_to_string(&file).unwrap(), records());
}
