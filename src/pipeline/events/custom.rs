//! What caller and callee have agreed upon.

use std::fmt;
use std::future::Future;

use capnp::any_pointer;
use futures::channel::oneshot;

use super::kind::{Description, EventKind};
use crate::error::{Error, Result};
use crate::pipeline_capnp::event_dispatcher;
use crate::session::{Answered, Delivery};
use crate::wire;

/// Bytes of a custom event's name: as many as of a span's by default.
const MAX_NAME_BYTES: usize = 256;

/// A custom event's name: at most 256 bytes, and at least one.
pub(in crate::pipeline) fn check_name(name: &str) -> Result<&str> {
    match wire::checked_str("EventDispatcher.custom.name", name, MAX_NAME_BYTES)? {
        "" => Err(Error::invalid("a custom event without a name")),
        name => Ok(name),
    }
}

/// A custom event that has been received, and what is answered: it is on its way when this has been dropped
/// and the service has returned. So a service may keep it and answer later.
pub struct CustomEvent {
    name: Box<str>,
    params: event_dispatcher::CustomParams,
    results: event_dispatcher::CustomResults,
    // Last: all of it is gone then.
    _is_held: oneshot::Sender<()>,
}

impl CustomEvent {
    /// The event, and what waits until it has been let go of.
    pub(in crate::pipeline) fn receive(
        params: event_dispatcher::CustomParams,
        results: event_dispatcher::CustomResults,
    ) -> Result<(Self, oneshot::Receiver<()>)> {
        let name = read_name(params.get()?)?.into();
        let (is_held, gone) = oneshot::channel();
        let event = Self {
            name,
            params,
            results,
            _is_held: is_held,
        };
        Ok((event, gone))
    }

    /// What is told of one that has just come in.
    pub(in crate::pipeline) fn describe(
        from: event_dispatcher::custom_params::Reader<'_>,
    ) -> Result<Description> {
        Ok(describe(read_name(from)?))
    }

    /// What it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What came with it. The capabilities in it belong to the event, which lasts until they are dropped.
    pub fn payload(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        Ok(self.params.get()?.get_payload())
    }

    /// What is to be answered. The event lasts until the capabilities in it are dropped.
    pub fn result(&mut self) -> any_pointer::Builder<'_> {
        self.results.get().get_result()
    }

    /// Lets calls that the caller has pipelined on the result go to what it holds now, before it is
    /// returned. At most once.
    pub fn set_pipeline(&mut self) -> capnp::Result<()> {
        self.results.set_pipeline()
    }
}

fn read_name(from: event_dispatcher::custom_params::Reader<'_>) -> Result<&str> {
    let name = wire::received_str(
        "EventDispatcher.custom.name",
        from.get_name(),
        MAX_NAME_BYTES,
    )?;
    match name {
        "" => Err(Error::malformed("EventDispatcher.custom.name is empty")),
        name => Ok(name),
    }
}

/// What is told of it on its span.
pub(in crate::pipeline) fn describe(name: &str) -> Description {
    Description::new(EventKind::Custom, name)
}

/// A custom event that is about to be delivered. Nothing has been sent yet; dropping it ends the event's
/// span, with the outcome `canceled`.
#[must_use = "nothing is sent before `send`"]
pub struct CustomRequest {
    delivery: Delivery,
    request: capnp::capability::Request<
        event_dispatcher::custom_params::Owned,
        event_dispatcher::custom_results::Owned,
    >,
}

impl CustomRequest {
    pub(in crate::pipeline) fn new(delivery: Delivery, name: &str) -> Self {
        let mut request = delivery.dispatcher().custom_request();
        request.get().set_name(name);
        Self { delivery, request }
    }

    /// What goes with it.
    pub fn payload(&mut self) -> any_pointer::Builder<'_> {
        self.request.get().get_payload()
    }

    /// Delivers it. The answer may be waited for; dropping it before it is there cancels the event. What
    /// is pipelined on the result may be called at once.
    pub fn send(
        self,
    ) -> (
        impl Future<Output = Result<CustomResponse>> + use<>,
        any_pointer::Pipeline,
    ) {
        let sent = self.request.send();
        let result = sent.pipeline.get_result();
        let answer = self.delivery.answer(sent.promise);
        let response = async move {
            Ok(CustomResponse {
                answered: answer.await?,
            })
        };
        (response, result)
    }
}

/// The answer to a custom event. The event lasts until all capabilities that came of it are dropped, those
/// in this among them.
pub struct CustomResponse {
    answered: Answered<event_dispatcher::custom_results::Owned>,
}

impl CustomResponse {
    /// What was answered.
    pub fn get(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        Ok(self.answered.response().get()?.get_result())
    }
}

impl fmt::Debug for CustomEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustomEvent")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CustomRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustomRequest").finish_non_exhaustive()
    }
}

impl fmt::Debug for CustomResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustomResponse").finish_non_exhaustive()
    }
}
