//! Spans, and whose child each is: exact trees, and what goes over the wire of them.

mod baggage;
mod calls;
mod calls_pipelined;
mod calls_where;
mod guarantees;
mod hierarchy;
#[cfg(feature = "tracing")]
mod tracing_export;
#[cfg(feature = "tracing")]
mod tracing_parent;
mod wire;
