//! An enricher in another process.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::drive::Tasks;
use crate::pipeline_capnp::span_enricher;
use crate::trace::{EnrichStatus, SpanUpdate};
use crate::wire;

/// How many updates may be on their way before others wait for room.
const MAX_IN_FLIGHT: u32 = 64;

/// With how many unanswered a caller is given up. More than [`MAX_IN_FLIGHT`] only leave because they
/// must go before a return; one that never answers is not to make us keep them for ever.
const MAX_UNANSWERED: u32 = 1024;

/// Sends updates at once while there is room, so that they keep their order with all else that is sent;
/// merges what is written when there is none.
pub(super) struct Remote {
    /// `None` when nothing more is to be sent: then nothing of the connection is held either.
    client: RefCell<Option<span_enricher::Client>>,
    pending: RefCell<SpanUpdate>,
    in_flight: Cell<u32>,
    tasks: Tasks,
}

impl Remote {
    pub(super) fn new(client: span_enricher::Client, tasks: &Tasks) -> Self {
        Self {
            client: RefCell::new(Some(client)),
            pending: RefCell::default(),
            in_flight: Cell::new(0),
            tasks: tasks.clone(),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.client.borrow().is_some()
    }

    pub(super) fn update(self: &Rc<Self>, update: SpanUpdate) {
        if self.in_flight.get() < MAX_IN_FLIGHT {
            self.send(&update);
        } else if self.is_open() {
            let mut pending = self.pending.borrow_mut();
            pending.merge(update);
            // No more would be sent.
            pending.attributes.truncate(wire::MAX_ELEMENTS as usize);
            pending.events.truncate(wire::MAX_ELEMENTS as usize);
        }
    }

    /// Sends what waits for room, room or not.
    pub(super) fn send_pending(self: &Rc<Self>) {
        let pending = self.pending.take();
        if !pending.is_empty() {
            self.send(&pending);
        }
    }

    pub(super) fn cut(&self) {
        let client = self.client.take();
        self.pending.take();
        drop(client);
    }

    fn send(self: &Rc<Self>, update: &SpanUpdate) {
        if self.in_flight.get() == MAX_UNANSWERED {
            return self.cut();
        }
        let client = self.client.borrow().clone();
        let Some(client) = client else {
            return;
        };
        let mut request = client.enrich_request();
        wire::write_update(update, request.get().init_update());
        self.in_flight.set(self.in_flight.get() + 1);
        let (answer, this) = (request.send().promise, self.clone());
        // Waited for, never cancelled: a call that is finished before its return keeps its slot at both
        // ends of the connection.
        self.tasks.spawn(async move {
            let status = match answer.await {
                Ok(response) => response
                    .get()
                    .and_then(|results| Ok(wire::read_enrich_status(results.get_result()?)))
                    .unwrap_or(EnrichStatus::SpanEnded),
                Err(_) => EnrichStatus::SpanEnded,
            };
            this.in_flight.set(this.in_flight.get() - 1);
            match status {
                EnrichStatus::SpanEnded => this.cut(),
                EnrichStatus::Applied | EnrichStatus::Overloaded => this.send_pending(),
            }
        });
    }
}
