//! S1 to S8 where other tests leave a gap: after faults, and on two channels.

use capnp::capability::{Client, FromClientHook};
use capspan::trace::{
    Channel, LinkRecord, MemoryObserver, Outcome, SpanKind, SpanRecord, SpanStatus, SpanUpdate,
    Tracer,
};
use capspan_testkit::service::{Pair, Place, at, everywhere};
use capspan_testkit::story;
use capspan_testkit::testkit_capnp::thing;

fn connected(test: impl AsyncFn(Place)) {
    at(Place::CONNECTED, test);
}

/// Opens a session, and makes a call on it.
async fn opened(pair: &Pair) -> (thing::Client, capspan::session::SessionHandle) {
    let (thing, handle) = pair.open().into_parts();
    thing.number_request().send().promise.await.unwrap();
    (thing, handle)
}

/// Loses the connection.
async fn lose(pair: &Pair) {
    pair.cut();
    pair.settle().await;
}

#[test]
fn s1_after_a_lost_connection_changes_are_refused_and_counted_and_nothing_closes_twice() {
    connected(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = opened(&pair).await;
        let event = pair.event();
        let work = event.parent().start("work", SpanKind::Internal);
        lose(&pair).await;
        let closed = pair.spans.closed();
        event.update(&SpanUpdate::new().name("late").attribute("late", 1));
        event.enricher().set_attribute("late", 1);
        // A service's own span is its own.
        work.set_attribute("mine", 1);
        work.end();
        work.set_attribute("late", 1);
        work.end();
        assert_eq!(work.dropped().late_updates, 1);
        pair.settle().await;
        let session = pair.spans.named("session").unwrap();
        assert_eq!(session.name(), "session");
        let keys: Vec<_> = session.attributes().iter().map(|own| &*own.key).collect();
        assert_eq!(keys, ["error.type"]);
        assert_eq!(pair.spans.closed().len(), closed.len() + 1);
        drop((thing, handle, event, work));
        pair.finish().await;
    });
}

#[test]
fn s2_after_a_fault_the_outcome_says_which() {
    everywhere(async |place| {
        for (fault, outcome) in [
            ("error", Outcome::Exception),
            ("panic", Outcome::Exception),
            ("lost", Outcome::Disconnected),
        ] {
            if fault == "lost" && place == Place::InProcess {
                continue;
            }
            let pair = Pair::serving(place, move |_, world| async move {
                match fault {
                    "error" => Err(capnp::Error::failed("as it was asked to".into())),
                    "panic" => std::panic::resume_unwind(Box::new("on purpose")),
                    _ => Ok(Client::new(world.thing().into_client_hook())),
                }
            });
            let (thing, handle) = pair.open().into_parts();
            pair.settle().await;
            if fault == "lost" {
                lose(&pair).await;
            }
            for name in ["open", "session"] {
                let span = pair.spans.named(name).unwrap();
                assert_eq!(span.outcome(), Some(outcome), "{fault}: {name}");
                assert!(matches!(span.status(), SpanStatus::Error(_)));
            }
            drop((thing, handle));
            pair.finish().await;
        }
    });
}

/// Who is whose parent, and in which trace.
fn is_child(child: &SpanRecord, parent: &SpanRecord) -> bool {
    child.parent_span_id() == Some(parent.span_id()) && child.trace_id() == parent.trace_id()
}

#[test]
fn s3_after_a_lost_connection_spans_have_the_parents_that_they_had() {
    connected(async |place| {
        for joins_trace in [true, false] {
            let pair = Pair::configured(place, |callee| callee.propagation(joins_trace));
            let (thing, handle) = opened(&pair).await;
            lose(&pair).await;
            // Opened when nobody is there any more: a child of the request as well.
            drop(
                pair.pipeline
                    .event("late")
                    .parent(pair.request.parent())
                    .open_session::<thing::Client>(),
            );
            pair.request.end();
            pair.settle().await;
            let [request, open, late, session] =
                ["request", "open", "late", "session"].map(|name| pair.spans.named(name).unwrap());
            assert!(is_child(&open, &request) && is_child(&late, &request));
            assert_eq!(is_child(&session, &open), joins_trace);
            if !joins_trace {
                let links: Vec<_> = session.links().iter().map(LinkRecord::span_id).collect();
                assert_eq!(links, [open.span_id()]);
                assert_ne!(session.trace_id(), open.trace_id());
            }
            drop((thing, handle));
            pair.finish().await;
        }
    });
}

#[test]
fn s4_after_faults_the_trees_are_the_same_in_process_and_over_a_connection() {
    for fault in ["error", "panic", "canceled", "call"] {
        let trees = std::cell::RefCell::new(Vec::new());
        everywhere(async |place| {
            let pair = Pair::serving(place, move |event, world| async move {
                let _work = event.parent().start("work", SpanKind::Internal);
                match fault {
                    "error" => Err(capnp::Error::failed("as it was asked to".into())),
                    "panic" => std::panic::resume_unwind(Box::new("on purpose")),
                    "canceled" => std::future::pending().await,
                    _ => Ok(Client::new(world.thing().into_client_hook())),
                }
            });
            let (thing, handle) = pair.open().into_parts();
            assert!(
                matches!(fault, "canceled") || {
                    let call = thing.fail_request().send().promise.await;
                    call.is_err()
                }
            );
            pair.settle().await;
            match fault {
                "call" => drop((thing, handle)),
                _ => drop((handle, thing)),
            }
            pair.request.end();
            pair.settle().await;
            trees.borrow_mut().push(pair.tree());
            pair.finish().await;
        });
        let trees = trees.into_inner();
        assert!(
            trees[0].contains("work INTERNAL callee closed"),
            "{}",
            trees[0]
        );
        assert!(
            trees.iter().all(|tree| *tree == trees[0]),
            "{fault}: {trees:?}"
        );
    }
}

/// A session that is observed on both channels, by an observer each.
async fn on_two_channels(place: Place, is_lost: bool) {
    let internal = MemoryObserver::new();
    let operator = |service| {
        let tracer = Tracer::new(internal.clone()).with_channel(Channel::Internal);
        tracer.with_service(service)
    };
    let pair = Pair::configured(place, |callee| callee.internal_tracer(operator("callee")));
    let operation = operator("caller")
        .root()
        .start("operation", SpanKind::Internal);
    let event = pair.pipeline.event("open").parent(pair.request.parent());
    let event = event.internal_parent(operation.parent());
    let (thing, handle) = event.open_session::<thing::Client>().into_parts();
    thing.number_request().send().promise.await.unwrap();
    let event = pair.event();
    event.update(&SpanUpdate::new().attribute("tenant", 1));
    event.update_internal(&SpanUpdate::new().attribute("operator", 1));
    let parents = event.parents();
    drop(parents.internal.start("operator's", SpanKind::Internal));
    drop(parents.user.start("tenant's", SpanKind::Internal));
    match is_lost {
        true => lose(&pair).await,
        false => drop(thing.clone()),
    }
    drop(thing);
    pair.settle().await;
    operation.end();
    pair.request.end();
    let outcome = match is_lost {
        true => "disconnected",
        false => "ok",
    };
    let user = format!(
        "request INTERNAL caller closed\n  open CLIENT caller {outcome}\n    \
         session SERVER callee {outcome}\n      tenant's INTERNAL callee closed\n"
    );
    let operators = format!(
        "operation INTERNAL caller closed internal\n  open CLIENT caller {outcome} internal\n    \
         session SERVER callee {outcome} internal\n      operator's INTERNAL callee closed internal\n"
    );
    assert_eq!(pair.tree(), user);
    assert_eq!(story::tree(&internal), operators);
    story::assert_closed_once(&internal);
    for (spans, key) in [(&pair.spans, "tenant"), (&internal, "operator")] {
        let session = spans.named("session").unwrap();
        let attributes = session.attributes().iter();
        let mut keys: Vec<_> = attributes.map(|own| &*own.key).collect();
        // How it ended is for both.
        keys.retain(|key| *key != "error.type");
        assert_eq!(keys, [key]);
    }
    let traces = [&pair.spans, &internal].map(|spans| spans.named("open").unwrap().trace_id());
    assert_ne!(traces[0], traces[1]);
    drop((handle, event, operation));
    pair.finish().await;
}

#[test]
fn s5_two_channels_travel_side_by_side_and_never_mix() {
    everywhere(async |place| on_two_channels(place, false).await);
}

#[test]
fn s5_after_a_lost_connection_each_channel_has_its_own_spans_closed() {
    connected(async |place| on_two_channels(place, true).await);
}

#[test]
fn s6_after_a_lost_connection_with_nobody_to_see_no_id_was_drawn_and_nothing_stays() {
    connected(async |place| {
        let pair = Pair::configured(place, |callee| callee.tracer(Tracer::unobserved()));
        let drawn = pair.caller_ids.drawn();
        let session = pair.pipeline.open_session::<thing::Client>("open");
        let (thing, handle) = session.into_parts();
        let call = thing.never_request().send().promise;
        let done = handle.done();
        pair.settle().await;
        lose(&pair).await;
        let error = call.await.err().unwrap();
        assert_eq!(error.kind, capnp::ErrorKind::Disconnected, "{error}");
        assert!(done.await.unwrap_err().is_disconnected());
        assert_eq!(pair.world.live(), 0);
        assert_eq!(pair.caller_ids.drawn(), drawn);
        assert_eq!(pair.callee_ids.drawn(), 0);
        assert_eq!(pair.tree(), "request INTERNAL caller open\n");
        drop((thing, handle));
        pair.finish().await;
    });
}

#[test]
fn s7_after_a_lost_connection_done_fails_whenever_it_is_asked_and_dropping_changes_nothing() {
    connected(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = opened(&pair).await;
        let before = handle.done();
        lose(&pair).await;
        assert!(before.await.unwrap_err().is_disconnected());
        assert!(handle.done().await.unwrap_err().is_disconnected());
        let closed = pair.spans.closed();
        drop(handle);
        pair.settle().await;
        assert_eq!(pair.spans.closed().len(), closed.len());
        let open = pair.spans.named("open").unwrap();
        assert_eq!(open.outcome(), Some(Outcome::Disconnected));
        drop(thing);
        pair.finish().await;
    });
}

#[test]
fn s8_in_process_a_future_that_is_dropped_closes_what_it_has_open() {
    at([Place::InProcess], async |place| {
        let pair = Pair::new(place);
        let (tasks, spans) = (pair.pipeline.clone(), pair.spans.clone());
        let parent = pair.request.parent();
        let work = tokio::task::spawn_local(async move {
            let event = tasks.event("open").parent(parent);
            let session = event.open_session::<thing::Client>();
            let never = session.top_level().never_request().send().promise.await;
            drop((never, session));
        });
        pair.settle().await;
        assert_eq!(spans.open().len(), 3);
        work.abort();
        pair.settle().await;
        // Its capabilities went before its handle: it no longer wanted anything.
        for name in ["open", "session"] {
            let span = spans.named(name).unwrap();
            assert_eq!(span.outcome(), Some(Outcome::Ok), "{name}");
        }
        drop((work, spans));
        pair.finish().await;
    });
}
