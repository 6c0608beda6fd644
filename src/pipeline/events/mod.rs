//! Kinds of events, and what each brings.
//!
//! - [`EventKind`]: which there are.
//! - [`Scheduled`], [`Alarm`], [`RunResult`]: runs at a certain time.
//! - [`QueueBatch`], [`QueueMessage`], [`QueueResult`], [`QueueDisposition`]: messages of a queue.
//! - [`CustomRequest`], [`CustomResponse`], [`CustomEvent`]: what caller and callee have agreed upon.
//! - [`TailSender`], [`TailEvents`]: what happens in an invocation of another service.

pub(super) mod custom;
mod kind;
pub(super) mod queue;
mod run;
pub(super) mod tail;

pub use custom::{CustomEvent, CustomRequest, CustomResponse};
pub(super) use kind::Description;
pub use kind::EventKind;
pub use queue::{QueueBatch, QueueDisposition, QueueMessage, QueueResult};
pub use run::{Alarm, RunResult, Scheduled};
pub use tail::{TailEvents, TailSender};
