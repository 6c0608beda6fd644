//! The service: objects that take their time.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use capnp::Error;
use capspan::session::CallSpans;
use capspan_testkit::testkit_capnp::thing;

/// What the methods of `Thing` are called on this stage, in the order of their ordinals.
const METHODS: [&str; 13] = [
    "price",
    "find",
    "findWith",
    "swap",
    "openCursor",
    "subscribe",
    "take",
    "reflect",
    "quote",
    "watch",
    "reserve",
    "early",
    "order",
];

pub(crate) fn names() -> CallSpans {
    CallSpans::new().interface::<thing::Client>("Catalog", METHODS)
}

/// Numbers that look random, the same ones each time.
#[derive(Clone)]
pub(crate) struct Dice(Rc<Cell<u64>>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Rc::new(Cell::new(seed)))
    }

    /// From 0 to below `sides`.
    pub(crate) fn roll(&self, sides: u64) -> u64 {
        let next = self.0.get().wrapping_mul(6_364_136_223_846_793_005);
        self.0.set(next.wrapping_add(1_442_695_040_888_963_407));
        (self.0.get() >> 33) % sides
    }

    /// Waits a few milliseconds; now and then for much longer.
    pub(crate) async fn work(&self, millis: u64) {
        let usual = 500 * millis + self.roll(1_000 * millis);
        let micros = if self.roll(12) == 0 { usual * 8 } else { usual };
        tokio::time::sleep(Duration::from_micros(micros)).await;
    }
}

/// An object of the service's.
pub(crate) struct Catalog(pub(crate) Dice);

impl thing::Server for Catalog {
    async fn number(
        self: Rc<Self>,
        _: thing::NumberParams,
        mut results: thing::NumberResults,
    ) -> Result<(), Error> {
        self.0.work(2).await;
        results.get().set_number(7);
        Ok(())
    }

    async fn echo(
        self: Rc<Self>,
        _: thing::EchoParams,
        _: thing::EchoResults,
    ) -> Result<(), Error> {
        self.0.work(18).await;
        Ok(())
    }

    async fn make(
        self: Rc<Self>,
        _: thing::MakeParams,
        mut results: thing::MakeResults,
    ) -> Result<(), Error> {
        self.0.work(9).await;
        let cursor = capnp_rpc::new_client(Self(self.0.clone()));
        results.get().set_thing(cursor);
        Ok(())
    }

    async fn never(
        self: Rc<Self>,
        _: thing::NeverParams,
        _: thing::NeverResults,
    ) -> Result<(), Error> {
        std::future::pending().await
    }

    async fn fail(
        self: Rc<Self>,
        _: thing::FailParams,
        _: thing::FailResults,
    ) -> Result<(), Error> {
        self.0.work(60).await;
        Err(Error::failed("the item is out of stock".into()))
    }
}
