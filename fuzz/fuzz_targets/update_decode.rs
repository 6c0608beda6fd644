//! Arbitrary bytes as an update, as a context, and as the headers of W3C Trace Context.
//!
//! Nothing panics; what is written again and read again is the same; a span that takes the update keeps
//! within its limits, a callee within its half of them.
//!
//! The first byte of the input says into how many segments the rest is cut, from one to four.

#![no_main]

use capnp::Word;
use capnp::message::{Builder, HeapAllocator, Reader, ReaderOptions, SegmentArray};
use capspan::trace::{
    Attribute, Attributes, EnrichStatus, MemoryObserver, SpanContext, SpanEvent, SpanKind,
    SpanLimits, SpanRecord, SpanStatus, SpanUpdate, TraceState, Tracer, Value,
};
use capspan::wire::{ReceivedUpdate, read_context, read_update, write_context, write_update};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // Longer texts than those are cut when they are sent, and so do not come back as they were.
    let Some((&control, bytes)) = input.split_first() else {
        return;
    };
    if bytes.len() >= 64 * 1024 {
        return;
    }
    headers(bytes);

    let mut words = Word::allocate_zeroed_vec(bytes.len() / 8);
    Word::words_to_bytes_mut(&mut words).copy_from_slice(&bytes[..bytes.len() / 8 * 8]);
    let segment_words = words.len().div_ceil(usize::from(control % 4) + 1).max(1);
    let segments: Vec<_> = words
        .chunks(segment_words)
        .map(Word::words_to_bytes)
        .collect();
    let mut options = ReaderOptions::new();
    options
        .traversal_limit_in_words(Some(64 * 1024))
        .nesting_limit(16);
    let message = || Reader::new(SegmentArray::new(&segments), options);

    if let Ok(context) = message().get_root() {
        context_is_stable(read_context(context));
    }
    if let Ok(update) = message().get_root() {
        let received = read_update(update);
        update_is_stable(&received);
        for limits in [Limits::DEFAULT, Limits::TINY] {
            limits_hold(&received.update, &limits);
        }
    }
});

// --- headers ---

fn headers(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (traceparent, tracestate) = match text.split_once('\n') {
        Some((traceparent, tracestate)) => (traceparent, Some(tracestate)),
        None => (&*text, None),
    };
    if let Ok(context) = SpanContext::from_headers(traceparent, tracestate) {
        let printed = context.to_traceparent();
        let state = context.trace_state().to_string();
        let again =
            SpanContext::from_headers(&printed, Some(&state)).expect("what we print we read");
        assert_eq!(again.to_traceparent(), printed);
        assert_eq!(again.trace_state(), context.trace_state());
        assert_eq!(
            (again.trace_id(), again.span_id()),
            (context.trace_id(), context.span_id())
        );
        context_is_stable(Some(context));
    }
    if let Ok(state) = tracestate.unwrap_or(&text).parse::<TraceState>() {
        assert!(state.as_str().len() <= 512 && state.iter().count() <= 32);
        assert_eq!(state.as_str().parse().ok(), Some(state));
    }
}

// --- what is written again is read as before ---

fn context_is_stable(context: Option<SpanContext>) {
    if let Some(context) = context {
        let mut message = Builder::new_default();
        write_context(&context, message.init_root());
        let again = read_context(message.get_root_as_reader().expect("our own message"));
        assert_eq!(again, Some(context));
    }
}

fn update_is_stable(received: &ReceivedUpdate) {
    let message = written(&received.update);
    let again = read_update(message.get_root_as_reader().expect("our own message"));
    assert!(again.dropped.is_empty(), "{:?}", again.dropped);
    // Byte by byte, for NaN equals nothing.
    assert!(
        message.get_segments_for_output()[..]
            == written(&again.update).get_segments_for_output()[..],
        "{:?} came back as {:?}",
        received.update,
        again.update
    );
}

fn written(update: &SpanUpdate) -> Builder<HeapAllocator> {
    let mut message = Builder::new_default();
    write_update(update, message.init_root());
    message
}

// --- limits ---

struct Limits {
    name: usize,
    attributes: usize,
    events: usize,
    event_attributes: usize,
    key: usize,
    value: usize,
    total: usize,
}

impl Limits {
    /// Those of the documentation.
    const DEFAULT: Self = Self {
        name: 256,
        attributes: 128,
        events: 128,
        event_attributes: 128,
        key: 256,
        value: 4096,
        total: 64 * 1024,
    };

    /// Such as small inputs break.
    const TINY: Self = Self {
        name: 5,
        attributes: 5,
        events: 3,
        event_attributes: 1,
        key: 3,
        value: 9,
        total: 400,
    };

    fn to_span_limits(&self) -> SpanLimits {
        SpanLimits::default()
            .max_name_bytes(self.name)
            .max_attributes(self.attributes)
            .max_events(self.events)
            .max_event_attributes(self.event_attributes)
            .max_key_bytes(self.key)
            .max_value_bytes(self.value)
            .max_total_bytes(self.total)
    }

    fn hold_for(&self, attributes: &Attributes) {
        for attribute in attributes {
            assert!((1..=self.key).contains(&attribute.key.len()));
            // One number is never cut.
            let may_be_cut = !matches!(attribute.value, Value::Int(_) | Value::Float(_));
            assert!(attribute.value.size() <= self.value || !may_be_cut);
        }
    }
}

/// A span with one attribute, one event and a status of the owner's takes the update twice, and the
/// owner's other half is left.
fn limits_hold(update: &SpanUpdate, limits: &Limits) {
    let spans = MemoryObserver::new();
    let tracer = Tracer::new(spans.clone()).with_limits(limits.to_span_limits());
    let span = tracer.root().start("span", SpanKind::Server);
    span.set_attribute("own", 1).add_event("own");
    for _ in 0..2 {
        assert_eq!(span.downgrade().enrich(update), EnrichStatus::Applied);
    }
    let mut owners = SpanUpdate::new();
    owners.attributes = (1..limits.attributes.div_ceil(2))
        .map(|index| Attribute::new(format!("{index}\0"), true))
        .collect();
    owners.events = vec![SpanEvent::new("e"); limits.events.div_ceil(2) - 1];
    span.apply(&owners.status(SpanStatus::Ok));
    drop(span);

    let span = spans.closed().remove(0);
    assert!((1..=limits.name).contains(&span.name().len()));
    assert!(span.attributes().len() <= limits.attributes);
    limits.hold_for(span.attributes());
    assert!(span.events().len() <= limits.events);
    for event in span.events() {
        assert!((1..=limits.name).contains(&event.name().len()));
        assert!(event.attributes().len() <= limits.event_attributes);
        limits.hold_for(event.attributes());
    }
    assert_eq!(span.attributes().get("own"), Some(&Value::Int(1)));
    assert_eq!(span.status(), &SpanStatus::Ok);
    let owners_attributes = span.attributes().len() - span.set_by_callee().len();
    assert_eq!(owners_attributes, limits.attributes.div_ceil(2));
    let owners_events = span.events().iter().filter(|event| !event.is_by_callee());
    assert_eq!(owners_events.count(), limits.events.div_ceil(2));
    assert!(bytes(&span, |_| true) <= limits.total);
    callee_has_half(&span, limits);
}

fn callee_has_half(span: &SpanRecord, limits: &Limits) {
    let keys = span.set_by_callee();
    assert!(keys.len() <= limits.attributes / 2);
    for key in keys {
        assert!(span.attributes().get(key).is_some());
        assert!(!limits.to_span_limits().is_reserved(key));
    }
    let events = span.events().iter().filter(|event| event.is_by_callee());
    assert!(events.count() <= limits.events / 2);
    assert!(bytes(span, |is_callees| is_callees) <= limits.total / 2);
}

/// What counts towards the limit on bytes in all, as the documentation of `SpanLimits` has it, of those
/// authors that `whose` takes.
fn bytes(span: &SpanRecord, whose: impl Fn(bool) -> bool) -> usize {
    let is_callees = |key| span.set_by_callee().iter().any(|own| own == key);
    let attributes = span.attributes().iter();
    let attributes = attributes.filter(|attribute| whose(is_callees(&attribute.key)));
    let events = span.events().iter();
    let events = events.filter(|event| whose(event.is_by_callee()));
    attributes
        .map(|attribute| footprint(&attribute.key, &attribute.value))
        .chain(events.map(|event| {
            let attributes = event.attributes().iter();
            32 + event.name().len()
                + attributes
                    .map(|attribute| footprint(&attribute.key, &attribute.value))
                    .sum::<usize>()
        }))
        .sum()
}

fn footprint(key: &str, value: &Value) -> usize {
    let texts = match value {
        Value::TextList(list) => list.len() * 16,
        _ => 0,
    };
    32 + key.len() + value.size() + texts
}
