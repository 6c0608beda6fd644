//! What callees write arrives as it is, by whatever way; what can't be read is counted, and harms nothing
//! else.

use capspan::enrich::export;
use capspan::pipeline_capnp::span_enricher;
use capspan::trace::{
    EnrichStatus, NoopObserver, SpanEvent, SpanKind, SpanRecord, SpanStatus, SpanUpdate, Timestamp,
    Tracer, Value,
};
use capspan::wire;
use capspan_testkit::run::run;
use capspan_testkit::service::{Pair, everywhere};

/// The caller's session span after the callee has written this.
fn written(update: &SpanUpdate, check: impl Fn(&SpanRecord)) {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        thing.number_request().send().promise.await.unwrap();
        let event = pair.event();
        event.enricher().update(update.clone());
        let flushed = event.enricher().flush().await;
        assert_eq!(flushed, Ok(EnrichStatus::Applied));
        let open = pair.spans.open();
        check(open.iter().find(|span| span.name() != "request").unwrap());
        drop((thing, handle, event));
        pair.finish().await;
    });
}

#[test]
fn e4_a_value_of_any_kind_arrives() {
    let values: [Value; 12] = [
        "text".into(),
        "".into(),
        "\0\n\u{1b}[31m\u{7f}\u{202e}é🦀".into(),
        true.into(),
        i64::MIN.into(),
        0.5.into(),
        f64::INFINITY.into(),
        ["a", "", "ü"].into(),
        [true, false].into(),
        [i64::MIN, i64::MAX].into(),
        [f64::NEG_INFINITY, -0.0].into(),
        Value::TextList(vec![]),
    ];
    let mut event = SpanEvent::new("event");
    let mut update = SpanUpdate::new();
    for (index, value) in values.iter().enumerate() {
        update = update.attribute(format!("k{index}"), value.clone());
        event = event.attribute(format!("k{index}"), value.clone());
    }
    written(&update.event(event), |span| {
        for attributes in [span.attributes(), span.events()[0].attributes()] {
            let seen: Vec<_> = attributes.iter().map(|known| &known.value).collect();
            assert_eq!(seen, values.iter().collect::<Vec<_>>());
        }
        assert!(span.dropped().is_empty());
    });
}

#[test]
fn e4_nan_keeps_its_bits() {
    let odd = f64::from_bits(0x7ff8_0000_dead_beef);
    let update = SpanUpdate::new()
        .attribute("one", odd)
        .attribute("list", [odd]);
    written(&update, |span| {
        let Some(Value::Float(one)) = span.attributes().get("one") else {
            panic!("a number")
        };
        let Some(Value::FloatList(list)) = span.attributes().get("list") else {
            panic!("numbers")
        };
        assert_eq!([one.to_bits(), list[0].to_bits()], [odd.to_bits(); 2]);
    });
}

#[test]
fn an_event_keeps_its_time_whatever_it_is() {
    let at = |nanos| SpanEvent::new("e").at(Timestamp::from_unix_nanos(nanos));
    let update = SpanUpdate::new()
        .event(at(1))
        .event(at(u64::MAX))
        .event("now");
    written(&update, |span| {
        let times = span.events().iter().map(|event| event.time().unix_nanos());
        assert_eq!(times.collect::<Vec<_>>(), [1, u64::MAX, 1_000]);
    });
}

#[test]
fn control_characters_are_kept_in_names_and_keys() {
    let odd = "\0\n\u{1b}[2J\u{202e}";
    let update = SpanUpdate::new()
        .name(odd)
        .attribute(odd, 1)
        .event(odd)
        .status(SpanStatus::error(odd));
    written(&update, |span| {
        assert_eq!((span.name(), span.events()[0].name()), (odd, odd));
        assert_eq!(span.attributes().get(odd), Some(&1.into()));
        assert_eq!(*span.status(), SpanStatus::error(odd));
        assert!(span.dropped().is_empty());
    });
}

/// What is counted on a span when `write` has written an update by the bare capability.
fn received(
    write: impl FnOnce(capspan::trace_capnp::span_update::Builder<'_>),
    check: impl FnOnce(&SpanRecord),
) {
    run(async {
        let spans = capspan::trace::MemoryObserver::new();
        let span = Tracer::new(spans.clone())
            .root()
            .start("span", SpanKind::Client);
        let enricher: span_enricher::Client = export(span.downgrade());
        let mut request = enricher.enrich_request();
        write(request.get().init_update());
        let answer = request.send().promise.await.unwrap();
        let status = answer.get().unwrap().get_result().unwrap().get_status();
        assert_eq!(status, Ok(capspan::trace_capnp::EnrichStatus::Applied));
        assert_eq!(spans.log().len(), 2, "told once");
        check(&spans.open()[0]);
    });
}

#[test]
fn e6_text_that_is_no_utf8_is_counted_and_the_rest_is_written() {
    let bad = || capnp::text::Reader(b"\xff\xfe");
    received(
        |mut to| {
            to.set_name(bad());
            let mut attributes = to.reborrow().init_attributes(3);
            attributes.reborrow().get(0).set_key(bad());
            let mut attribute = attributes.reborrow().get(1);
            attribute.set_key("value");
            attribute.init_value().set_text(bad());
            let mut attribute = attributes.get(2);
            attribute.set_key("good");
            attribute.init_value().set_bool(true);
            let mut events = to.reborrow().init_events(2);
            events.reborrow().get(0).set_name(bad());
            let mut event = events.get(1);
            event.set_name("good");
            event.init_attributes(1).get(0).set_key(bad());
            to.reborrow().init_links(2);
            to.set_status(capspan::trace_capnp::SpanStatus::Error);
            to.set_status_message(bad());
        },
        |span| {
            assert_eq!(span.name(), "span");
            assert_eq!(span.set_by_callee(), ["good".into()]);
            assert_eq!((span.events().len(), span.links().len()), (1, 0));
            assert_eq!(*span.status(), SpanStatus::error(""));
            let dropped = span.dropped();
            assert_eq!((dropped.cut_names, dropped.attributes), (1, 2));
            assert_eq!((dropped.events, dropped.event_attributes), (1, 1));
            assert_eq!((dropped.links, dropped.cut_values), (2, 1));
        },
    );
}

#[test]
fn e6_an_update_of_which_nothing_can_be_read_is_counted_and_told() {
    received(
        |mut to| to.set_name(capnp::text::Reader(b"\xff")),
        |span| assert_eq!(span.dropped().cut_names, 1),
    );
}

#[test]
fn e6_what_the_callee_could_not_send_is_on_the_span() {
    received(
        |mut to| to.set_unsent(7),
        |span| assert_eq!(span.dropped().unsent, 7),
    );
}

#[test]
fn e6_an_update_that_no_message_can_hold_is_sent_in_part() {
    // 1024 texts of 64 KiB each are 64 MiB, of which a peer reads no message.
    let texts = vec!["x".repeat(70_000); 1024];
    let mut update = SpanUpdate::new().attribute("too much", texts);
    for index in 0..40 {
        update = update.attribute(format!("k{index}"), "x".repeat(70_000));
    }
    let update = update.attribute("small", 1);
    let mut message = capnp::message::Builder::new_default();
    wire::write_update(&update, message.init_root());
    let words = message.size_in_words();
    assert!(words * 8 < 1_200_000, "{words} words");
    let received = wire::read_update(message.get_root_as_reader().unwrap());
    let span = Tracer::new(NoopObserver)
        .root()
        .start("span", SpanKind::Client);
    span.downgrade().enrich(&received.update);
    // The one that is too large, those beyond 1 MiB, and those that were cut.
    let whole = received.update.attributes.len();
    assert_eq!(whole, 16);
    let left_out = 42 - whole + 15;
    assert_eq!(received.dropped.unsent as usize, left_out);
    assert_eq!(&*received.update.attributes[whole - 1].key, "small");
}
