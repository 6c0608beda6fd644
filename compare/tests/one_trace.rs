//! Spans of ours and of `tracing`'s make one trace with `tracing-opentelemetry`, also across processes, as
//! `docs/export.md` shows it.

use std::cell::Cell;

use capspan::export::{TracingHook, TracingSpans};
use capspan::trace::{
    Outcome, SpanContext, SpanId, SpanKind, SpanRecord, TraceFlags, TraceId, Tracer, Value,
};
use futures::FutureExt;
use opentelemetry::trace::{Status, TraceContextExt, TracerProvider};
use opentelemetry::{Array, Context};
use opentelemetry_sdk::trace::{
    IdGenerator, InMemorySpanExporter, RandomIdGenerator, SdkTracerProvider, SpanData,
};
use tracing::subscriber::DefaultGuard;
use tracing::{Instrument, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;

thread_local! {
    /// The ids of the span of ours that is being opened.
    static OPENING: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// The ids of our spans for them, and for others its own.
#[derive(Debug)]
struct OurIds(RandomIdGenerator);

impl IdGenerator for OurIds {
    fn new_trace_id(&self) -> opentelemetry::TraceId {
        match OPENING.get() {
            Some((trace_id, _)) => opentelemetry::TraceId::from(trace_id.to_u128()),
            None => self.0.new_trace_id(),
        }
    }

    fn new_span_id(&self) -> opentelemetry::SpanId {
        match OPENING.get() {
            Some((_, span_id)) => opentelemetry::SpanId::from(span_id.to_u64()),
            None => self.0.new_span_id(),
        }
    }
}

struct Joined;

impl TracingHook for Joined {
    fn opened(&self, span: &Span, record: &SpanRecord) {
        if let Some(parent) = record.parent_span_id() {
            let flags = record.context().flags().unwrap_or_default();
            let parent = opentelemetry::trace::SpanContext::new(
                opentelemetry::TraceId::from(record.trace_id().to_u128()),
                opentelemetry::SpanId::from(parent.to_u64()),
                opentelemetry::TraceFlags::new(flags.to_u8()),
                record.has_remote_parent(),
                Default::default(),
            );
            let _told = span.set_parent(Context::new().with_remote_span_context(parent));
        }
        OPENING.set(Some((record.trace_id(), record.span_id())));
        // It begins now, and asks for its ids.
        let _begun = span.context();
        OPENING.set(None);
    }

    fn closing(&self, span: &Span, record: &SpanRecord) {
        if record.original_name().is_some() {
            let name = record.name().to_owned();
            span.context().span().update_name(name);
        }
        for attribute in record.attributes() {
            span.set_attribute(attribute.key.to_string(), to_value(&attribute.value));
        }
    }
}

fn to_value(value: &Value) -> opentelemetry::Value {
    match value {
        Value::Text(text) => text.to_string().into(),
        Value::Bool(is) => (*is).into(),
        Value::Int(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::TextList(list) => {
            let texts = list.iter().map(|text| text.to_string().into());
            opentelemetry::Value::Array(Array::String(texts.collect()))
        }
        Value::BoolList(list) => opentelemetry::Value::Array(Array::Bool(list.clone())),
        Value::IntList(list) => opentelemetry::Value::Array(Array::I64(list.clone())),
        Value::FloatList(list) => opentelemetry::Value::Array(Array::F64(list.clone())),
    }
}

/// The span of `tracing`'s in which the code runs just now.
fn around() -> Option<SpanContext> {
    let context = Span::current().context();
    let span = context.span().span_context().clone();
    let trace_id = TraceId::from_u128(u128::from_be_bytes(span.trace_id().to_bytes()))?;
    let span_id = SpanId::from_u64(u64::from_be_bytes(span.span_id().to_bytes()))?;
    let flags = TraceFlags::from_u8(span.trace_flags().to_u8());
    Some(SpanContext::new(trace_id, span_id).with_flags(flags))
}

/// What a process has.
struct Process {
    exported: InMemorySpanExporter,
    provider: SdkTracerProvider,
    spans: TracingSpans,
    tracer: Tracer,
}

impl Process {
    fn new() -> Self {
        let exported = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(exported.clone())
            .with_id_generator(OurIds(RandomIdGenerator::default()))
            .build();
        let spans = TracingSpans::new().with_hook(Joined);
        let tracer = Tracer::new(spans.clone()).with_outer(around);
        Self {
            exported,
            provider,
            spans,
            tracer,
        }
    }

    fn enter(&self) -> DefaultGuard {
        let layer = tracing_opentelemetry::layer().with_tracer(self.provider.tracer("test"));
        tracing::subscriber::set_default(tracing_subscriber::registry().with(layer))
    }

    fn named(&self, name: &str) -> SpanData {
        let spans = self.exported.get_finished_spans().unwrap();
        let mut found = spans.into_iter().filter(|span| span.name == name);
        found.next().unwrap_or_else(|| panic!("no span {name}"))
    }
}

fn id(span: &SpanData) -> opentelemetry::SpanId {
    span.span_context.span_id()
}

#[test]
fn spans_of_two_processes_and_of_both_kinds_are_one_trace() {
    let (client, server) = (Process::new(), Process::new());
    let entered = client.enter();
    let work = info_span!("the application's");
    let ours = work.in_scope(|| client.tracer.root().start("ask", SpanKind::Client));
    // What goes over the wire.
    let sent = ours.context().unwrap();
    drop(entered);

    let entered = server.enter();
    let answer = server
        .tracer
        .child_of(sent.clone())
        .start("answer", SpanKind::Server);
    answer.set_attribute("rows", [1, 2]);
    let handler = async { info_span!("look up").in_scope(|| ()) };
    let handled = handler.instrument(server.spans.of(&answer.parent()));
    handled.now_or_never().expect("it waits for nothing");
    answer.set_name("answered").set_outcome(Outcome::Ok).end();
    drop(entered);

    ours.set_status(capspan::trace::SpanStatus::error("why"));
    ours.end();
    drop(work);

    let work = client.named("the application's");
    let [ask, answer] = [client.named("ask"), server.named("answered")];
    let look_up = server.named("look up");
    for span in [&work, &ask, &answer, &look_up] {
        assert_eq!(span.span_context.trace_id(), work.span_context.trace_id());
    }
    assert_eq!(ask.parent_span_id, id(&work));
    assert_eq!(answer.parent_span_id, id(&ask));
    assert_eq!(look_up.parent_span_id, id(&answer));
    assert_eq!(id(&ask).to_string(), sent.span_id().to_string());
    assert_eq!(
        work.span_context.trace_id().to_string(),
        sent.trace_id().to_string()
    );
    assert_eq!(ask.status, Status::error("why"));
    assert_eq!(answer.span_kind, opentelemetry::trace::SpanKind::Server);
    let rows = answer
        .attributes
        .iter()
        .find(|attribute| attribute.key.as_str() == "rows");
    let wanted = opentelemetry::Value::Array(Array::I64(vec![1, 2]));
    assert_eq!(rows.unwrap().value, wanted);
}

#[test]
fn a_span_ends_when_ours_ends_though_something_within_it_goes_on() {
    let process = Process::new();
    let _entered = process.enter();
    let outer = process.tracer.root().start("outer", SpanKind::Internal);
    let inner = outer.parent().start("inner", SpanKind::Internal);
    outer.end();
    let after = std::time::SystemTime::now();
    inner.end();
    let (outer, inner) = (process.named("outer"), process.named("inner"));
    assert!(outer.end_time <= after, "{:?}", outer.end_time);
    assert!(inner.end_time >= after);
    assert_eq!(inner.parent_span_id, id(&outer));
}
