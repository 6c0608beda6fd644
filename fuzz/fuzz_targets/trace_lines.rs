//! Arbitrary bytes as a file of span records, in pieces, with a limit on how long a line may be.
//!
//! Nothing panics; the records, and the counts of what is none, are those of the whole file taken line by
//! line; as trees they have no line that is too wide and none that is a command to a terminal.
//!
//! The first byte says how long a piece is, the second how long a line may be.

#![no_main]

use std::convert::Infallible;

use capspan_cli::records::{Reader, Record, Span, read_line};
use capspan_cli::terminal::Style;
use capspan_cli::trace_view::render;
use libfuzzer_sys::fuzz_target;
use unicode_width::UnicodeWidthStr;

const WIDTH: usize = 40;

fuzz_target!(|input: &[u8]| {
    let [piece, max, bytes @ ..] = input else {
        return;
    };
    let (piece, max) = (usize::from(*piece) + 1, usize::from(*max) * 16);
    let mut reader = Reader::with_max_line(max);
    let mut found = Vec::new();
    let mut each = |line: &str, record: Record| {
        assert!(line.len() <= max);
        found.push(record);
        Ok::<_, Infallible>(())
    };
    for bytes in bytes.chunks(piece) {
        let Ok(()) = reader.feed(bytes, &mut each);
    }
    let Ok(()) = reader.finish(&mut each);

    let (mut wanted, mut bad, mut first) = (Vec::new(), 0, None);
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let text = std::str::from_utf8(line).ok().filter(|_| line.len() <= max);
        match text.map(read_line) {
            Some(Ok(record)) => wanted.push(record),
            _ if text.is_some_and(|text| text.trim().is_empty()) => {}
            _ => {
                bad += 1;
                first.get_or_insert(index + 1);
            }
        }
    }
    assert_eq!((reader.good(), reader.bad()), (wanted.len() as u64, bad));
    assert_eq!(reader.first_bad().map(|line| line.number), first);
    assert_eq!(found, wanted);

    let spans: Vec<Span> = found
        .into_iter()
        .map(|record| match record {
            Record::Span(span) => *span,
            Record::Late(late) => late.into_span(),
        })
        .collect();
    for line in render(&spans, &Style::new(WIDTH, false)).lines() {
        assert!(line.width() <= WIDTH, "{line:?}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
});
