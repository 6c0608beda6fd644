//! What happens in an invocation of another service, told while it happens.
//!
//! - [`TailSender`]: the producer's side.
//! - [`TailEvents`]: the receiver's side; `pipe`: what waits between the two.

mod pipe;
mod receive;
mod send;

pub use receive::TailEvents;
pub(in crate::pipeline) use receive::receive;
pub use send::TailSender;

use super::kind::{Description, EventKind};
use crate::error::Result;
use crate::pipeline_capnp::event_dispatcher;
use crate::wire;

/// Bytes of the name of the service that is told of.
const MAX_NAME_BYTES: usize = 1024;

/// A service's name of more than 1 KiB is an error with the limit.
pub(in crate::pipeline) fn check_service(service: &str) -> Result<&str> {
    wire::checked_str("EventDispatcher.tail.service", service, MAX_NAME_BYTES)
}

fn read_service(from: event_dispatcher::tail_params::Reader<'_>) -> Result<&str> {
    wire::received_str(
        "EventDispatcher.tail.service",
        from.get_service(),
        MAX_NAME_BYTES,
    )
}

/// What is told of one that has just come in.
pub(in crate::pipeline) fn read_description(
    from: event_dispatcher::tail_params::Reader<'_>,
) -> Result<Description> {
    Ok(describe(read_service(from)?))
}

/// What is told of it on its span.
pub(in crate::pipeline) fn describe(service: &str) -> Description {
    Description::of_kind(EventKind::Tail).with("capspan.tail.service", service)
}
