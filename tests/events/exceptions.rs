//! What an event failed with, on the spans of both sides: written once, as an event with type and message.

use std::rc::Rc;

use capnp::ErrorKind;
use capnp::capability::Client;
use capspan::fetch::Body;
use capspan::pipeline::{Callee, CustomEvent, Event, EventContext, RunResult, Scheduled, Service};
use capspan::trace::{MemoryObserver, Outcome, SpanRecord, SpanStatus, Tracer, Value};
use capspan_testkit::service::{Pair, Place, at, everywhere};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;

/// How a service fails, whatever the event.
#[derive(Clone)]
enum Fails {
    With(ErrorKind, String),
    Panics,
    /// Serves nothing.
    Lacks,
}

struct Failing {
    fails: Fails,
    _alive: Rc<()>,
}

impl Failing {
    async fn fail<T>(&self) -> capnp::Result<T> {
        let (kind, extra) = match &self.fails {
            Fails::With(kind, text) => (*kind, text.clone()),
            Fails::Panics => panic!("on purpose"),
            Fails::Lacks => (ErrorKind::Unimplemented, "not served".into()),
        };
        Err(capnp::Error { kind, extra })
    }
}

impl Service for Failing {
    async fn open_session(self: Rc<Self>, _: EventContext) -> capnp::Result<Client> {
        self.fail().await
    }

    async fn scheduled(self: Rc<Self>, _: Scheduled, _: EventContext) -> capnp::Result<RunResult> {
        self.fail().await
    }

    async fn custom(self: Rc<Self>, _event: CustomEvent, _: EventContext) -> capnp::Result<()> {
        self.fail().await
    }

    async fn fetch(
        self: Rc<Self>,
        _request: http::Request<Body>,
        _: EventContext,
    ) -> capnp::Result<http::Response<Body>> {
        self.fail().await
    }
}

/// Both channels of the callee's are observed: the internal one by what is given.
fn failing(place: Place, fails: &Fails) -> (Pair, MemoryObserver) {
    let internal = MemoryObserver::new();
    let tracer = Tracer::new(internal.clone());
    let service = |alive| Failing {
        fails: fails.clone(),
        _alive: alive,
    };
    let configure = |callee: Callee<Failing>| callee.internal_tracer(tracer);
    let pair = Pair::with_service(place, World::new(), configure, service);
    (pair, internal)
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Session,
    Scheduled,
    Custom,
    Fetch,
}

const KINDS: [Kind; 4] = [Kind::Session, Kind::Scheduled, Kind::Custom, Kind::Fetch];

/// Delivers an event, and says what it fails with.
async fn deliver(event: Event<'_>, kind: Kind) -> String {
    match kind {
        Kind::Session => {
            let (thing, handle) = event.open_session::<thing::Client>().into_parts();
            let error = thing.number_request().send().promise.await.err().unwrap();
            drop((thing, handle));
            error.extra
        }
        Kind::Scheduled => {
            let answer = event.scheduled(&Scheduled::new()).await;
            answer.unwrap_err().to_string()
        }
        Kind::Custom => {
            let answer = event.custom("custom").unwrap().send().0.await;
            answer.err().unwrap().to_string()
        }
        Kind::Fetch => {
            let request = http::Request::new(Body::empty());
            let answer = event.fetch(request).unwrap().await;
            answer.unwrap_err().to_string()
        }
    }
}

/// The type and the message of the one event on `span`, which is an exception.
fn exception(span: &SpanRecord) -> (String, String) {
    let [event] = span.events() else {
        panic!("{} has events {:?}", span.name(), span.events());
    };
    assert_eq!(event.name(), "exception");
    assert_eq!(event.attributes().len(), 2);
    let [kind, message] = ["exception.type", "exception.message"].map(|key| {
        let value = event.attributes().get(key).and_then(Value::as_text);
        value.unwrap().to_owned()
    });
    assert_eq!(
        span.attributes().get("error.type"),
        Some(&kind.clone().into())
    );
    (kind, message)
}

/// The caller's span, and the callee's, of one event.
fn spans(pair: &Pair) -> [SpanRecord; 2] {
    let closed = pair.spans.closed();
    let mut closed = closed.into_iter().filter(|span| span.name() != "request");
    let (one, other) = (closed.next().unwrap(), closed.next().unwrap());
    assert!(closed.next().is_none());
    match one.name() == "deliver" {
        true => [one, other],
        false => [other, one],
    }
}

/// Lets events of each kind fail, and looks at both spans: the type and the outcome on the callee's side
/// and the caller's, and what the callee's message and the caller's end with.
async fn assert_exceptions(
    place: Place,
    fails: Fails,
    types: [&str; 2],
    outcomes: [Outcome; 2],
    messages: [&str; 2],
) {
    for kind in KINDS {
        eprintln!("kind: {kind:?}");
        let (pair, internal) = failing(place, &fails);
        let event = pair.pipeline.event("deliver");
        let error = deliver(event.parent(pair.request.parent()), kind).await;
        assert!(error.contains(messages[1]), "{error}");
        pair.settle().await;
        let [caller, callee] = spans(&pair);
        let [hidden] = &internal.closed()[..] else {
            panic!("{:?}", internal.closed());
        };
        for span in [&callee, hidden] {
            let (kind, message) = exception(span);
            assert_eq!((&*kind, &*message), (types[0], messages[0]));
            assert_eq!(span.outcome(), Some(outcomes[0]));
        }
        let (kind, message) = exception(&caller);
        assert_eq!(kind, types[1]);
        assert!(message.ends_with(messages[1]), "{message}");
        assert_eq!(caller.outcome(), Some(outcomes[1]));
        for (span, message) in [(&callee, messages[1]), (&caller, messages[1])] {
            let SpanStatus::Error(said) = span.status() else {
                panic!("{} has not failed", span.name());
            };
            assert!(said.ends_with(message), "{said}");
        }
        pair.finish().await;
    }
}

#[test]
fn s2_what_a_service_fails_with_is_written_once_on_both_sides() {
    everywhere(async |place| {
        for (kind, name) in [
            (ErrorKind::Failed, "failed"),
            (ErrorKind::Disconnected, "disconnected"),
            (ErrorKind::Unimplemented, "unimplemented"),
        ] {
            let fails = Fails::With(kind, "as it was asked to".into());
            let (outcomes, messages) = ([Outcome::Exception; 2], ["as it was asked to"; 2]);
            assert_exceptions(place, fails, [name; 2], outcomes, messages).await;
        }
    });
}

#[test]
fn s2_a_service_that_is_overloaded_says_so_on_both_sides() {
    everywhere(async |place| {
        let fails = Fails::With(ErrorKind::Overloaded, "come back later".into());
        let outcomes = [Outcome::Overloaded; 2];
        let messages = ["come back later"; 2];
        assert_exceptions(place, fails, ["overloaded"; 2], outcomes, messages).await;
    });
}

#[test]
fn s8_what_a_service_panics_with_is_for_its_own_side_alone() {
    everywhere(async |place| {
        let (types, outcomes) = (["panic", "failed"], [Outcome::Exception; 2]);
        let messages = ["on purpose", "the service panicked"];
        assert_exceptions(place, Fails::Panics, types, outcomes, messages).await;
    });
}

#[test]
fn a_kind_of_event_that_is_not_served_is_an_exception() {
    everywhere(async |place| {
        let outcomes = [Outcome::Exception; 2];
        let types = ["unimplemented"; 2];
        assert_exceptions(place, Fails::Lacks, types, outcomes, ["not served"; 2]).await;
    });
}

#[test]
fn a_long_message_is_cut() {
    at(Place::ALL, async |place| {
        let fails = Fails::With(ErrorKind::Failed, "x".repeat(100_000));
        let (pair, _) = failing(place, &fails);
        let event = pair.pipeline.event("deliver").parent(pair.request.parent());
        deliver(event, Kind::Scheduled).await;
        pair.settle().await;
        for span in spans(&pair) {
            let (_, message) = exception(&span);
            assert_eq!(message.len(), 4096);
            let SpanStatus::Error(said) = span.status() else {
                panic!("no error");
            };
            assert_eq!(said.len(), 4096);
            assert_eq!(span.dropped().cut_values, 1);
        }
        pair.finish().await;
    });
}

#[test]
fn a_call_that_fails_in_a_session_is_no_exception_of_the_sessions() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        let mut request = thing.fail_request();
        request.get().set_text("no");
        assert!(request.send().promise.await.is_err());
        drop(thing);
        pair.settle().await;
        for name in ["open", "session"] {
            let span = pair.spans.named(name).unwrap();
            assert!(span.events().is_empty() && span.attributes().is_empty());
            assert_eq!(span.outcome(), Some(Outcome::Ok));
            assert_eq!(*span.status(), SpanStatus::Unset);
        }
        drop(handle);
        pair.finish().await;
    });
}

#[test]
fn what_is_no_exception_says_why_it_ended() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        thing.number_request().send().promise.await.unwrap();
        drop((handle, thing));
        pair.settle().await;
        for name in ["open", "session"] {
            let span = pair.spans.named(name).unwrap();
            assert!(span.events().is_empty());
            let reason = span.attributes().get("capspan.reason");
            assert_eq!(reason, Some(&"the caller dropped it".into()));
            assert_eq!(*span.status(), SpanStatus::Unset);
        }
        pair.finish().await;
    });
}

#[test]
fn s8_a_connection_that_is_lost_is_an_error_without_an_exception() {
    at(Place::CONNECTED, async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        thing.number_request().send().promise.await.unwrap();
        pair.cut();
        pair.settle().await;
        for name in ["open", "session"] {
            let span = pair.spans.named(name).unwrap();
            assert!(span.events().is_empty());
            let kind = span.attributes().get("error.type");
            assert_eq!(kind, Some(&"disconnected".into()));
            assert!(matches!(span.status(), SpanStatus::Error(_)));
        }
        drop((thing, handle));
        pair.finish().await;
    });
}
