//! Spans, counted.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Histogram;
use rustc_hash::FxBuildHasher;

use super::Shared;
use super::alive::{Alive, Side};
use super::instruments::{DROPPED_REASON, ENRICHMENT_RESULT, OTHER};
use super::results::{Ended, Results};
use crate::trace::{Dropped, Observer, SpanId, SpanRecord, SpanRole};

/// Counts spans, on its own thread; made by [`Metrics::observer`](super::Metrics::observer).
pub struct MetricsObserver {
    shared: Arc<Shared>,
    alive: Arc<Alive>,
    /// Borrowed only while no code but ours runs.
    state: RefCell<State>,
}

struct State {
    /// The methods that are told apart, at most as many as [`Methods`](super::methods::Methods) has.
    methods: HashMap<Arc<str>, Results, FxBuildHasher>,
    other_methods: Results,
    /// By side.
    events: [Results; 2],
    /// The events that count as under way. A span may become one.
    open_events: HashSet<SpanId, FxBuildHasher>,
}

impl MetricsObserver {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: shared.clone(),
            alive: shared.threads.enter(),
            state: RefCell::new(State {
                methods: HashMap::default(),
                other_methods: Results::of_method(OTHER),
                events: Side::ALL.map(Results::of_events),
                open_events: HashSet::default(),
            }),
        }
    }

    /// Counts it as under way, if it is an event and has not been counted before.
    fn changed(&self, span: &SpanRecord) {
        if span.role() != SpanRole::Event {
            return;
        }
        let mut state = self.state.borrow_mut();
        if state.open_events.insert(span.span_id()) {
            self.alive.events.add(Side::of(span.kind()), 1);
        }
    }

    fn call_closed(&self, span: &SpanRecord) {
        let side = Side::of(span.kind());
        self.alive.calls.add(side, -1);
        let ended = Ended::of(span);
        // Whoever renames the span does not rename the method.
        let method = span.original_name().unwrap_or(span.name());
        let attributes = self.state.borrow_mut().of_call(method, ended, &self.shared);
        let instruments = &self.shared.instruments;
        let calls = match side {
            Side::Client => &instruments.client_calls,
            Side::Server => &instruments.server_calls,
        };
        record(calls, span, &attributes);
    }

    fn event_closed(&self, span: &SpanRecord) {
        let side = Side::of(span.kind());
        let ended = Ended::of(span);
        let attributes = {
            let mut state = self.state.borrow_mut();
            if state.open_events.remove(&span.span_id()) {
                self.alive.events.add(side, -1);
            }
            state.events[side as usize].attributes(ended)
        };
        record(&self.shared.instruments.events, span, &attributes);
    }

    fn count_enrichment(&self, span: &SpanRecord) {
        let by_callee = |is_by_callee: &bool| *is_by_callee;
        let events = span.events().iter().map(|event| event.is_by_callee());
        let links = span.links().iter().map(|link| link.is_by_callee());
        let once = [span.is_named_by_callee(), span.is_status_by_callee()];
        let others = events.chain(links).chain(once).filter(by_callee).count();
        let written = span.set_by_callee().len() + others;
        let Dropped {
            reserved_keys,
            protected_keys,
            not_allowed,
            redacted,
            unsent,
            ..
        } = *span.dropped();
        let refused = u64::from(reserved_keys) + u64::from(protected_keys) + u64::from(not_allowed);
        self.shared.count_enrichment("accepted", written as u64);
        self.shared.count_enrichment("refused", refused);
        self.shared.count_enrichment("redacted", redacted.into());
        self.shared.count_enrichment("unsent", unsent.into());
    }

    fn count_dropped(&self, dropped: &Dropped) {
        for (reason, count) in dropped.iter().filter(|(_, count)| *count > 0) {
            let attributes = [KeyValue::new(DROPPED_REASON, reason)];
            let instrument = &self.shared.instruments.dropped;
            instrument.add(count.into(), &attributes);
        }
    }
}

impl Shared {
    /// Counts what callees wrote, by what became of it.
    pub(super) fn count_enrichment(&self, result: &'static str, changes: u64) {
        if changes > 0 {
            let attributes = [KeyValue::new(ENRICHMENT_RESULT, result)];
            self.instruments.enrichment.add(changes, &attributes);
        }
    }
}

impl State {
    fn of_call(&mut self, method: &str, ended: Ended, shared: &Shared) -> Rc<[KeyValue]> {
        if let Some(results) = self.methods.get_mut(method) {
            return results.attributes(ended);
        }
        let Some(name) = shared.methods.admit(method, ended.is_ok()) else {
            return self.other_methods.attributes(ended);
        };
        let results = self.methods.entry(name.clone());
        let results = results.or_insert_with(|| Results::of_method(name));
        results.attributes(ended)
    }
}

/// How long it lasted, in the unit that the conventions want: as long as its span.
fn record(histogram: &Histogram<f64>, span: &SpanRecord, attributes: &[KeyValue]) {
    let end = span.end().unwrap_or(span.start());
    let lasted = end.duration_since(span.start());
    histogram.record(lasted.as_secs_f64(), attributes);
}

impl Observer for MetricsObserver {
    fn opened(&self, span: &SpanRecord) {
        match span.role() {
            SpanRole::Call => self.alive.calls.add(Side::of(span.kind()), 1),
            SpanRole::Event => self.changed(span),
            SpanRole::Work => {}
        }
    }

    fn renamed(&self, span: &SpanRecord, _previous: &str) {
        self.changed(span);
    }

    fn updated(&self, span: &SpanRecord) {
        self.changed(span);
    }

    fn closed(&self, span: &SpanRecord) {
        match span.role() {
            SpanRole::Call => self.call_closed(span),
            SpanRole::Event => self.event_closed(span),
            SpanRole::Work => {}
        }
        self.count_enrichment(span);
        if !span.dropped().is_empty() {
            self.count_dropped(span.dropped());
        }
    }
}

impl fmt::Debug for MetricsObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsObserver").finish_non_exhaustive()
    }
}
