//! Random enrichment of a span, against a model.
//!
//! [`run`] takes any bytes: the first says which rules hold for callees, each of the others what happens
//! next to one span: its owner writes, a callee does by each of the ways that there are, the clock goes on, the
//! span ends. After each step the span is as the model has it, with each count.

mod input;
mod model;
mod relay;
mod rules;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use capnp::message::{Builder, Reader, ReaderOptions, SegmentArray};
use capspan::enrich::{Enricher, export};
use capspan::pipeline_capnp::span_enricher;
use capspan::trace::{
    Attribute, Dropped, EnrichStatus, ManualClock, MemoryObserver, SpanBuilder, SpanKind,
    SpanUpdate, Timestamp, Tracer, WeakSpan,
};
use capspan::{Tasks, trace_capnp, wire};
use futures::FutureExt;
use futures::executor::LocalPool;
use futures::task::LocalSpawnExt;

use input::Input;
use model::Model;
use relay::{Relay, Sent};
use rules::Rules;

/// How many late updates of one span are told.
const MAX_LATE: usize = 16;

/// Does what `input` says.
///
/// # Panics
///
/// Where the span is not as the model has it.
pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let mut scene = Scene::new(Rules::from_bits(input.byte()));
    while !input.is_empty() {
        scene.step(&mut input);
        scene.compare();
    }
    scene.finish();
}

struct Scene {
    rules: Rules,
    /// What the redactor tries to enrich.
    tries: Rc<RefCell<WeakSpan>>,
    spans: MemoryObserver,
    tracer: Tracer,
    clock: ManualClock,
    pool: LocalPool,
    /// Its owner's; `None` when it is dropped.
    span: Option<SpanBuilder>,
    weak: WeakSpan,
    capability: span_enricher::Client,
    local: Enricher,
    remote: Enricher,
    relay: Relay,
    // What is to be.
    model: Model,
    is_over: bool,
    may_overwrite: bool,
    late_updates: u64,
    late: Vec<Model>,
    local_worst: Worst,
    sent: Sent,
}

/// What a flush says.
#[derive(Default)]
struct Worst {
    is_ended: bool,
    is_overloaded: bool,
}

impl Worst {
    fn note(&mut self, status: EnrichStatus) {
        self.is_ended |= status == EnrichStatus::SpanEnded;
        self.is_overloaded |= status == EnrichStatus::Overloaded;
    }

    fn take(&mut self) -> EnrichStatus {
        if self.is_ended {
            return EnrichStatus::SpanEnded;
        }
        match std::mem::take(&mut self.is_overloaded) {
            true => EnrichStatus::Overloaded,
            false => EnrichStatus::Applied,
        }
    }
}

impl Scene {
    fn new(rules: Rules) -> Self {
        let spans = MemoryObserver::new();
        let clock = ManualClock::new(Timestamp::from_unix_nanos(1_000));
        let tries = Rc::new(RefCell::new(WeakSpan::none()));
        let tracer = Tracer::new(spans.clone())
            .with_clock(clock.clone())
            .with_limits(model::limits())
            .with_enrich_rules(rules.to_enrich_rules(&tries));
        let span = tracer.root().start("span", SpanKind::Client);
        let weak = span.downgrade();
        tries.replace(weak.clone());
        let (tasks, driver) = Tasks::new();
        let pool = LocalPool::new();
        pool.spawner()
            .spawn_local(driver)
            .expect("the pool is there");
        let capability = export(weak.clone());
        let relay = Relay::new(capability.clone());
        Self {
            rules,
            tries,
            spans,
            tracer,
            clock,
            pool,
            span: Some(span),
            weak,
            local: Enricher::from_capability(capability.clone(), &tasks),
            remote: Enricher::from_capability(relay.client(), &tasks),
            capability,
            relay,
            model: Model::named("span"),
            is_over: false,
            may_overwrite: rules.overwrite,
            late_updates: 0,
            late: Vec::new(),
            local_worst: Worst::default(),
            sent: Sent::default(),
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 16 {
            0 | 1 => {
                let update = input.update();
                let status = self.weak.enrich(&update);
                assert_eq!(status, self.callee(&update, &Dropped::default()));
            }
            2 => {
                let update = input.update();
                self.call(&update);
            }
            3 => self.call_with_bytes(input),
            4 | 5 => {
                let update = input.update();
                let status = self.callee(&update, &Dropped::default());
                self.local_worst.note(status);
                // The same by the way that makes no update.
                match &update.attributes[..] {
                    [one] if update == of_one(one) => {
                        let (key, value) = (one.key.to_string(), one.value.clone());
                        self.local.set_attribute(key, value);
                    }
                    _ => self.local.update(update),
                }
            }
            6 | 7 => {
                let update = input.update();
                self.sent.write(&update);
                self.remote.update(update);
            }
            8 => self.turn(),
            9 => self.flush(),
            10 => self.relay.refuses.set(!self.relay.refuses.get()),
            11 | 12 => self.owner(&input.update()),
            13 => {
                if let Some(span) = &self.span {
                    self.may_overwrite = input.byte() & 1 != 0;
                    span.allow_callee_overwrite(self.may_overwrite);
                }
            }
            14 => self.clock.advance(Duration::from_nanos(1)),
            // Most of what happens is to happen before the end.
            _ => match input.byte() {
                0 => {
                    self.is_over = true;
                    self.span = None;
                }
                1 => {
                    self.is_over = true;
                    if let Some(span) = &self.span {
                        span.end();
                    }
                }
                _ => {}
            },
        }
    }

    /// By the bare capability.
    fn call(&mut self, update: &SpanUpdate) {
        let mut request = self.capability.enrich_request();
        wire::write_update(update, request.get().init_update());
        let status = answer(request);
        assert_eq!(status, self.callee(update, &Dropped::default()));
    }

    /// The same with any bytes for an update.
    fn call_with_bytes(&mut self, input: &mut Input<'_>) {
        let words = input.words();
        let segments = [capnp::Word::words_to_bytes(&words)];
        let mut options = ReaderOptions::new();
        options
            .traversal_limit_in_words(Some(4 * 1024))
            .nesting_limit(16);
        let message = Reader::new(SegmentArray::new(&segments), options);
        let root = message.get_root::<trace_capnp::span_update::Reader<'_>>();
        let mut copy = Builder::new_default();
        if root.and_then(|root| copy.set_root(root)).is_err() {
            return;
        }
        let update = copy.get_root_as_reader().expect("it was set");
        let mut request = self.capability.enrich_request();
        request.get().set_update(update).expect("it was copied");
        let status = answer(request);
        let received = wire::read_update(update);
        assert_eq!(status, self.callee(&received.update, &received.dropped));
    }

    fn turn(&mut self) {
        self.pool.run_until_stalled();
        let refuses = self.relay.refuses.get();
        if let Some((update, unsent)) = self.sent.go(refuses) {
            let mut dropped = Dropped::default();
            dropped.unsent = unsent;
            let status = self.callee(&update, &dropped);
            self.sent.answered(status);
        }
    }

    fn flush(&mut self) {
        let status = self.local.flush().now_or_never();
        assert_eq!(status, Some(Ok(self.local_worst.take())));
        let flush = self.remote.flush();
        self.turn();
        assert_eq!(flush.now_or_never(), Some(Ok(self.sent.worst.take())));
    }

    fn owner(&mut self, update: &SpanUpdate) {
        let Some(span) = &self.span else { return };
        span.apply(update);
        if update.is_empty() {
            return;
        }
        if self.is_over {
            self.count_late();
        } else {
            self.model.by_owner(update, self.tracer.now().unix_nanos());
        }
    }

    /// What becomes of a callee's update, and of what could not be read.
    fn callee(&mut self, update: &SpanUpdate, dropped: &Dropped) -> EnrichStatus {
        let now = self.tracer.now().unix_nanos();
        let is_empty = update.is_empty() && *dropped == Dropped::default();
        match (self.is_over, is_empty) {
            (false, true) => EnrichStatus::Applied,
            (true, true) => EnrichStatus::SpanEnded,
            (false, false) => {
                add(&mut self.model.dropped, dropped);
                let rules = &self.rules;
                let tried = self.model.by_callee(update, rules, self.may_overwrite, now);
                self.model.dropped.refused += tried;
                EnrichStatus::Applied
            }
            (true, false) => {
                self.count_late();
                if self.rules.keep_late && self.late.len() < MAX_LATE {
                    let mut late = Model::default();
                    add(&mut late.dropped, dropped);
                    let tried = late.by_callee(update, &self.rules, false, now);
                    self.late.push(late);
                    (0..tried).for_each(|_| self.count_late());
                }
                EnrichStatus::SpanEnded
            }
        }
    }

    fn count_late(&mut self) {
        self.late_updates += 1;
        if self.span.is_some() {
            self.model.dropped.late_updates += 1;
        }
    }

    fn compare(&self) {
        let spans = match self.is_over {
            true => self.spans.closed(),
            false => self.spans.open(),
        };
        let [record] = &spans[..] else {
            panic!("one span: {spans:?}")
        };
        self.model.compare(record);
        match &self.span {
            Some(span) => assert_eq!(span.dropped(), self.model.dropped),
            // What comes late is not told.
            None => {
                let mut dropped = self.model.dropped;
                dropped.late_updates = record.dropped().late_updates;
                assert_eq!(*record.dropped(), dropped);
            }
        }
        assert_eq!(self.tracer.late_updates(), self.late_updates);
        if self.is_over {
            let late = self.spans.late();
            assert_eq!(late.len(), self.late.len());
            if let (Some(late), Some(wanted)) = (late.last(), self.late.last()) {
                wanted.compare_late(late);
            }
        }
        let (open, observed) = (self.local.is_observed(), self.weak.is_open());
        assert_eq!((open, observed), (!self.is_over, !self.is_over));
    }

    fn finish(mut self) {
        self.turn();
        self.is_over = true;
        self.span = None;
        self.compare();
        let record = self.spans.closed().remove(0);
        let id = record.span_id();
        let counts = (self.spans.opened_count(id), self.spans.closed_count(id));
        assert_eq!(counts, (1, 1));
        self.call(&SpanUpdate::new().name("late"));
        self.compare();
        // With late updates kept, it holds the redactor.
        self.tries.replace(WeakSpan::none());
    }
}

fn of_one(attribute: &Attribute) -> SpanUpdate {
    SpanUpdate::new().attribute(attribute.key.to_string(), attribute.value.clone())
}

/// What the bare capability says, which it says at once.
fn answer(
    request: capnp::capability::Request<
        span_enricher::enrich_params::Owned,
        span_enricher::enrich_results::Owned,
    >,
) -> EnrichStatus {
    let answer = request.send().promise.now_or_never();
    let answer = answer.expect("at once").expect("it never fails");
    let result = answer.get().and_then(|answer| answer.get_result());
    match result.expect("a result").get_status() {
        Ok(trace_capnp::EnrichStatus::Applied) => EnrichStatus::Applied,
        Ok(trace_capnp::EnrichStatus::SpanEnded) => EnrichStatus::SpanEnded,
        Ok(trace_capnp::EnrichStatus::Overloaded) => EnrichStatus::Overloaded,
        Err(unknown) => panic!("{unknown}"),
    }
}

fn add(to: &mut Dropped, more: &Dropped) {
    let sum = |to: &mut u32, more: u32| *to = to.saturating_add(more);
    sum(&mut to.attributes, more.attributes);
    sum(&mut to.events, more.events);
    sum(&mut to.event_attributes, more.event_attributes);
    sum(&mut to.links, more.links);
    sum(&mut to.cut_names, more.cut_names);
    sum(&mut to.cut_values, more.cut_values);
    sum(&mut to.refused, more.refused);
    sum(&mut to.unsent, more.unsent);
}
