//! A service of all kinds of events, what is delivered to it, and what is to come of it.

use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use capnp::capability::FromClientHook;
use capspan::Result;
use capspan::pipeline::{
    Alarm, CustomEvent, Event, EventContext, EventKind, QueueBatch, QueueDisposition, QueueMessage,
    QueueResult, RunResult, Scheduled, Service, TailEvents,
};
use capspan::trace::{SpanId, SpanRecord, TailDetail, TailEvent, Timestamp};
use capspan_testkit::service::{Pair, Place};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;
use futures::future::LocalBoxFuture;
use futures::{FutureExt, StreamExt};

/// What a service does with an event, whatever its kind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Does {
    /// Writes to the caller's span, and answers.
    Answers,
    /// Fails.
    Fails,
    /// Panics.
    Panics,
    /// Never answers; keeps an object alive.
    Hangs,
}

pub(super) struct Events {
    pub(super) does: Does,
    pub(super) world: World,
    /// What was delivered.
    pub(super) seen: Rc<RefCell<Vec<String>>>,
    pub(super) _alive: Rc<()>,
}

impl Events {
    /// `seen` is what was delivered.
    async fn take(&self, seen: String, event: &EventContext) -> capnp::Result<()> {
        self.seen.borrow_mut().push(seen);
        let _object = self.world.thing();
        let written = event.metadata().application().unwrap_or_default();
        event.enricher().set_attribute("app.metadata", written);
        match self.does {
            Does::Answers => Ok(()),
            Does::Fails => Err(capnp::Error::failed("as it was asked to".into())),
            Does::Panics => panic!("on purpose"),
            Does::Hangs => pending().await,
        }
    }
}

impl Service for Events {
    async fn scheduled(
        self: Rc<Self>,
        run: Scheduled,
        event: EventContext,
    ) -> capnp::Result<RunResult> {
        self.take(format!("{run:?}"), &event).await?;
        Ok(RunResult::Done)
    }

    async fn alarm(self: Rc<Self>, alarm: Alarm, event: EventContext) -> capnp::Result<RunResult> {
        self.take(format!("{alarm:?}"), &event).await?;
        match alarm.retries() {
            0 => Ok(RunResult::Retry {
                after: Some(Duration::from_secs(1)),
                is_free: true,
            }),
            _ => Ok(RunResult::failed("tried often enough")),
        }
    }

    async fn queue(
        self: Rc<Self>,
        batch: QueueBatch,
        event: EventContext,
    ) -> capnp::Result<QueueResult> {
        let messages: Vec<_> = batch.messages()?.collect::<Result<_>>()?;
        self.take(format!("{} {messages:?}", batch.queue()), &event)
            .await?;
        let mut result = QueueResult::all(QueueDisposition::RETRY);
        result.set(0, QueueDisposition::Acknowledge);
        Ok(result)
    }

    async fn tail(self: Rc<Self>, mut tail: TailEvents, event: EventContext) -> capnp::Result<()> {
        let first = tail.next().await.transpose()?;
        let seen = format!("{} {:?}", tail.service(), first.map(|event| event.detail));
        self.take(seen, &event).await
    }

    async fn custom(
        self: Rc<Self>,
        mut custom: CustomEvent,
        event: EventContext,
    ) -> capnp::Result<()> {
        let given: thing::Client = custom.payload()?.get_as_capability()?;
        let number = number(&given).await?;
        self.take(format!("{} {number}", custom.name()), &event)
            .await?;
        custom
            .result()
            .set_as_capability(self.world.thing().into_client_hook());
        Ok(())
    }
}

pub(super) fn serving(place: Place, does: Does) -> (Pair, Rc<RefCell<Vec<String>>>) {
    let (world, seen) = (World::new(), Rc::default());
    let service = |alive| Events {
        does,
        world: world.clone(),
        seen: Rc::clone(&seen),
        _alive: alive,
    };
    let pair = Pair::with_service(place, world.clone(), |callee| callee, service);
    (pair, seen)
}

pub(super) async fn number(thing: &thing::Client) -> capnp::Result<u32> {
    let response = thing.number_request().send().promise.await?;
    Ok(response.get()?.get_number())
}

pub(super) fn event(pair: &Pair) -> Event<'_> {
    let metadata = capspan::pipeline::Metadata::new();
    let metadata = metadata.with_application("[7]").unwrap();
    let event = pair.pipeline.event("deliver");
    event.parent(pair.request.parent()).metadata(metadata)
}

const KINDS: [EventKind; 5] = [
    EventKind::Scheduled,
    EventKind::Alarm,
    EventKind::Queue,
    EventKind::Custom,
    EventKind::Tail,
];

fn messages() -> [QueueMessage<'static>; 2] {
    [
        QueueMessage {
            id: "m1",
            time: Some(Timestamp::from_unix_nanos(9)),
            attempts: 2,
            content_type: "text/plain",
            body: b"one",
        },
        QueueMessage::default(),
    ]
}

fn told() -> TailEvent {
    TailEvent {
        sequence: 0,
        time: Timestamp::from_unix_nanos(5),
        span_id: SpanId::from_u64(1).unwrap(),
        by_callee: false,
        detail: TailDetail::Rename("other".into()),
    }
}

/// Delivers an event of `kind`, and tells what is answered; it is sent before this returns.
pub(super) fn deliver(
    event: Event<'_>,
    kind: EventKind,
) -> LocalBoxFuture<'static, Result<String>> {
    let time = Timestamp::from_unix_nanos(5);
    match kind {
        EventKind::Scheduled => {
            let run = Scheduled::new().at(time).with_cron("* * * * *").unwrap();
            let answer = event.scheduled(&run);
            async move { Ok(format!("{:?}", answer.await?)) }.boxed_local()
        }
        EventKind::Alarm => {
            let answer = event.alarm(&Alarm::new().at(time));
            async move { Ok(format!("{:?}", answer.await?)) }.boxed_local()
        }
        EventKind::Queue => {
            let answer = event.queue("orders", &messages()).unwrap();
            async move {
                let result = answer.await?;
                Ok(format!("{:?}", [0, 1].map(|at| result.disposition(at))))
            }
            .boxed_local()
        }
        EventKind::Tail => {
            let mut sender = event.tail("users").unwrap();
            async move {
                sender.send(&[told()]).await?;
                sender.end().await?;
                Ok("nothing".into())
            }
            .boxed_local()
        }
        _ => {
            let mut custom = event.custom("greet").unwrap();
            let given = World::new().thing().into_client_hook();
            custom.payload().set_as_capability(given);
            let (answer, _) = custom.send();
            async move {
                let answer = answer.await?;
                let thing: thing::Client = answer.get()?.get_as_capability()?;
                Ok(number(&thing).await?.to_string())
            }
            .boxed_local()
        }
    }
}

/// What is delivered, what is answered, what the callee's span is called.
pub(super) fn wanted(kind: EventKind) -> (String, &'static str, &'static str) {
    let time = Timestamp::from_unix_nanos(5);
    match kind {
        EventKind::Scheduled => {
            let run = Scheduled::new().at(time).with_cron("* * * * *").unwrap();
            (format!("{run:?}"), "Done", "scheduled")
        }
        EventKind::Alarm => (
            format!("{:?}", Alarm::new().at(time)),
            "Retry { after: Some(1s), is_free: true }",
            "alarm",
        ),
        EventKind::Queue => (
            format!("orders {:?}", messages()),
            "[Acknowledge, Retry { after: None }]",
            "process orders",
        ),
        EventKind::Tail => (
            format!("users Some({:?})", told().detail),
            "nothing",
            "tail",
        ),
        _ => ("greet 1".into(), "2", "greet"),
    }
}

/// How both spans stand.
pub(super) fn assert_both(pair: &Pair, kind: EventKind, outcome: &str) {
    let (_, _, name) = wanted(kind);
    let tree = format!(
        "request INTERNAL caller open\n  deliver CLIENT caller {outcome}\n    {name} SERVER callee {outcome}\n"
    );
    assert_eq!(pair.tree(), tree, "{kind}");
}

pub(super) fn spans(pair: &Pair, kind: EventKind) -> [SpanRecord; 2] {
    let name = wanted(kind).2;
    ["deliver", name].map(|name| pair.spans.named(name).unwrap())
}

/// For each kind of event.
pub(super) async fn of_each_kind(test: impl AsyncFn(EventKind)) {
    for kind in KINDS {
        eprintln!("kind: {kind}");
        test(kind).await;
    }
}
