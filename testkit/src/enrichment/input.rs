//! Bytes, taken for something else.

use capnp::Word;
use capspan::trace::{
    SpanContext, SpanEvent, SpanId, SpanStatus, SpanUpdate, Timestamp, TraceId, Value,
};

/// Few, so that they meet; some are too long, some are what redactors look for.
const TEXTS: [&str; 16] = [
    "a",
    "b",
    "b.c",
    "",
    "Drop",
    "Replace",
    "Enrich",
    "a long key",
    "é€é€é",
    "capspan.x",
    "own",
    "\0\n\u{7f}",
    "service.",
    "xyz",
    "0123456789",
    "R2",
];

/// What is left of the input. At its end everything is zero.
pub(super) struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        match self.bytes.split_first() {
            Some((byte, rest)) => {
                self.bytes = rest;
                *byte
            }
            None => 0,
        }
    }

    /// A message, or what is not quite one.
    pub(super) fn words(&mut self) -> Vec<Word> {
        let length = usize::from(self.byte() % 64).min(self.bytes.len() / 8);
        let (bytes, rest) = self.bytes.split_at(8 * length);
        self.bytes = rest;
        let mut words = Word::allocate_zeroed_vec(length);
        Word::words_to_bytes_mut(&mut words).copy_from_slice(bytes);
        words
    }

    pub(super) fn update(&mut self) -> SpanUpdate {
        let mut update = SpanUpdate::new();
        for _ in 0..self.byte() % 5 {
            update = match self.byte() % 8 {
                0 => update.name(self.text()),
                1..=3 => {
                    let (key, value) = (self.text(), self.value());
                    update.attribute(key, value)
                }
                4 => update.event(self.event()),
                5 => update.link(self.link()),
                6 => update.status(match self.byte() % 4 {
                    0 => SpanStatus::Ok,
                    1 => SpanStatus::Unset,
                    _ => SpanStatus::error(self.text()),
                }),
                _ => update,
            };
        }
        update
    }

    fn event(&mut self) -> SpanEvent {
        let mut event = SpanEvent::new(self.text());
        event.time = match self.byte() % 4 {
            0 => Some(Timestamp::from_unix_nanos(u64::MAX)),
            1 => Some(Timestamp::from_unix_nanos(1)),
            _ => None,
        };
        for _ in 0..self.byte() % 4 {
            let (key, value) = (self.text(), self.value());
            event = event.attribute(key, value);
        }
        event
    }

    fn link(&mut self) -> SpanContext {
        let byte = self.byte();
        let trace_id = TraceId::from_u128(u128::from(byte) + 1).expect("it is not zero");
        let span_id = SpanId::from_u64(u64::from(byte) + 1).expect("it is not zero");
        let context = SpanContext::new(trace_id, span_id);
        match byte % 2 {
            0 => context,
            _ => context.with_trace_state("vendor=value".parse().expect("it is well-formed")),
        }
    }

    fn text(&mut self) -> &'static str {
        TEXTS[usize::from(self.byte() % 16)]
    }

    fn value(&mut self) -> Value {
        let byte = self.byte();
        let many = usize::from(byte / 8 % 4);
        match byte % 8 {
            0 => self.text().into(),
            1 => Value::Bool(many > 0),
            2 => Value::Int(many as i64 - 1),
            3 => Value::Float([f64::NAN, f64::INFINITY, -0.0, 0.5][many]),
            4 => Value::from((0..many).map(|_| self.text()).collect::<Vec<_>>()),
            5 => vec![true; many * 5].into(),
            6 => vec![i64::MIN; many].into(),
            _ => vec![f64::NAN; many].into(),
        }
    }
}
