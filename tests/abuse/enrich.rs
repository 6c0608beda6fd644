//! A hostile callee against our caller: what it can write to the caller's span, and what it can not.

use capnp::capability::{Client, FromClientHook};
use capspan::pipeline_capnp::span_enricher;
use capspan::session::Session;
use capspan::trace::{
    MemoryObserver, Outcome, SpanBuilder, SpanKind, SpanLimits, SpanRecord, SpanStatus, Timestamp,
    Tracer, Value,
};
use capspan::trace_capnp::{self, span_update};
use capspan_testkit::abuse::Keeper;
use capspan_testkit::link::{closable, direct};
use capspan_testkit::run::until_idle;
use capspan_testkit::service::{Place, at, everywhere};
use capspan_testkit::testkit_capnp::thing;

/// Our caller, and a callee of which it has opened a session.
struct Scene {
    keeper: Keeper,
    spans: MemoryObserver,
    tracer: Tracer,
    request: SpanBuilder,
    session: Session<thing::Client>,
}

impl Scene {
    async fn new(place: Place) -> Self {
        let (keeper, spans) = (Keeper::default(), MemoryObserver::new());
        let tracer = Tracer::new(spans.clone()).with_service("caller");
        let request = tracer.root().start("request", SpanKind::Internal);
        let event = keeper.pipeline(place);
        let event = event.event("open").parent(request.parent());
        let session = event.open_session();
        until_idle().await;
        Self {
            keeper,
            spans,
            tracer,
            request,
            session,
        }
    }

    /// The span that the callee may write to.
    fn span(&self) -> SpanRecord {
        let mut all = self.spans.open();
        all.extend(self.spans.closed());
        let request = self.request.context().map(|context| context.span_id());
        let mut found = all
            .into_iter()
            .filter(|span| span.parent_span_id() == request);
        found.next().expect("the session's span")
    }

    /// Ends the session, and all that is left is the keeper's.
    async fn end(self) -> (Keeper, MemoryObserver, Tracer) {
        let Self {
            keeper,
            spans,
            tracer,
            request,
            session,
        } = self;
        let (thing, handle) = session.into_parts();
        drop(thing);
        until_idle().await;
        drop((handle, request));
        until_idle().await;
        assert!(spans.open().is_empty());
        (keeper, spans, tracer)
    }
}

/// Sends one update; tells what became of it.
async fn enrich(
    enricher: &span_enricher::Client,
    write: impl FnOnce(span_update::Builder<'_>),
) -> capnp::Result<trace_capnp::EnrichStatus> {
    let mut request = enricher.enrich_request();
    write(request.get().init_update());
    let response = request.send().promise.await?;
    Ok(response.get()?.get_result()?.get_status()?)
}

fn set_attribute(update: span_update::Builder<'_>, key: &str, value: &str) {
    let mut attribute = update.init_attributes(1).get(0);
    attribute.set_key(key);
    attribute.init_value().set_text(value);
}

#[test]
fn a_name_of_10_mb_is_cut_to_256_bytes_and_its_length_kept() {
    everywhere(async |place| {
        let scene = Scene::new(place).await;
        let name = "n".repeat(10 << 20);
        let enricher = scene.keeper.enricher();
        enrich(&enricher, |mut update| update.set_name(&name[..]))
            .await
            .unwrap();
        let span = scene.span();
        assert_eq!(span.name(), &name[..256]);
        assert_eq!(span.full_name_bytes(), Some(10 << 20));
        assert_eq!(span.dropped().cut_names, 1);
        scene.end().await;
    });
}

#[test]
fn of_a_million_attributes_64_are_kept_and_the_rest_counted() {
    everywhere(async |place| {
        let scene = Scene::new(place).await;
        let enricher = scene.keeper.enricher();
        let sent = enrich(&enricher, |update| {
            let mut list = update.init_attributes(1_000_000);
            for index in 0..1_000_000 {
                let mut attribute = list.reborrow().get(index);
                if index < 2_000 {
                    attribute.set_key(format!("k{index}").as_str());
                    attribute.init_value().set_bool(true);
                }
            }
        });
        sent.await.unwrap();
        let span = scene.span();
        assert_eq!(span.attributes().len(), 64);
        assert_eq!(span.dropped().attributes, 1_000_000 - 64);
        scene.end().await;
    });
}

#[test]
fn a_flood_of_updates_is_bounded_by_the_spans_limits_and_counted() {
    everywhere(async |place| {
        let scene = Scene::new(place).await;
        let enricher = scene.keeper.enricher();
        for round in 0..100 {
            let sent = (0..200).map(|index| {
                enrich(&enricher, move |mut update| {
                    let mut event = update.reborrow().init_events(1).get(0);
                    event.set_name("flood");
                    set_attribute(update, &format!("{round} {index}"), &"x".repeat(1_000));
                })
            });
            futures::future::try_join_all(sent).await.unwrap();
        }
        let span = scene.span();
        // Half of what a span holds in bytes: 32 KiB, which is less than 64 of each would be.
        let kept = (span.attributes().len(), span.events().len());
        let bytes = kept.0 * 1_032 + kept.1 * 37;
        assert!((31 * 1024..=32 * 1024).contains(&bytes), "{kept:?}");
        let dropped = span.dropped();
        assert_eq!(dropped.attributes as usize, 20_000 - kept.0);
        assert_eq!(dropped.events as usize, 20_000 - kept.1);
        // The owner still has its own half.
        scene.request.set_attribute("mine", 1);
        scene.end().await;
    });
}

#[test]
fn an_update_after_the_end_is_answered_with_it_and_counted() {
    everywhere(async |place| {
        let scene = Scene::new(place).await;
        let (keeper, spans, tracer) = scene.end().await;
        let enricher = keeper.enricher();
        let before = spans.log();
        for _ in 0..1_000 {
            let late = enrich(&enricher, |update| set_attribute(update, "late", "x")).await;
            assert!(matches!(late, Ok(trace_capnp::EnrichStatus::SpanEnded)));
        }
        assert_eq!(spans.log(), before, "nobody is told");
        assert_eq!(tracer.late_updates(), 1_000);
    });
}

#[test]
fn an_enricher_that_is_kept_for_ever_keeps_neither_span_nor_session() {
    everywhere(async |place| {
        let scene = Scene::new(place).await;
        let kept = scene.keeper.enricher();
        let (keeper, spans, tracer) = scene.end().await;
        // Of its span there is nothing but the record that was told of.
        assert_eq!(spans.named("open").unwrap().outcome(), Some(Outcome::Ok));
        assert_eq!(keeper.world.live(), 0);
        drop(tracer);
        let late = enrich(&kept, |update| set_attribute(update, "late", "x")).await;
        assert!(matches!(late, Ok(trace_capnp::EnrichStatus::SpanEnded)));
        drop(keeper);
    });
}

#[test]
fn an_enricher_in_the_hands_of_a_third_party_can_do_no_more_than_the_callee() {
    at([Place::Connection], async |place| {
        let scene = Scene::new(place).await;
        let bootstrap = Client::new(scene.keeper.enricher().into_client_hook());
        let (third, connection) = closable::<span_enricher::Client>(direct(), bootstrap);
        let write = |update: span_update::Builder<'_>| set_attribute(update, "third", "x");
        let early = enrich(&third, write).await;
        assert!(matches!(early, Ok(trace_capnp::EnrichStatus::Applied)));
        // It is the callee who answers for it.
        assert_eq!(*scene.span().set_by_callee(), ["third".into()]);
        let reserved = enrich(&third, |update| set_attribute(update, "service.name", "x"));
        reserved.await.unwrap();
        assert_eq!(scene.span().dropped().reserved_keys, 1);
        scene.end().await;
        let late = enrich(&third, write).await;
        assert!(matches!(late, Ok(trace_capnp::EnrichStatus::SpanEnded)));
        drop(third);
        connection.await.unwrap();
    });
}

#[test]
fn reserved_keys_and_the_callers_own_are_refused_and_counted() {
    everywhere(async |place| {
        let (keeper, spans) = (Keeper::default(), MemoryObserver::new());
        let tracer = Tracer::new(spans.clone());
        let pipeline = keeper.pipeline(place);
        let event = pipeline.event("run").parent(tracer.root());
        // An event that is one call: its span has attributes of the caller's from the start.
        let run = event.scheduled(&capspan::pipeline::Scheduled::new());
        let run = tokio::task::spawn_local(run);
        until_idle().await;
        let enricher = keeper.enricher();
        let open = || spans.open().into_iter().next().expect("the run's span");
        let own: Vec<_> = open().attributes().iter().cloned().collect();
        let reserved = SpanLimits::default();
        let count = |is_reserved| {
            let of_it = |key: &&str| reserved.is_reserved(key) == is_reserved;
            own.iter().map(|own| &*own.key).filter(of_it).count()
        };
        for own in &own {
            let sent = enrich(&enricher, |update| set_attribute(update, &own.key, "x"));
            assert!(matches!(sent.await, Ok(trace_capnp::EnrichStatus::Applied)));
        }
        let span = open();
        let now: Vec<_> = span.attributes().iter().cloned().collect();
        assert_eq!(now, own);
        let dropped = span.dropped();
        let counted = [dropped.reserved_keys, dropped.protected_keys].map(|count| count as usize);
        assert_eq!(counted, [count(true), count(false)]);
        assert!(counted.iter().all(|count| *count > 0), "{own:?}");
        run.abort();
        until_idle().await;
        assert!(spans.open().is_empty());
    });
}

/// Writes to a list of values of every kind that is odd.
fn odd_values(update: span_update::Builder<'_>) {
    let mut list = update.init_attributes(6);
    let mut set = |index, key: &str| {
        let mut attribute = list.reborrow().get(index);
        attribute.set_key(key);
    };
    for (index, key) in [
        "nan",
        "infinite",
        "control",
        "list",
        "\u{202e}\u{1b}[31m",
        "nul\0",
    ]
    .into_iter()
    .enumerate()
    {
        set(index as u32, key);
    }
    list.reborrow().get(0).init_value().set_float64(f64::NAN);
    list.reborrow()
        .get(1)
        .init_value()
        .set_float64(f64::NEG_INFINITY);
    list.reborrow()
        .get(2)
        .init_value()
        .set_text("a\0b\u{1b}[2J\r\n\u{7f}");
    let mut floats = list.reborrow().get(3).init_value().init_float64_list(2);
    floats.set(0, f64::INFINITY);
    floats.set(1, -0.0);
    list.reborrow().get(4).init_value().set_bool(true);
    list.reborrow().get(5).init_value().set_bool(true);
}

#[test]
fn control_characters_and_numbers_that_are_none_are_kept_and_written_as_json() {
    everywhere(async |place| {
        let scene = Scene::new(place).await;
        enrich(&scene.keeper.enricher(), odd_values).await.unwrap();
        let span = scene.span();
        assert_eq!(span.attributes().len(), 6);
        let control = span.attributes().get("control");
        assert_eq!(control, Some(&Value::from("a\0b\u{1b}[2J\r\n\u{7f}")));
        assert!(span.dropped().is_empty());
        assert_is_one_json_line(&span);
        scene.end().await;
    });
}

#[cfg(not(feature = "json"))]
fn assert_is_one_json_line(_span: &SpanRecord) {}

/// Whoever reads the lines is not to be misled by what is in them.
#[cfg(feature = "json")]
fn assert_is_one_json_line(span: &SpanRecord) {
    use std::rc::Rc;

    use capspan::trace::{JsonLines, Observer};
    let lines = Rc::new(std::cell::RefCell::new(Vec::new()));
    #[derive(Clone)]
    struct Sink(Rc<std::cell::RefCell<Vec<u8>>>);
    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.borrow_mut().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let observer = JsonLines::new(Sink(lines.clone()));
    observer.opened(span);
    observer.closed(span);
    drop(observer);
    let text = String::from_utf8(lines.borrow().clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    // DEL and what turns the direction of a text are left to whoever shows it, as JSON does.
    let raw = |c: char| c < ' ' && c != '\n';
    assert!(!text.contains(raw), "{text:?}");
    let _: serde_json::Value = serde_json::from_str(&text).unwrap();
}

#[test]
fn texts_that_are_none_are_left_out_and_counted() {
    everywhere(async |place| {
        let scene = Scene::new(place).await;
        enrich(&scene.keeper.enricher(), |mut update| {
            let bad: capnp::text::Reader<'_> = b"\xff\xfe"[..].into();
            update.set_name(bad);
            update.set_status(trace_capnp::SpanStatus::Error);
            update.set_status_message(bad);
            update.reborrow().init_events(1).get(0).set_name(bad);
            let mut list = update.init_attributes(2);
            list.reborrow().get(0).set_key(bad);
            let mut value = list.get(1);
            value.set_key("k");
            value.init_value().set_text(bad);
        })
        .await
        .unwrap();
        let span = scene.span();
        assert_eq!(span.name(), "open");
        assert!(span.attributes().is_empty() && span.events().is_empty());
        assert_eq!(*span.status(), SpanStatus::error(""));
        let dropped = span.dropped();
        let counts = (dropped.attributes, dropped.events);
        assert_eq!(
            (counts, dropped.cut_names, dropped.cut_values),
            ((2, 1), 1, 1)
        );
        scene.end().await;
    });
}

#[test]
fn events_may_say_any_time_and_the_spans_own_times_stay() {
    everywhere(async |place| {
        let scene = Scene::new(place).await;
        let before = scene.span();
        enrich(&scene.keeper.enricher(), |update| {
            let mut events = update.init_events(3);
            for (index, time) in [u64::MAX, 1, 0].into_iter().enumerate() {
                let mut event = events.reborrow().get(index as u32);
                event.set_name("when");
                event.set_time_unix_nano(time);
            }
        })
        .await
        .unwrap();
        let span = scene.span();
        let times: Vec<_> = span.events().iter().map(|event| event.time()).collect();
        assert_eq!(times[0], Timestamp::from_unix_nanos(u64::MAX));
        assert_eq!(times[1], Timestamp::from_unix_nanos(1));
        // Without a time it happened now.
        assert!(times[2] >= before.start());
        assert_eq!(span.start(), before.start());
        assert_is_one_json_line(&span);
        scene.end().await;
    });
}
