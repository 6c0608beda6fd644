//! The caller's side of an enricher, as somebody else has it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use capspan::pipeline_capnp::{event_dispatcher, rpc_session, span_enricher};
use capspan::trace::EnrichStatus;
use capspan::trace_capnp;
use capspan::wire::{ReceivedUpdate, read_update};
use tokio::sync::Notify;

use crate::service::Pair;
use crate::testkit_capnp::thing;

/// Takes updates, keeps them, and answers as it is told to. Clones are the same one.
#[derive(Clone)]
pub struct Taker {
    inner: Rc<Inner>,
}

struct Inner {
    taken: RefCell<Vec<ReceivedUpdate>>,
    answer: Cell<EnrichStatus>,
    is_silent: Cell<bool>,
    speaks: Notify,
}

impl Default for Taker {
    fn default() -> Self {
        Self {
            inner: Rc::new(Inner {
                taken: RefCell::default(),
                answer: Cell::new(EnrichStatus::Applied),
                is_silent: Cell::new(false),
                speaks: Notify::new(),
            }),
        }
    }
}

impl Taker {
    /// The capability.
    pub fn client(&self) -> span_enricher::Client {
        capnp_rpc::new_client(self.clone())
    }

    /// What it has taken.
    pub fn taken(&self) -> Vec<ReceivedUpdate> {
        self.inner.taken.borrow().clone()
    }

    /// How many updates that was.
    pub fn count(&self) -> usize {
        self.inner.taken.borrow().len()
    }

    /// What it answers from now on.
    pub fn answer(&self, status: EnrichStatus) {
        self.inner.answer.set(status);
    }

    /// Does it keep its answers to itself from now on? If not, those that it has kept are given now.
    pub fn keep_silent(&self, is_silent: bool) {
        self.inner.is_silent.set(is_silent);
        self.inner.speaks.notify_waiters();
    }
}

impl span_enricher::Server for Taker {
    async fn enrich(
        self: Rc<Self>,
        params: span_enricher::EnrichParams,
        mut results: span_enricher::EnrichResults,
    ) -> Result<(), capnp::Error> {
        let update = read_update(params.get()?.get_update()?);
        self.inner.taken.borrow_mut().push(update);
        while self.inner.is_silent.get() {
            self.inner.speaks.notified().await;
        }
        let status = match self.inner.answer.get() {
            EnrichStatus::Applied => trace_capnp::EnrichStatus::Applied,
            EnrichStatus::SpanEnded => trace_capnp::EnrichStatus::SpanEnded,
            EnrichStatus::Overloaded => trace_capnp::EnrichStatus::Overloaded,
        };
        results.get().init_result().set_status(status);
        Ok(())
    }
}

/// A session whose caller has an enricher of its own.
pub struct Opened {
    /// What the callee gives.
    pub thing: thing::Client,
    /// The session; its drop cancels.
    pub session: rpc_session::Client,
    _dispatcher: event_dispatcher::Client,
}

impl Opened {
    /// Opens one on the callee of `pair`.
    ///
    /// # Panics
    ///
    /// Where it can't be opened.
    pub async fn with(pair: &Pair, enricher: span_enricher::Client) -> Self {
        let mut request = pair.client.start_event_request();
        request.get().set_enricher(enricher);
        let dispatcher = request.send().pipeline.get_dispatcher();
        let opened = dispatcher.open_session_request().send().promise.await;
        let opened = opened.expect("the session is opened");
        let opened = opened.get().expect("it is readable");
        let top_level = opened.get_top_level().get_as_capability();
        Self {
            thing: top_level.expect("there is a top-level capability"),
            session: opened.get_session().expect("there is a session"),
            _dispatcher: dispatcher,
        }
    }
}
