//! A layer that writes down what `tracing` tells.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// All that it was told.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    spans: Vec<Span>,
    /// Events in no span.
    events: Vec<String>,
    open: HashMap<u64, usize>,
}

#[derive(Clone)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) level: Level,
    pub(crate) target: String,
    /// Each field, in the order in which it was told, as often as it was.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) events: Vec<String>,
    pub(crate) closed: u32,
    parent: Option<usize>,
}

impl Span {
    /// The last value of a field.
    pub(crate) fn get(&self, field: &str) -> Option<&str> {
        let mut fields = self.fields.iter().rev();
        let (_, value) = fields.find(|(name, _)| name == field)?;
        Some(value)
    }
}

impl Seen {
    /// Written down for the thread, for as long as the guard lives.
    pub(crate) fn observing(&self) -> tracing::subscriber::DefaultGuard {
        tracing::subscriber::set_default(tracing_subscriber::registry().with(self.clone()))
    }

    /// The same of what is of this level or more important.
    pub(crate) fn observing_up_to(&self, level: LevelFilter) -> tracing::subscriber::DefaultGuard {
        let subscriber = tracing_subscriber::registry().with(self.clone());
        tracing::subscriber::set_default(subscriber.with(level))
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.0.lock().unwrap().spans.clone()
    }

    /// The one of this name, or `otel.name`.
    pub(crate) fn named(&self, name: &str) -> Span {
        let mut found = self.spans();
        found.retain(|span| span.get("otel.name").unwrap_or(&span.name) == name);
        assert_eq!(found.len(), 1, "{name}: {}", self.tree());
        found.remove(0)
    }

    /// Events in no span.
    pub(crate) fn events(&self) -> Vec<String> {
        self.0.lock().unwrap().events.clone()
    }

    /// Spans below one another: name, `otel.name`, kind, service, outcome, and how often it was closed if not once.
    pub(crate) fn tree(&self) -> String {
        let spans = self.spans();
        let mut tree = String::new();
        write_below(&mut tree, &spans, None, 0);
        tree
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap())
    }
}

fn write_below(tree: &mut String, spans: &[Span], parent: Option<usize>, depth: usize) {
    for (index, span) in spans.iter().enumerate() {
        if span.parent == parent {
            let said = [
                "otel.name",
                "otel.kind",
                "capspan.service",
                "capspan.outcome",
            ];
            let said = said.iter().filter_map(|field| span.get(field));
            let said: String = said.map(|value| format!(" {value}")).collect();
            let closed = match span.closed {
                0 => " open",
                1 => "",
                _ => " CLOSED TWICE",
            };
            writeln!(tree, "{}{}{said}{closed}", "  ".repeat(depth), span.name).unwrap();
            write_below(tree, spans, Some(index), depth + 1);
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Seen {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let parent = context.span(id).and_then(|span| Some(span.parent()?.id()));
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        self.with(|state| {
            let span = Span {
                name: attributes.metadata().name().to_owned(),
                level: *attributes.metadata().level(),
                target: attributes.metadata().target().to_owned(),
                fields: fields.0,
                events: Vec::new(),
                closed: 0,
                parent: parent.and_then(|id| state.open.get(&id.into_u64()).copied()),
            };
            state.open.insert(id.into_u64(), state.spans.len());
            state.spans.push(span);
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _context: Context<'_, S>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        self.with(|state| {
            let span = state.open[&id.into_u64()];
            state.spans[span].fields.extend(fields.0);
        });
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        fields
            .0
            .sort_by_key(|(name, _)| (name != "message", name.clone()));
        let mut told = event.metadata().level().to_string();
        for (name, value) in fields.0 {
            match &*name {
                "message" => write!(told, " {value}").unwrap(),
                _ => write!(told, " {name}={value}").unwrap(),
            }
        }
        let span = context.event_span(event).map(|span| span.id().into_u64());
        self.with(|state| match span.and_then(|id| state.open.get(&id)) {
            Some(span) => state.spans[*span].events.push(told),
            None => state.events.push(told),
        });
    }

    fn on_close(&self, id: Id, _context: Context<'_, S>) {
        self.with(|state| {
            let span = state.open.remove(&id.into_u64()).expect("an open span");
            state.spans[span].closed += 1;
        });
    }
}

#[derive(Default)]
struct Fields(Vec<(String, String)>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name().to_owned(), value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push((field.name().to_owned(), format!("{value:?}")));
    }
}
