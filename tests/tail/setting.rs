//! A producer, whose invocations are told by a tail, and a receiver, which keeps what it is told.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::rc::Rc;

use capnp::capability::{Client, FromClientHook};
use capspan::export::{Tail, TailLimits};
use capspan::pipeline::{EventContext, Pipeline, RunResult, Scheduled, Service, TailEvents};
use capspan::session::CallSpans;
use capspan::trace::{SpanId, SpanUpdate, TailDetail, TailEvent, Tracer};
use capspan::{Error, Result};
use capspan_testkit::service::{Pair, Place};
use capspan_testkit::world::World;
use futures::channel::oneshot;
use futures::future::{LocalBoxFuture, Shared};
use futures::{FutureExt, StreamExt};

/// What a receiver does with a tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    /// Reads all of it.
    Reads,
    /// Reads when the gate is opened.
    Waits,
    /// Reads so many, then fails.
    Fails(usize),
    /// Reads so many, then returns.
    Returns(usize),
    /// Reads so many, and no more until the gate is opened; then it returns.
    Stops(usize),
    /// Reads all of it after it has returned.
    ReadsApart,
    /// Does not take tails.
    Refuses,
}

/// What was told of one invocation.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) service: String,
    pub(crate) events: Vec<TailEvent>,
    pub(crate) received: u64,
    pub(crate) lost: u64,
    /// How it ended, if it has.
    pub(crate) end: Option<Result<()>>,
}

impl Seen {
    /// The last one.
    pub(crate) fn last(&self) -> &TailDetail {
        &self.events.last().unwrap().detail
    }

    /// Each has a number that is one higher than that of the one before.
    pub(crate) fn is_whole(&self) -> bool {
        (0..)
            .zip(&self.events)
            .all(|(number, event)| event.sequence == number)
    }

    /// Each on a line, spans by their first names.
    pub(crate) fn story(&self) -> String {
        let mut names: Vec<(SpanId, String)> = Vec::new();
        let mut story = String::new();
        for event in &self.events {
            let opened = match &event.detail {
                TailDetail::Onset(onset) => Some(&onset.span),
                TailDetail::SpanOpen(span) => Some(span),
                _ => None,
            };
            names.extend(opened.map(|span| (event.span_id, span.name.to_string())));
            let name = |id: SpanId| {
                let known = names.iter().find(|(known, _)| *known == id);
                known.map_or("?", |(_, name)| name)
            };
            let by = if event.by_callee { " by callee" } else { "" };
            let parent = opened.and_then(|span| span.parent_span_id).map(name);
            let _ = writeln!(
                story,
                "{} {}{}: {}",
                event.sequence,
                name(event.span_id),
                by,
                detail(&event.detail, parent)
            );
        }
        story
    }
}

fn detail(detail: &TailDetail, parent: Option<&str>) -> String {
    let attributes = |list: &[capspan::trace::Attribute]| -> String {
        let list = list.iter();
        list.map(|attribute| format!(" {}={:?}", attribute.key, attribute.value))
            .collect()
    };
    match detail {
        TailDetail::Onset(onset) => format!(
            "onset of {}{}",
            onset.service,
            attributes(&onset.span.attributes)
        ),
        TailDetail::SpanOpen(span) => format!(
            "open {} below {}{}",
            span.kind.as_str(),
            parent.unwrap_or("nothing"),
            attributes(&span.attributes)
        ),
        TailDetail::Attributes(list) => format!("set{}", attributes(list)),
        TailDetail::Rename(name) => format!("rename {name}"),
        TailDetail::SpanEvent(event) => {
            format!("event {}{}", event.name, attributes(&event.attributes))
        }
        TailDetail::Link(link) => format!("link {:?}", link.span_id().to_u64()),
        TailDetail::Status(status) => format!("{status:?}"),
        TailDetail::SpanClose(span) => format!("close {:?} {:?}", span.outcome, span.dropped),
        TailDetail::Outcome { span, open_spans } => {
            format!(
                "outcome {:?} {:?}, {open_spans} open",
                span.outcome, span.dropped
            )
        }
        other => format!("{other:?}"),
    }
}

/// What a receiver was told; clones are of the same.
#[derive(Clone, Default)]
pub(crate) struct Log(Rc<RefCell<Vec<Rc<RefCell<Seen>>>>>);

impl Log {
    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// What was told of the invocation that began at `index`.
    pub(crate) fn with<T>(&self, index: usize, f: impl FnOnce(&Seen) -> T) -> T {
        let seen = self.0.borrow()[index].clone();
        let seen = seen.borrow();
        f(&seen)
    }
}

/// A service that takes tails.
pub(crate) struct Receiver {
    does: Does,
    log: Log,
    gate: Shared<oneshot::Receiver<()>>,
    _alive: Rc<()>,
}

impl Service for Receiver {
    async fn tail(self: Rc<Self>, mut tail: TailEvents, event: EventContext) -> capnp::Result<()> {
        let seen = Rc::new(RefCell::new(Seen {
            service: tail.service().into(),
            ..Seen::default()
        }));
        self.log.0.borrow_mut().push(seen.clone());
        event.enricher().set_attribute("tail.seen", true);
        let does = self.does;
        let read = async move {
            let end = self.read(&mut tail, &seen).await;
            let mut seen = seen.borrow_mut();
            (seen.received, seen.lost) = (tail.received(), tail.lost());
            seen.end = Some(end.clone());
            end
        };
        if does == Does::ReadsApart {
            tokio::task::spawn_local(read);
            return Ok(());
        }
        Ok(read.await?)
    }
}

impl Receiver {
    async fn read(&self, tail: &mut TailEvents, seen: &RefCell<Seen>) -> Result<()> {
        if self.does == Does::Waits {
            let _open = self.gate.clone().await;
        }
        loop {
            let read = seen.borrow().events.len();
            match self.does {
                Does::Refuses => return Err(Error::unimplemented("no tails here")),
                Does::Fails(at) if at == read => return Err(Error::failed("seen enough")),
                Does::Returns(at) if at == read => return Ok(()),
                Does::Stops(at) if at == read => {
                    let _open = self.gate.clone().await;
                    return Ok(());
                }
                _ => {}
            }
            match tail.next().await {
                Some(event) => seen.borrow_mut().events.push(event?),
                None => return Ok(()),
            }
        }
    }
}

type Handler = Box<dyn Fn(EventContext) -> LocalBoxFuture<'static, capnp::Result<()>>>;

/// A service whose scheduled runs do what a test says, and whose sessions have one object.
pub(crate) struct Producer {
    handler: Handler,
    world: World,
    _alive: Rc<()>,
}

impl Service for Producer {
    async fn open_session(self: Rc<Self>, _: EventContext) -> capnp::Result<Client> {
        Ok(Client::new(self.world.thing().into_client_hook()))
    }

    async fn scheduled(
        self: Rc<Self>,
        _: Scheduled,
        event: EventContext,
    ) -> capnp::Result<RunResult> {
        (self.handler)(event).await?;
        Ok(RunResult::Done)
    }
}

/// A producer in this process, and a receiver somewhere.
pub(crate) struct Setting {
    pub(crate) producer: Pair,
    pub(crate) receiver: Pair,
    pub(crate) tail: Tail,
    pub(crate) log: Log,
    gate: Option<oneshot::Sender<()>>,
}

/// A receiver at `place`, and the way to it.
pub(crate) fn receiving(place: Place, does: Does) -> (Pair, Log, oneshot::Sender<()>) {
    let (opens, gate) = oneshot::channel();
    let log = Log::default();
    let service = |alive| Receiver {
        does,
        log: log.clone(),
        gate: gate.shared(),
        _alive: alive,
    };
    let pair = Pair::with_service(place, World::new(), |callee| callee, service);
    (pair, log, opens)
}

impl Setting {
    pub(crate) fn new<F>(
        place: Place,
        does: Does,
        limits: TailLimits,
        handler: impl Fn(EventContext) -> F + 'static,
    ) -> Self
    where
        F: Future<Output = capnp::Result<()>> + 'static,
    {
        let (receiver, log, gate) = receiving(place, does);
        let tail = Tail::new(receiver.pipeline.clone(), &receiver.tasks).with_limits(limits);
        Self {
            producer: producing(Tracer::new(tail.clone()), handler),
            receiver,
            tail,
            log,
            gate: Some(gate),
        }
    }

    /// Lets the receiver read.
    pub(crate) fn open_gate(&mut self) {
        self.gate.take();
    }

    /// One run of the producer's.
    pub(crate) async fn run(&self) -> Result<RunResult> {
        let event = self.producer.pipeline.event("run");
        event.scheduled(&Scheduled::new()).await
    }

    pub(crate) async fn settle(&self) {
        self.producer.settle().await;
        self.receiver.settle().await;
    }

    /// Nothing is left of either.
    pub(crate) async fn finish(self) {
        let Self {
            producer,
            receiver,
            tail,
            ..
        } = self;
        producer.finish().await;
        drop(tail);
        receiver.finish().await;
    }
}

/// A service whose invocations are told.
pub(crate) fn producing<F>(tracer: Tracer, handler: impl Fn(EventContext) -> F + 'static) -> Pair
where
    F: Future<Output = capnp::Result<()>> + 'static,
{
    let tracer = tracer.with_service("users");
    let world = World::new();
    let inside = world.clone();
    Pair::with_service(
        Place::InProcess,
        world,
        |callee| callee.tracer(tracer).call_spans(CallSpans::new()),
        move |alive| Producer {
            handler: Box::new(move |event| handler(event).boxed_local()),
            world: inside,
            _alive: alive,
        },
    )
}

/// A service in this process that writes to its caller's span.
pub(crate) struct Answering;

impl Service for Answering {
    async fn scheduled(
        self: Rc<Self>,
        _: Scheduled,
        event: EventContext,
    ) -> capnp::Result<RunResult> {
        let update = SpanUpdate::new().name("asked").attribute("answer", 42);
        event.enricher().update(update.event("answered"));
        Ok(RunResult::Done)
    }
}

/// The way to it.
pub(crate) fn answering() -> Pipeline {
    let (tasks, driver) = capspan::Tasks::new();
    tokio::task::spawn_local(driver);
    let callee = capspan::pipeline::Callee::new(Answering, &tasks);
    Pipeline::new(callee.pipeline(), &tasks)
}
