//! Starting events on a service, and being the service.
//!
//! The caller has a [`Pipeline`] and opens a session through it; the callee implements [`Service`] and
//! serves it by a [`Callee`]. All calls that open a session leave in one flight, the first call on the
//! session's own capability with them.
//!
//! - [`Pipeline`], [`Event`]: the caller's side.
//! - [`Callee`], [`Service`], [`EventContext`]: the callee's side.
//! - [`EventLimits`]: how many events a peer may have at once.
//! - [`Metadata`]: what travels with an event.
//! - [`ClientProvider`]: a service or a capability at hand, for whoever makes one call on it.
//! - `events`: the kinds of events other than sessions, and what each brings.
//! - `dispatcher`, `handler`, `http`: how an event gets to its service.

mod callee;
mod caller;
mod context;
mod dispatcher;
mod events;
mod handler;
mod http;
mod limits;
mod metadata;
mod provider;
mod service;

pub use callee::Callee;
pub use caller::{Event, Pipeline};
pub use context::EventContext;
pub use events::{
    Alarm, CustomEvent, CustomRequest, CustomResponse, EventKind, QueueBatch, QueueDisposition,
    QueueMessage, QueueResult, RunResult, Scheduled, TailEvents, TailSender,
};
pub use limits::{EventLimits, RefusedEvents};
pub use metadata::Metadata;
pub use provider::{Binding, CallOptions, ClientProvider, Path, Property, Provided, Stub};
pub use service::Service;
