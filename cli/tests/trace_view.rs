//! Span records from files and the exact text that they are printed as.
//!
//! `CAPSPAN_BLESS=1 cargo test -p capspan-cli --test trace_view` writes what is printed now; look at
//! the difference before you commit it.

use std::path::{Path, PathBuf};
use std::{env, fs};

use capspan_cli::records::read;
use capspan_cli::terminal::Style;
use capspan_cli::trace_view::render;
use unicode_width::UnicodeWidthStr as _;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/trace_view")
        .join(name)
}

fn check(name: &str, width: usize) {
    let records = fs::read_to_string(file(&format!("{name}.jsonl"))).unwrap();
    let (spans, bad) = read(&records);
    assert_eq!(bad, []);
    let printed = render(&spans, &Style::new(width, false));

    let golden = file(&format!("{name}.{width}.txt"));
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
fn the_demos_tree() {
    for width in [20, 40, 80, 100, 200] {
        check("demo", width);
    }
}

#[test]
fn a_killed_callee_leaves_an_open_span_and_errors() {
    check("kill", 80);
}

#[test]
fn strays_links_and_what_was_left_out() {
    check("strays", 80);
}

#[test]
fn wide_characters() {
    check("wide", 40);
    check("wide", 80);
}

#[test]
fn hostile_names() {
    check("hostile", 20);
    check("hostile", 80);
}

#[test]
fn no_line_is_too_wide_or_holds_a_command_at_any_width() {
    for name in ["demo", "kill", "strays", "wide", "hostile"] {
        let records = fs::read_to_string(file(&format!("{name}.jsonl"))).unwrap();
        let (spans, _) = read(&records);
        for width in 20..=200 {
            let printed = render(&spans, &Style::new(width, false));
            for line in printed.lines() {
                assert!(line.width() <= width, "{name} at {width}: {line}");
                assert!(
                    !line.contains(char::is_control),
                    "{name} at {width}: {line:?}"
                );
            }
        }
    }
}

#[test]
fn colours_change_nothing_but_the_colour() {
    let records = fs::read_to_string(file("hostile.jsonl")).unwrap();
    let (spans, _) = read(&records);
    let coloured = render(&spans, &Style::new(80, true));
    assert!(coloured.contains("\u{1b}[1m\u{1b}[34m  ◂ callee\u{1b}[0m"));

    let mut plain = String::new();
    let mut rest = &coloured[..];
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        let (code, after) = after.split_once('m').unwrap();
        assert!(code.bytes().all(|byte| byte.is_ascii_digit()), "{code:?}");
        rest = after;
    }
    plain.push_str(rest);
    assert_eq!(plain, render(&spans, &Style::new(80, false)));
}
