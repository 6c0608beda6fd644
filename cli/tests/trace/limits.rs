//! Files that are large, and lines that are long.

use super::{good, piped};

fn span(trace: usize, span: usize, parent: &str) -> String {
    format!(
        "{{\"traceId\":\"{trace:x}\",\"spanId\":\"{trace:x}.{span}\",\"parentSpanId\":\"{parent}\",\"name\":\"n{trace}\",\
         \"startTimeUnixNano\":\"{}\",\"endTimeUnixNano\":\"{}\",\"outcome\":\"ok\"}}\n",
        1_000_000 + trace,
        2_000_000 + trace
    )
}

#[test]
fn what_is_more_than_there_is_room_for_is_shown_early_and_told() {
    let input: String = (1..=20).map(|trace| span(trace, 0, "")).collect();
    let output = piped(&["--max-spans", "5"], &input);
    let shown = String::from_utf8(output.stdout).unwrap();
    for trace in 1..=20 {
        assert!(shown.contains(&format!("n{trace} ")), "{trace}: {shown}");
    }
    assert!(shown.ends_with("20 traces · 20 spans · 20 ok\n"), "{shown}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        told,
        "capspan: standard input: 15 traces shown before their turn, and what came of them later \
         stands apart: there is room for 5 spans at a time (--max-spans), of about 512 MiB\n"
    );
}

#[test]
fn what_is_not_wanted_takes_no_room_from_what_is() {
    let mut input = span(1, 0, "1.1");
    for trace in 2..50 {
        input += &span(trace, 0, "");
    }
    input += &span(1, 1, "");
    let output = piped(&["--max-spans", "5", "--id", "1.0"], &input);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(
        shown.contains("trace 1  2 spans") && shown.contains("└─ n1"),
        "{shown}"
    );
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn a_trace_that_is_too_large_is_cut_off_and_told() {
    let input: String = (0..20).map(|index| span(1, index, "")).collect();
    let output = piped(&["--max-spans", "5"], &input);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("15 spans left out, of traces that are too large: there is room for 5 spans"),
        "{told}"
    );
}

#[test]
fn the_last_are_the_last_and_it_is_told_when_that_is_not_sure() {
    let input: String = (1..=20).map(|trace| span(trace, 0, "")).collect();
    let output = piped(&["--max-spans", "5", "--last", "2"], &input);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(
        shown.contains("n19 ") && shown.contains("n20 ") && !shown.contains("n18 "),
        "{shown}"
    );
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("15 traces gave way before it was known which are the last"),
        "{told}"
    );
}

#[test]
fn a_line_that_is_too_long_is_skipped() {
    let long = format!(
        "{{\"traceId\":\"1\",\"spanId\":\"2\",\"name\":\"{}\"}}\n",
        "x".repeat(4 << 20)
    );
    let input = span(1, 0, "") + &long + &span(2, 0, "");
    let output = piped(&["--stats"], &input);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        told,
        "capspan: standard input: 1 of 3 lines is no span record; the first is line 2: longer than 4,194,304 bytes\n"
    );
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .ends_with("2 traces · 2 spans · 2 ok\n")
    );
}

#[test]
fn numbers_are_of_all_however_little_room_there_is() {
    let input: String = (1..=300).map(|trace| span(trace, 0, "")).collect();
    assert!(
        good(&["--stats", "--max-spans", "3"], &input)
            .ends_with("300 traces · 300 spans · 300 ok\n")
    );
}
