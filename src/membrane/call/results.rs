//! Results under construction.

use capnp::any_pointer;
use capnp::capability::Promise;
use capnp::private::capability::{PipelineHook, RequestHook, ResultsHook};

use super::delivery::Ticket;
use crate::membrane::Direction;
use crate::membrane::cap_table::Outgoing;
use crate::membrane::inspect::Introducing;
use crate::membrane::state::Ref;

struct Results {
    outgoing: Outgoing,
    inner: Box<dyn ResultsHook>,
    direction: Direction,
    call: Ticket,
    // After all that belongs inside.
    membrane: Ref,
}

/// Wraps `inner`, the results of a call that goes in `direction`.
pub(super) fn results(
    inner: Box<dyn ResultsHook>,
    direction: Direction,
    membrane: &Ref,
    call: Ticket,
) -> Box<dyn ResultsHook> {
    Box::new(Results {
        outgoing: Outgoing::new(membrane),
        inner,
        direction,
        call,
        membrane: membrane.clone(),
    })
}

impl Results {
    /// Does nobody wait for them any more?
    fn is_over(&self) -> bool {
        let failed = self.call.with(&self.membrane, |call| call.error.is_some());
        failed.unwrap_or(true)
    }

    /// Lets their capabilities cross for the last time.
    fn cross(&mut self) {
        if self.outgoing.is_flushed() || self.is_over() {
            self.outgoing.close(&self.membrane);
            return;
        }
        let (membrane, direction) = (&self.membrane, self.direction);
        let _introducing = introducing(self.call, membrane);
        let crossed = self
            .inner
            .get()
            .and_then(|content| self.outgoing.finish(content, membrane, direction));
        if let Err(error) = crossed {
            // Also where the promise succeeds.
            self.call.with(membrane, |call| {
                call.error.get_or_insert_with(|| Box::new(error));
            });
        }
    }
}

impl Drop for Results {
    /// The service is done with them; with the drop of `inner` they are on their way. It is also how
    /// a canceled call ends, whose results nobody sees.
    fn drop(&mut self) {
        self.cross();
        self.call.end(&self.membrane);
    }
}

impl ResultsHook for Results {
    fn get(&mut self) -> capnp::Result<any_pointer::Builder<'_>> {
        Ok(self.outgoing.builder(self.inner.get()?))
    }

    fn set_pipeline(&mut self) -> capnp::Result<()> {
        if !self.outgoing.is_flushed() {
            let (membrane, direction) = (&self.membrane, self.direction);
            let _introducing = introducing(self.call, membrane);
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

/// While it lives, what crosses is introduced by `call`.
fn introducing(call: Ticket, membrane: &Ref) -> Option<Introducing<'_>> {
    let inspection = membrane.inspection()?;
    let by = call.with(membrane, |call| call.noted.origin(true))??;
    Some(inspection.introducing(by))
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
