//! What the caller lets callees write: E5 and E6, by rules, with a redactor.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use capspan::trace::{
    EnrichRules, EnrichStatus, Redaction, Redactor, SpanBuilder, SpanContext, SpanEvent, SpanId,
    SpanRecord, SpanStatus, SpanUpdate, Text, TraceId, Value, WeakSpan,
};
use capspan_testkit::service::{Pair, everywhere};
use capspan_testkit::testkit_capnp::thing;

/// The caller's session span, by these rules, when the callee has written this.
fn written(rules: &EnrichRules, update: &SpanUpdate, check: impl Fn(&SpanRecord)) {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let tracer = pair.caller.clone().with_enrich_rules(rules.clone());
        let request = pair.request.context().unwrap();
        let event = pair.pipeline.event("open").parent(tracer.child_of(request));
        let (thing, handle) = event.open_session::<thing::Client>().into_parts();
        thing.number_request().send().promise.await.unwrap();
        let event = pair.event();
        event.enricher().update(update.clone());
        let flushed = event.enricher().flush().await;
        assert_eq!(flushed, Ok(EnrichStatus::Applied));
        drop((thing, handle, event));
        pair.settle().await;
        let closed = pair.spans.closed();
        let mut spans = closed.iter().filter(|span| span.has_remote_parent());
        check(spans.find(|span| span.service() == "caller").unwrap());
        pair.finish().await;
    });
}

fn other() -> SpanContext {
    let (trace, span) = (TraceId::from_u128(7), SpanId::from_u64(8));
    SpanContext::new(trace.unwrap(), span.unwrap())
}

fn everything() -> SpanUpdate {
    SpanUpdate::new()
        .name("renamed")
        .attribute("db.rows", 3)
        .attribute("cache", "hit")
        .event(SpanEvent::new("retry").attribute("db.try", 2))
        .link(other())
        .status(SpanStatus::error("no"))
}

#[test]
fn e1_by_default_all_may_be_written_and_is_marked_as_the_callees() {
    written(&EnrichRules::default(), &everything(), |span| {
        assert_eq!(span.name(), "renamed");
        assert_eq!(span.set_by_callee(), ["db.rows".into(), "cache".into()]);
        assert!(span.events()[0].is_by_callee() && span.is_status_by_callee());
        let [link] = span.links() else {
            panic!("one link")
        };
        assert_eq!((link.context(), link.is_by_callee()), (&other(), true));
        assert!(span.dropped().is_empty());
    });
}

#[test]
fn e5_of_what_is_not_allowed_nothing_is_written_and_each_thing_is_counted() {
    let rules = EnrichRules::default()
        .allow_keys([""; 0])
        .allow_name(false)
        .allow_status(false)
        .allow_events(false)
        .allow_links(false);
    written(&rules, &everything(), |span| {
        assert_eq!((span.name(), span.original_name()), ("open", None));
        assert!(span.attributes().is_empty() && span.events().is_empty());
        assert!(span.links().is_empty() && *span.status() == SpanStatus::Unset);
        assert_eq!(span.dropped().not_allowed, 6);
    });
}

#[test]
fn e5_keys_are_allowed_one_by_one_or_by_how_they_begin() {
    let rules = EnrichRules::default().allow_keys(["db.", "cache", "x-*", "service.name"]);
    let mut update = SpanUpdate::new();
    let allowed = ["db.", "db.rows", "cache", "x-", "x-id"];
    for key in allowed.into_iter().chain(["db", "cache.", "cach", "x", ""]) {
        update = update.attribute(key, 1);
    }
    update = update.event(SpanEvent::new("e").attribute("db.a", 1).attribute("b", 1));
    update = update.attribute("service.name", "evil");
    written(&rules, &update, |span| {
        let keys: Vec<_> = span.attributes().iter().map(|known| &*known.key).collect();
        assert_eq!(keys, allowed);
        assert_eq!(span.events()[0].attributes().len(), 1);
        let dropped = span.dropped();
        assert_eq!((dropped.not_allowed, dropped.invalid_keys), (5, 1));
        assert_eq!(dropped.reserved_keys, 1, "reserved all the same");
    });
}

#[test]
fn e5_overwriting_is_allowed_by_rule_or_by_span() {
    let (tracer, spans) = tracer(EnrichRules::default().allow_overwrite(true));
    for (by_span, seen) in [(None, "callee"), (Some(false), "owner")] {
        let span = tracer.root().start("call", Default::default());
        span.set_attribute("k", "owner");
        by_span.map(|allow| span.allow_callee_overwrite(allow));
        let update = SpanUpdate::new().attribute("k", "callee");
        span.downgrade().enrich(&update);
        drop(span);
        let span = spans.closed().pop().unwrap();
        assert_eq!(span.attributes().get("k"), Some(&seen.into()));
    }
}

fn tracer(rules: EnrichRules) -> (capspan::trace::Tracer, capspan::trace::MemoryObserver) {
    let spans = capspan::trace::MemoryObserver::new();
    let tracer = capspan::trace::Tracer::new(spans.clone()).with_enrich_rules(rules);
    (tracer, spans)
}

/// Hides what begins with "secret", shortens what begins with "user", panics at the rest that is bad.
struct Discreet;

impl Discreet {
    fn look<T: From<String>>(text: &str) -> Redaction<T> {
        match text {
            _ if text.starts_with("secret") => Redaction::Drop,
            _ if text.starts_with("user") => Redaction::Replace(T::from("user …".to_owned())),
            "bad" => std::panic::resume_unwind(Box::new(PanicsAgain)),
            _ => Redaction::Keep,
        }
    }
}

/// What a redactor panics with.
struct PanicsAgain;

impl Drop for PanicsAgain {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("again"));
    }
}

impl Redactor for Discreet {
    fn value(&self, event: Option<&str>, key: &str, value: &Value) -> Redaction<Value> {
        assert!(!key.is_empty() && event != Some(""));
        value.as_text().map_or(Redaction::Keep, Self::look)
    }

    fn text(&self, _what: Text, text: &str) -> Redaction<String> {
        Self::look(text)
    }
}

#[test]
fn e5_a_redactor_sees_all_that_is_written_and_replaces_or_leaves_it_out() {
    let update = SpanUpdate::new()
        .name("user 7")
        .attribute("a", "secret")
        .attribute("b", "user 8")
        .attribute("c", "open")
        .event("secret event")
        .event(SpanEvent::new("user 9").attribute("d", "secret"))
        .status(SpanStatus::error("secret reason"));
    let rules = EnrichRules::default().redact(Discreet);
    written(&rules, &update, |span| {
        assert_eq!(span.name(), "user …");
        let attributes = span.attributes();
        assert_eq!((attributes.len(), attributes.get("a")), (2, None));
        assert_eq!(attributes.get("b"), Some(&"user …".into()));
        let [event] = span.events() else {
            panic!("one event")
        };
        assert_eq!(event.name(), "user …");
        assert!(event.attributes().is_empty());
        assert_eq!(*span.status(), SpanStatus::error(""), "still an error");
        assert_eq!(span.dropped().redacted, 7);
    });
}

#[test]
fn e5_nothing_hides_from_a_redactor_behind_a_limit() {
    let long = format!("{}secret", "x".repeat(5_000));
    struct Ends;
    impl Redactor for Ends {
        fn value(&self, _: Option<&str>, _: &str, value: &Value) -> Redaction<Value> {
            match value.as_text() {
                Some(text) if text.ends_with("secret") => Redaction::Drop,
                _ => Redaction::Keep,
            }
        }
    }
    let rules = EnrichRules::default().redact(Ends);
    written(&rules, &SpanUpdate::new().attribute("k", long), |span| {
        assert!(span.attributes().is_empty());
        assert_eq!((span.dropped().redacted, span.dropped().cut_values), (1, 0));
    });
}

#[test]
fn what_a_redactor_panics_at_is_left_out_and_nobody_else_is_harmed() {
    let update = SpanUpdate::new()
        .name("bad")
        .attribute("a", "bad")
        .attribute("b", "good")
        .event("bad")
        .status(SpanStatus::error("bad"));
    let rules = EnrichRules::default().redact(Discreet);
    written(&rules, &update, |span| {
        assert_eq!((span.name(), span.attributes().len()), ("open", 1));
        assert!(span.events().is_empty());
        assert_eq!(*span.status(), SpanStatus::error(""));
        assert_eq!(span.dropped().redacted, 4);
    });
}

/// Writes on the span that it is asked about, as its owner and as a callee.
#[derive(Default)]
struct Meddler {
    span: RefCell<Option<SpanBuilder>>,
    weak: RefCell<WeakSpan>,
    answers: RefCell<Vec<EnrichStatus>>,
    ends: Cell<bool>,
}

struct Meddles(Rc<Meddler>);

impl Redactor for Meddles {
    fn text(&self, _what: Text, _text: &str) -> Redaction<String> {
        let weak = self.0.weak.borrow().clone();
        let answer = weak.enrich(&SpanUpdate::new().name("again"));
        self.0.answers.borrow_mut().push(answer);
        if let Some(span) = &*self.0.span.borrow() {
            span.set_attribute("asked", true);
        }
        if self.0.ends.get() {
            drop(self.0.span.take());
        }
        Redaction::Keep
    }
}

#[test]
fn a_redactor_may_write_as_the_owner_and_not_as_a_callee() {
    for ends in [false, true] {
        let meddler = Rc::new(Meddler::default());
        let (tracer, spans) = tracer(EnrichRules::default().redact(Meddles(meddler.clone())));
        let span = tracer.root().start("call", Default::default());
        let weak = span.downgrade();
        meddler.ends.set(ends);
        meddler.weak.replace(weak.clone());
        meddler.span.replace(Some(span));
        let answer = weak.enrich(&SpanUpdate::new().name("renamed"));
        assert_eq!(*meddler.answers.borrow(), [EnrichStatus::Overloaded]);
        let wanted = match ends {
            true => (EnrichStatus::SpanEnded, "call"),
            false => (EnrichStatus::Applied, "renamed"),
        };
        drop(meddler.span.take());
        let span = spans.closed().pop().unwrap();
        assert_eq!((answer, span.name()), wanted);
        assert!(span.attributes().get("asked").is_some());
        assert_eq!(span.dropped().refused, 1);
    }
}

#[cfg(feature = "json")]
#[test]
fn e6_what_is_not_allowed_or_redacted_is_exported() {
    let rules = EnrichRules::default().allow_name(false).redact(Discreet);
    let update = SpanUpdate::new()
        .name("x")
        .attribute("k", "secret")
        .link(other());
    written(&rules, &update, |span| {
        let json = capspan::trace::to_json(span);
        let wanted = serde_json::json!({ "notAllowed": 1, "redacted": 1 });
        assert_eq!(json["dropped"], wanted);
        assert_eq!(json["links"][0]["byCallee"], true);
    });
}
