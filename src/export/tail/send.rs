//! Sends one invocation.

use std::future::poll_fn;
use std::rc::Rc;

use super::Shared;
use super::limits::count;
use crate::error::Result;
use crate::trace::{SpanParent, TailEvent};

/// Bytes of a service's name that are sent.
const MAX_NAME_BYTES: usize = 1024;

/// An invocation that is being sent. Dropped before its end, it has failed.
pub(super) struct Sending {
    shared: Rc<Shared>,
    index: usize,
    in_flight: usize,
    is_done: bool,
}

impl Sending {
    pub(super) fn new(shared: &Rc<Shared>, index: usize) -> Self {
        Self {
            shared: shared.clone(),
            index,
            in_flight: 0,
            is_done: false,
        }
    }

    /// Sends all of it, as it comes.
    pub(super) async fn run(mut self) {
        // Within the same turn as its span was opened it has got its first attributes.
        let service = self.shared.invocations.borrow().service(self.index);
        self.is_done = match service {
            Some(service) => self.send(&service).await.is_ok(),
            None => {
                self.shared.invocations.borrow_mut().counts.invocations -= 1;
                true
            }
        };
    }

    async fn send(&mut self, service: &str) -> Result<()> {
        let shared = self.shared.clone();
        let Some(receiver) = &shared.receiver else {
            return Ok(());
        };
        // Observed by nobody: else it would be told in its turn.
        let event = receiver.event("tail").parent(SpanParent::none());
        let service = &service[..service.floor_char_boundary(MAX_NAME_BYTES)];
        let mut sender = event.tail(service)?;
        loop {
            let batch = self.next().await;
            if batch.is_empty() {
                return sender.end().await;
            }
            self.in_flight = batch.len();
            sender.send(&batch).await?;
            self.in_flight = 0;
            let mut invocations = shared.invocations.borrow_mut();
            count(&mut invocations.counts.sent_events, batch.len());
        }
    }

    async fn next(&self) -> Vec<TailEvent> {
        let invocations = &self.shared.invocations;
        poll_fn(|cx| invocations.borrow_mut().poll(self.index, cx)).await
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let mut invocations = self.shared.invocations.borrow_mut();
        let removed = invocations.remove(self.index);
        if !self.is_done {
            let waiting = removed.as_ref().map_or(0, |removed| removed.queue.len());
            let counts = &mut invocations.counts;
            count(&mut counts.failed_invocations, 1);
            count(&mut counts.lost_events, waiting + self.in_flight);
        }
        drop(invocations);
        drop(removed);
    }
}
