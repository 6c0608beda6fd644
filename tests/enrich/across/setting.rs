//! A callee that writes to one event, whatever it is called in.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use capspan::enrich::Enricher;
use capspan::pipeline::EventContext;
use capspan::trace::{MemoryObserver, SpanRecord, Value};
use capspan_testkit::testkit_capnp::thing;

/// To whom the callee writes, whatever it is called in.
pub(super) type Target = Rc<RefCell<Enricher>>;

/// An object that writes to one event in each call of another.
pub(super) struct Scribe {
    to: Target,
    calls: Cell<i64>,
    kept: RefCell<Option<thing::Client>>,
}

impl Scribe {
    pub(super) fn client(to: &Target) -> thing::Client {
        capnp_rpc::new_client(Self {
            to: to.clone(),
            calls: Cell::new(0),
            kept: RefCell::default(),
        })
    }

    /// The top level of an event: writes to the first one, and says so there when another is opened.
    pub(super) fn of_event(to: &Target, event: &EventContext) -> thing::Client {
        let first = to.borrow().clone();
        match first.is_observed() {
            true => first.set_attribute("others", true),
            false => drop(to.replace(event.enricher().clone())),
        }
        Self::client(to)
    }

    fn write(&self) {
        self.calls.set(self.calls.get() + 1);
        let to = self.to.borrow().clone();
        to.set_attribute("call", self.calls.get());
    }
}

impl thing::Server for Scribe {
    async fn number(
        self: Rc<Self>,
        _params: thing::NumberParams,
        _results: thing::NumberResults,
    ) -> Result<(), capnp::Error> {
        self.write();
        Ok(())
    }

    async fn fail(
        self: Rc<Self>,
        _params: thing::FailParams,
        _results: thing::FailResults,
    ) -> Result<(), capnp::Error> {
        self.write();
        Err(capnp::Error::failed("as it was asked to".into()))
    }

    /// Lets go of what it is given when it returns.
    async fn store(
        self: Rc<Self>,
        _params: thing::StoreParams,
        _results: thing::StoreResults,
    ) -> Result<(), capnp::Error> {
        self.write();
        Ok(())
    }

    /// Keeps what it is given.
    async fn swap(
        self: Rc<Self>,
        params: thing::SwapParams,
        _results: thing::SwapResults,
    ) -> Result<(), capnp::Error> {
        self.kept.replace(Some(params.get()?.get_thing()?));
        Ok(())
    }

    /// Lets go of what it has kept, and never returns.
    async fn never(
        self: Rc<Self>,
        _params: thing::NeverParams,
        _results: thing::NeverResults,
    ) -> Result<(), capnp::Error> {
        self.write();
        drop(self.kept.take());
        std::future::pending().await
    }

    /// Writes, and asks the object that it was given.
    async fn call(
        self: Rc<Self>,
        params: thing::CallParams,
        _results: thing::CallResults,
    ) -> Result<(), capnp::Error> {
        self.write();
        let thing = params.get()?.get_thing()?;
        thing.number_request().send().promise.await.map(drop)
    }
}

pub(super) async fn number(thing: &thing::Client) {
    thing.number_request().send().promise.await.unwrap();
}

/// Calls `thing` many times at once: each caller sees what was written in its call when that has returned.
pub(super) async fn each_sees_its_own(thing: &thing::Client, spans: &MemoryObserver) {
    let calls = (1..=200).map(|call| {
        let sent = thing.number_request().send().promise;
        async move {
            sent.await.unwrap();
            let seen = calls_seen(spans);
            assert!(seen >= Some(call), "call {call} sees {seen:?}");
        }
    });
    futures::future::join_all(calls).await;
}

/// The caller's span that is written to.
pub(super) fn written(spans: &MemoryObserver) -> SpanRecord {
    spans.named("written").expect("the span that is written to")
}

/// Of which call it was told last.
pub(super) fn calls_seen(spans: &MemoryObserver) -> Option<i64> {
    match written(spans).attributes().get("call") {
        Some(Value::Int(call)) => Some(*call),
        _ => None,
    }
}
