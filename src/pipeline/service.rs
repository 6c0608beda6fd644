//! What a service does with events.

use std::future::Future;
use std::rc::Rc;

use capnp::capability::Client;

use super::context::EventContext;
use super::events::{
    Alarm, CustomEvent, EventKind, QueueBatch, QueueResult, RunResult, Scheduled, TailEvents,
};
use crate::fetch::Body;

/// A service that takes events. It implements the kinds that it wants; the others are answered with an
/// error of the kind `unimplemented` that names the kind of event.
///
/// While one of these runs, the event's span is the current one
/// ([`SpanParent::current`](crate::trace::SpanParent::current)). An error or a panic fails the event, with the
/// outcome `exception` (`overloaded` for an error of that kind), and is written on its spans as an event
/// `exception`; what a panic says stays on this side. When the caller gives up, the future is dropped, and the
/// outcome is `canceled`; so it is at a [limit of time](crate::session::TimeLimits), with the outcome `timeout`. What
/// is to go on after the answer is for [`EventContext::wait_until`].
pub trait Service: 'static {
    /// An RPC session is delivered: returns its top-level capability.
    ///
    /// The session lasts until that capability and all that came of it, in either direction, are
    /// dropped.
    fn open_session(
        self: Rc<Self>,
        event: EventContext,
    ) -> impl Future<Output = Result<Client, capnp::Error>> + 'static {
        unimplemented(EventKind::Session, event)
    }

    /// A run is delivered at a time that was set beforehand.
    fn scheduled(
        self: Rc<Self>,
        run: Scheduled,
        event: EventContext,
    ) -> impl Future<Output = Result<RunResult, capnp::Error>> + 'static {
        unimplemented(EventKind::Scheduled, (run, event))
    }

    /// A run is delivered for which the service has asked.
    fn alarm(
        self: Rc<Self>,
        alarm: Alarm,
        event: EventContext,
    ) -> impl Future<Output = Result<RunResult, capnp::Error>> + 'static {
        unimplemented(EventKind::Alarm, (alarm, event))
    }

    /// Messages of a queue are delivered. If this fails, none of them counts as delivered.
    fn queue(
        self: Rc<Self>,
        batch: QueueBatch,
        event: EventContext,
    ) -> impl Future<Output = Result<QueueResult, capnp::Error>> + 'static {
        unimplemented(EventKind::Queue, (batch, event))
    }

    /// Something is delivered that caller and callee have agreed upon. What is answered is written to
    /// [`CustomEvent::result`].
    ///
    /// The event lasts until this has returned and all capabilities that came of it are dropped.
    fn custom(
        self: Rc<Self>,
        custom: CustomEvent,
        event: EventContext,
    ) -> impl Future<Output = Result<(), capnp::Error>> + 'static {
        unimplemented(EventKind::Custom, (custom, event))
    }

    /// An HTTP request is delivered. Its body may still be on its way, and so may the response's when this
    /// returns: the event lasts until the response has been sent, or given up. What has not been read of the
    /// request's body then is given up, too. A status below 200 is no response, and fails.
    ///
    /// A caller that is gone, or gives up the request, ends this future at once. One that only lets go of the
    /// request's body and goes on waiting for the response is not noticed, as what it lets go of is nothing
    /// but a place in a call that has not returned: who reads the body then waits. So do not wait for a body
    /// without a time of your own.
    fn fetch(
        self: Rc<Self>,
        request: http::Request<Body>,
        event: EventContext,
    ) -> impl Future<Output = Result<http::Response<Body>, capnp::Error>> + 'static {
        unimplemented(EventKind::Fetch, (request, event))
    }

    /// What happens in an invocation of another service is delivered, while it happens. Whoever sends it
    /// waits while this does not read.
    ///
    /// The event lasts until the producer has let go, which it does when this has returned. If it lets go
    /// before, the future is dropped as with any other event.
    fn tail(
        self: Rc<Self>,
        tail: TailEvents,
        event: EventContext,
    ) -> impl Future<Output = Result<(), capnp::Error>> + 'static {
        unimplemented(EventKind::Tail, (tail, event))
    }
}

async fn unimplemented<T>(kind: EventKind, of: impl Sized) -> Result<T, capnp::Error> {
    drop(of);
    Err(kind.unimplemented().into())
}
