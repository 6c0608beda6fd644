//! Results under construction.

use capnp::any_pointer;
use capnp::capability::Promise;
use capnp::private::capability::{PipelineHook, RequestHook, ResultsHook};

use super::Room;
use super::delivery::Received;
use super::in_flight::Hold;
use crate::membrane::Direction;
use crate::membrane::cap_table::Outgoing;

struct Results {
    outgoing: Outgoing,
    inner: Box<dyn ResultsHook>,
    direction: Direction,
    call: Hold<Received>,
    _room: Room<1>,
}

/// Wraps `inner`, the results of a call that goes in `direction`.
pub(super) fn results(
    inner: Box<dyn ResultsHook>,
    direction: Direction,
    call: Hold<Received>,
) -> Box<dyn ResultsHook> {
    Box::new(Results {
        outgoing: Outgoing::new(call.membrane()),
        inner,
        direction,
        call,
        _room: Room::NEW,
    })
}

impl Drop for Results {
    /// The service is done with them; with the drop of `inner` they are on their way. It is also how
    /// a canceled call ends, whose results nobody sees.
    fn drop(&mut self) {
        let (membrane, direction) = (self.call.membrane(), self.direction);
        let has_failed = || self.call.with(|call| call.error.is_some());
        if self.outgoing.is_flushed() || has_failed() {
            self.outgoing.close(membrane);
            return;
        }
        let _introducing = self.call.introducing();
        let crossed = self
            .inner
            .get()
            .and_then(|content| self.outgoing.finish(content, membrane, direction));
        if let Err(error) = crossed {
            // Also where the promise succeeds.
            self.call.with(|call| {
                call.error.get_or_insert_with(|| Box::new(error));
            });
        }
    }
}

impl ResultsHook for Results {
    fn get(&mut self) -> capnp::Result<any_pointer::Builder<'_>> {
        Ok(self.outgoing.builder(self.inner.get()?))
    }

    fn set_pipeline(&mut self) -> capnp::Result<()> {
        if !self.outgoing.is_flushed() {
            let (membrane, direction) = (self.call.membrane(), self.direction);
            let _introducing = self.call.introducing();
            self.outgoing
                .flush(self.inner.get()?, membrane, direction)?;
        }
        self.inner.set_pipeline()
    }

    /// Calls are always cancelled by dropping their promise; there is nothing to allow.
    fn allow_cancellation(&self) {}

    /// Sends `request` as usual and takes over its results.
    fn tail_call(self: Box<Self>, request: Box<dyn RequestHook>) -> Promise<(), capnp::Error> {
        take_over(self, request).0
    }

    /// Sends `request` as usual and takes over its results.
    fn direct_tail_call(
        self: Box<Self>,
        request: Box<dyn RequestHook>,
    ) -> (Promise<(), capnp::Error>, Box<dyn PipelineHook>) {
        take_over(self, request)
    }
}

/// Sends `request` as usual, and fills `results` with what comes of it.
pub(super) fn take_over(
    mut results: Box<impl ResultsHook + 'static>,
    request: Box<dyn RequestHook>,
) -> (Promise<(), capnp::Error>, Box<dyn PipelineHook>) {
    let sent = request.send();
    let promise = Promise::from_future(async move {
        let response = sent.promise.await?;
        results.get()?.set_as(response.get()?)
    });
    (promise, sent.pipeline.hook)
}
