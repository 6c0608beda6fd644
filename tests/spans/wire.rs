//! Values as they go onto the wire and come off it, from honest peers and others.

use capnp::message::{Builder, HeapAllocator, ReaderOptions, SegmentArray};
use capnp::text;
use capspan::trace::{
    Attribute, NoopObserver, SpanContext, SpanEvent, SpanKind, SpanStatus, SpanUpdate, Timestamp,
    TraceFlags, Tracer, Value,
};
use capspan::trace_capnp::{span_context, span_update};
use capspan::wire::{ReceivedUpdate, read_context, read_update, write_context, write_update};

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

type Message = Builder<HeapAllocator>;

/// What is read of an update that `write` has written.
fn received(write: impl FnOnce(span_update::Builder<'_>)) -> ReceivedUpdate {
    let mut message = Message::new_default();
    write(message.init_root());
    read_update(message.get_root_as_reader().unwrap())
}

/// What is read of a context that `write` has written.
fn received_context(write: impl FnOnce(span_context::Builder<'_>)) -> Option<SpanContext> {
    let mut message = Message::new_default();
    write(message.init_root());
    read_context(message.get_root_as_reader().unwrap())
}

fn sent(update: &SpanUpdate) -> ReceivedUpdate {
    received(|to| write_update(update, to))
}

fn sent_context(context: &SpanContext) -> Option<SpanContext> {
    received_context(|to| write_context(context, to))
}

/// A context of which all is written but what `change` changes.
fn changed_context(change: impl FnOnce(span_context::Builder<'_>)) -> Option<SpanContext> {
    let context = SpanContext::from_headers(TRACEPARENT, Some("a=b")).unwrap();
    received_context(|mut to| {
        write_context(&context, to.reborrow());
        change(to);
    })
}

#[test]
fn an_update_with_every_kind_of_value_arrives() {
    let values: [Value; 16] = [
        "text".into(),
        "".into(),
        "é🦀\0".into(),
        true.into(),
        i64::MIN.into(),
        i64::MAX.into(),
        (-0.0_f64).into(),
        f64::INFINITY.into(),
        ["a", "", "ü"].into(),
        Value::TextList(vec![]),
        [true, false, true].into(),
        Value::BoolList(vec![]),
        [i64::MIN, 0, i64::MAX].into(),
        Value::IntList(vec![]),
        [0.5, f64::NEG_INFINITY].into(),
        Value::FloatList(vec![]),
    ];
    let mut event = SpanEvent::new("event").at(Timestamp::from_unix_nanos(u64::MAX));
    let mut update = SpanUpdate::new().name("name").event("now");
    for (index, value) in values.into_iter().enumerate() {
        event = event.attribute(format!("event.{index}"), value.clone());
        update = update.attribute(format!("span.{index}"), value);
    }
    let update = update.event(event);
    for status in [
        SpanStatus::Ok,
        SpanStatus::error(""),
        SpanStatus::error("why"),
    ] {
        let update = update.clone().status(status);
        let received = sent(&update);
        assert_eq!(received.update, update);
        assert!(received.dropped.is_empty());
    }
}

#[test]
fn an_update_that_changes_nothing_arrives_as_such() {
    for update in [
        SpanUpdate::new(),
        SpanUpdate::new().name("").status(SpanStatus::Unset),
    ] {
        assert_eq!(sent(&update), ReceivedUpdate::default());
    }
}

#[test]
fn a_key_that_stands_twice_arrives_twice() {
    let mut update = SpanUpdate::new().attribute("k", 1);
    update.attributes.push(Attribute::new("k", 2));
    assert_eq!(sent(&update).update, update);
}

#[test]
fn nan_arrives_bit_by_bit() {
    let odd = f64::from_bits(0x7ff8_0000_dead_beef);
    let received = sent(
        &SpanUpdate::new()
            .attribute("one", odd)
            .attribute("list", [odd, 1.0]),
    );
    let [one, list] = &received.update.attributes[..] else {
        panic!("two attributes")
    };
    let (Value::Float(one), Value::FloatList(list)) = (&one.value, &list.value) else {
        panic!("numbers")
    };
    assert_eq!([one.to_bits(), list[0].to_bits()], [odd.to_bits(); 2]);
    assert_eq!(list[1], 1.0);
}

#[test]
fn a_context_arrives_with_its_flags_set_or_not() {
    let context = SpanContext::from_headers(TRACEPARENT, Some("a=1,b=2")).unwrap();
    for flags in [None, Some(0), Some(1), Some(3), Some(0xff)] {
        let context = context.clone().with_flags(flags.map(TraceFlags::from_u8));
        assert_eq!(sent_context(&context), Some(context));
    }
    let bare = SpanContext::new(context.trace_id(), context.span_id());
    assert_eq!(sent_context(&bare), Some(bare));
}

#[test]
fn the_halves_of_a_trace_id_are_big_endian() {
    let mut message = Message::new_default();
    let context = SpanContext::from_headers(TRACEPARENT, None).unwrap();
    write_context(&context, message.init_root());
    let written: span_context::Reader<'_> = message.get_root_as_reader().unwrap();
    let trace_id = written.get_trace_id().unwrap();
    assert_eq!(trace_id.get_high(), 0x4bf9_2f35_77b3_4da6);
    assert_eq!(trace_id.get_low(), 0xa3ce_929d_0e0e_4736);
    assert_eq!(written.get_span_id(), 0x00f0_67aa_0ba9_02b7);
}

#[test]
fn a_context_without_an_id_is_none() {
    assert!(changed_context(|_| {}).is_some());
    assert_eq!(received_context(|_| {}), None);
    assert_eq!(changed_context(|mut to| to.set_span_id(0)), None);
    let no_trace_id = changed_context(|to| {
        to.init_trace_id();
    });
    assert_eq!(no_trace_id, None);
    let half_a_trace_id = changed_context(|to| to.init_trace_id().set_low(1));
    assert!(half_a_trace_id.is_some());
}

#[test]
fn a_trace_state_that_cant_be_read_is_left_out_alone() {
    for bad in [&b"\xff=1"[..], b"FOO=1", b"no member", b"a=\n"] {
        let context = changed_context(|mut to| to.set_trace_state(text::Reader(bad)));
        let context = context.unwrap();
        assert!(context.trace_state().is_empty());
        assert_eq!(context.to_traceparent(), TRACEPARENT);
    }
}

#[test]
fn a_status_that_is_not_known_is_refused_and_counted() {
    let mut message = Message::new_default();
    write_update(&SpanUpdate::new().name("x"), message.init_root());
    let mut bytes = capnp::serialize::write_message_to_words(&message);
    // After the table of segments and the root pointer, the first two bytes of the struct.
    bytes[16..18].copy_from_slice(&7_u16.to_le_bytes());
    let read =
        capnp::serialize::read_message_from_flat_slice(&mut &bytes[..], ReaderOptions::new());
    let received = read_update(read.unwrap().get_root().unwrap());
    assert_eq!(received.update, SpanUpdate::new().name("x"));
    assert_eq!(received.dropped.refused, 1);
}

#[test]
fn flags_and_values_of_a_kind_that_is_not_known_are_left_out() {
    let mut message = Message::new_default();
    let context = SpanContext::from_headers(TRACEPARENT, None).unwrap();
    write_context(&context, message.init_root());
    let mut bytes = capnp::serialize::write_message_to_words(&message);
    // The discriminant stands after the span id.
    bytes[24..26].copy_from_slice(&7_u16.to_le_bytes());
    let read =
        capnp::serialize::read_message_from_flat_slice(&mut &bytes[..], ReaderOptions::new());
    let read = read_context(read.unwrap().get_root().unwrap());
    assert_eq!(read, Some(context.with_flags(None)));

    let mut message = Message::new_default();
    let update = SpanUpdate::new().attribute("k", true).attribute("l", true);
    write_update(&update, message.init_root());
    let mut bytes = capnp::serialize::write_message_to_words(&message);
    // The discriminant for it and true, of the first value.
    let place = bytes
        .windows(4)
        .position(|word| word == [1, 0, 1, 0])
        .unwrap();
    bytes[place] = 99;
    let read =
        capnp::serialize::read_message_from_flat_slice(&mut &bytes[..], ReaderOptions::new());
    let received = read_update(read.unwrap().get_root().unwrap());
    assert_eq!(received.update, SpanUpdate::new().attribute("l", true));
    assert_eq!(received.dropped.attributes, 1);
}

#[test]
fn texts_that_are_no_utf8_are_dropped_and_counted_where_they_stand() {
    let bad = || text::Reader(b"a\xff");
    let received = received(|mut to| {
        to.set_name(bad());
        let mut list = to.reborrow().init_attributes(4);
        list.reborrow().get(0).set_key(bad());
        let mut text = list.reborrow().get(1);
        text.set_key("text");
        text.init_value().set_text(bad());
        let mut texts = list.reborrow().get(2);
        texts.set_key("texts");
        texts.init_value().init_text_list(2).set(1, bad());
        list.get(3).set_key("null");
        let mut events = to.reborrow().init_events(2);
        events.reborrow().get(0).set_name(bad());
        let mut event = events.get(1);
        event.set_name("event");
        event.init_attributes(1).get(0).set_key(bad());
        to.set_status(capspan::trace_capnp::SpanStatus::Error);
        to.set_status_message(bad());
    });
    let wanted = SpanUpdate::new().attribute("null", "").event("event");
    assert_eq!(received.update, wanted.status(SpanStatus::error("")));
    let dropped = received.dropped;
    assert_eq!(
        (dropped.cut_names, dropped.attributes, dropped.events),
        (1, 3, 1)
    );
    assert_eq!((dropped.event_attributes, dropped.cut_values), (1, 1));
}

#[test]
fn what_has_no_name_is_refused_by_the_span_whichever_way_it_came() {
    let received = received(|mut to| {
        to.reborrow().init_attributes(3);
        to.init_events(2);
    });
    assert!(received.dropped.is_empty());
    let span = Tracer::new(NoopObserver)
        .root()
        .start("span", SpanKind::Client);
    span.downgrade().enrich(&received.update);
    let dropped = span.dropped();
    assert_eq!((dropped.invalid_keys, dropped.events), (3, 2));
}

#[test]
fn of_a_long_list_1024_elements_are_looked_at() {
    let received = received(|mut to| {
        let mut attributes = to.reborrow().init_attributes(3000);
        for index in 0..3000 {
            attributes
                .reborrow()
                .get(index)
                .set_key(format!("k{index}"));
        }
        let value = attributes.get(0).init_value();
        value.init_int64_list(1025).set(1024, 1);
        let mut events = to.reborrow().init_events(2000);
        for index in 0..2000 {
            events.reborrow().get(index).set_name("e");
        }
        let mut list = events.get(0).init_attributes(1030);
        for index in 0..1030 {
            list.reborrow().get(index).set_key("k");
        }
    });
    let (update, dropped) = (received.update, received.dropped);
    assert_eq!(
        (update.attributes.len(), dropped.attributes),
        (1024, 3000 - 1024)
    );
    assert_eq!((update.events.len(), dropped.events), (1024, 2000 - 1024));
    assert_eq!(
        (update.events[0].attributes.len(), dropped.event_attributes),
        (1024, 6)
    );
    assert_eq!(update.attributes[0].value, Value::IntList(vec![0; 1024]));
    assert_eq!(dropped.cut_values, 1);
}

#[test]
fn of_a_long_list_of_any_kind_1024_elements_are_looked_at() {
    let received = received(|to| {
        let mut list = to.init_attributes(4);
        for index in 0..4 {
            let mut attribute = list.reborrow().get(index);
            attribute.set_key(format!("k{index}"));
            let value = attribute.init_value();
            match index {
                0 => drop(value.init_text_list(1025)),
                1 => drop(value.init_bool_list(1025)),
                2 => drop(value.init_int64_list(1025)),
                _ => drop(value.init_float64_list(1025)),
            }
        }
    });
    let sizes = received
        .update
        .attributes
        .iter()
        .map(|attribute| attribute.value.size());
    assert_eq!(sizes.collect::<Vec<_>>(), [1024, 1024, 8 * 1024, 8 * 1024]);
    assert_eq!(received.dropped.cut_values, 4);
}

#[test]
fn a_list_of_ours_that_is_too_long_is_cut_where_it_is_sent() {
    let mut update = SpanUpdate::new()
        .attribute("list", vec![1_i64; 5000])
        .attribute("texts", vec!["x"; 1025]);
    update
        .attributes
        .extend((0..5000).map(|_| Attribute::new("k", vec!["x"; 1])));
    update.events.extend((0..5000).map(|_| SpanEvent::new("e")));
    let received = sent(&update);
    assert_eq!(received.update.attributes.len(), 1024);
    assert_eq!(received.update.events.len(), 1024);
    assert_eq!(
        received.update.attributes[0].value,
        vec![1_i64; 1024].into()
    );
    assert_eq!(received.update.attributes[1].value, vec!["x"; 1024].into());
    let beyond = 5002 - 1024 + 5000 - 1024 + 2;
    assert_eq!(received.dropped.unsent, beyond);
}

#[test]
fn a_text_of_ours_is_cut_to_64_kib_at_a_character() {
    let long = format!("a{}", "é".repeat(40_000));
    let cut = &long[..64 * 1024 - 1];
    let update = SpanUpdate::new()
        .name(&*long)
        .attribute(&*long, &*long)
        .attribute("list", [&*long, "short"])
        .event(&*long)
        .status(SpanStatus::error(&*long));
    let wanted = SpanUpdate::new()
        .name(cut)
        .attribute(cut, cut)
        .attribute("list", [cut, "short"])
        .event(cut)
        .status(SpanStatus::error(cut));
    assert_eq!(sent(&update).update, wanted);
}

#[test]
fn a_name_of_10_mb_is_read_as_it_is() {
    let long = "n".repeat(10_000_000);
    let received = received(|mut to| to.set_name(&long));
    assert_eq!(received.update.name.as_deref(), Some(&*long));
}

#[test]
fn a_message_larger_than_the_reader_may_read_is_counted_and_no_error() {
    let mut message = Message::new_default();
    let mut update = SpanUpdate::new()
        .name("n".repeat(1000))
        .event("e".repeat(1000));
    update = update
        .attribute("a".repeat(1000), 1)
        .status(SpanStatus::error("x".repeat(1000)));
    write_update(&update, message.init_root());
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(Some(150));
    let segments = message.get_segments_for_output();
    let read = capnp::message::Reader::new(SegmentArray::new(&segments), options);
    let received = read_update(read.get_root().unwrap());
    let wanted = SpanUpdate::new().name("n".repeat(1000));
    assert_eq!(received.update, wanted.status(SpanStatus::error("")));
    let dropped = received.dropped;
    assert_eq!(
        (dropped.attributes, dropped.events, dropped.cut_values),
        (1, 1, 1)
    );
}
