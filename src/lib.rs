//! Membranes, session spans and enrichment for services that talk Cap'n Proto RPC.
//!
//! A service calls another over Cap'n Proto. What comes of a call is seldom one answer: it is a session,
//! in which capabilities go back and forth and are called in their turn. This crate knows when such a
//! session is over, tells it as one span on either side, and lets the callee write to the caller's.
//!
//! It leaves alone what others do: it is no RPC system (that is `capnp-rpc`, unchanged), no tracing
//! back-end (spans go to an [`Observer`](trace::Observer)), no async runtime (time, tasks and streams are
//! passed in). Like `capnp-rpc` it is single-threaded: one event loop a thread, nothing shared.
//!
//! # A tour
//!
//! The caller's end of a service is a [`Pipeline`](pipeline::Pipeline). Through it one opens a
//! [`Session`](session::Session), whose top-level capability may be called at once. The callee implements
//! [`Service`](pipeline::Service) and serves it by a [`Callee`](pipeline::Callee); in an
//! [`EventContext`](pipeline::EventContext) it finds the [`Enricher`](enrich::Enricher) of the caller's
//! span. [`Tasks`] and [`Driver`] are made once for each event loop. Across processes there is a
//! [`Connection`](guard::Connection) between the two; here there is none:
//!
//! ```
//! # use std::rc::Rc;
//! # use capnp::capability::{Client, FromClientHook};
//! # use capspan::pipeline::{Callee, EventContext, Pipeline, Service};
//! # use capspan::trace::{MemoryObserver, Outcome, SpanKind, Tracer};
//! # use capspan_testkit::greeter_capnp::greeter;
//! # struct Greeter(EventContext);
//! # impl greeter::Server for Greeter {
//! #     async fn greet(self: Rc<Self>, params: greeter::GreetParams, mut results: greeter::GreetResults) -> Result<(), capnp::Error> {
//! #         let name = params.get()?.get_name()?.to_str()?;
//! #         self.0.enricher().set_attribute("greeted", name);
//! #         results.get().set_text(format!("Hello, {name}!"));
//! #         Ok(())
//! #     }
//! # }
//! struct Greetings;
//! impl Service for Greetings {
//!     async fn open_session(self: Rc<Self>, event: EventContext) -> Result<Client, capnp::Error> {
//!         // Greeter::greet calls event.enricher().set_attribute("greeted", name).
//!         let greeter: greeter::Client = capnp_rpc::new_client(Greeter(event));
//!         Ok(Client::new(greeter.into_client_hook()))
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> { capspan_testkit::run::run(async {
//! let (tasks, driver) = capspan::Tasks::new();
//! tokio::task::spawn_local(driver);
//! let spans = MemoryObserver::new();
//! let tracer = Tracer::new(spans.clone());
//!
//! let callee = Callee::new(Greetings, &tasks).tracer(tracer.clone());
//! let pipeline = Pipeline::new(callee.pipeline(), &tasks);
//! let work = tracer.root().start("work", SpanKind::Internal);
//! let session = pipeline.event("greet Ada").parent(work.parent()).open_session();
//! let (greeter, session): (greeter::Client, _) = session.into_parts();
//!
//! let mut request = greeter.greet_request();
//! request.get().set_name("Ada");
//! let response = request.send().promise.await?;
//! assert_eq!(response.get()?.get_text()?, "Hello, Ada!");
//!
//! drop((greeter, response)); // The last references: the session is complete.
//! assert_eq!(session.done().await?.outcome(), Outcome::Ok);
//! let caller = spans.named("greet Ada").ok_or("no such span")?;
//! assert_eq!(caller.attributes().get("greeted").and_then(|value| value.as_text()), Some("Ada"));
//! # Ok(()) }) }
//! ```
//!
//! # The parts
//!
//! - [`membrane`]: stands on its own: wrap, watch, take back.
//! - [`trace`]: spans, their contexts, who is told of them.
//! - [`guard`]: connections that a peer can't hang, crash or fill, and whose end is known.
//! - [`enrich`], [`session`], [`pipeline`]: the rest of the tour.
//! - [`fetch`]: HTTP requests as events.
//! - [`export`]: observers that send spans elsewhere: a tail, to another service; to an OpenTelemetry
//!   collector (feature `otel`); or count them (feature `metrics`).
//! - `page`: what a service is doing now, for a browser (feature `page`).
//! - [`wire`]: between these values and the messages of `schema/`; [`trace_capnp`],
//!   [`event_capnp`], [`tail_capnp`] and [`pipeline_capnp`] are what `capnpc` makes of those.
//!
//! # Features
//!
//! They add, and change nothing else: `json` (by default), span records as JSON lines; `meter`, counts and
//! latencies of calls through a membrane; `otel`, spans to an OpenTelemetry collector; `metrics`, sessions, calls
//! and refusals as OpenTelemetry metrics; `page`, a live page; `tracing`, spans of the `tracing` crate as spans and
//! parents.

#![forbid(unsafe_code)]

mod clock;
mod depth;
mod drive;
pub mod enrich;
mod error;
pub mod export;
pub mod fetch;
pub mod guard;
pub mod membrane;
mod outbox;
#[cfg(feature = "page")]
pub mod page;
pub mod pipeline;
mod room;
pub mod session;
mod slots;
mod timer;
pub mod trace;
mod waiting;
pub mod wire;

pub use drive::{Driver, Tasks};
pub use error::{Error, Result};
pub use timer::Timer;
#[cfg(feature = "tokio")]
pub use timer::TokioTimer;

/// What `schema/trace.capnp` declares, as `capnpc` makes it.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod trace_capnp {
    include!(concat!(env!("OUT_DIR"), "/trace_capnp.rs"));
}

/// What `schema/pipeline.capnp` declares, as `capnpc` makes it.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod pipeline_capnp {
    include!(concat!(env!("OUT_DIR"), "/pipeline_capnp.rs"));
}

/// What `schema/tail.capnp` declares, as `capnpc` makes it.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod tail_capnp {
    include!(concat!(env!("OUT_DIR"), "/tail_capnp.rs"));
}

/// What `schema/event.capnp` declares, as `capnpc` makes it.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod event_capnp {
    include!(concat!(env!("OUT_DIR"), "/event_capnp.rs"));
}

/// What `schema/capnp/compat/byte-stream.capnp` declares, as `capnpc` makes it.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod byte_stream_capnp {
    include!(concat!(
        env!("OUT_DIR"),
        "/capnp/compat/byte_stream_capnp.rs"
    ));
}

/// What `schema/capnp/compat/http-over-capnp.capnp` declares, as `capnpc` makes it.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod http_over_capnp_capnp {
    include!(concat!(
        env!("OUT_DIR"),
        "/capnp/compat/http_over_capnp_capnp.rs"
    ));
}

/// The README's example is compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// So is that of the chapter on export.
#[cfg(all(doctest, feature = "otel"))]
#[doc = include_str!("../docs/export.md")]
struct Export;

/// So are those of the chapter on membranes.
#[cfg(doctest)]
#[doc = include_str!("../docs/membranes.md")]
struct Membranes;

/// And of that on metrics.
#[cfg(all(doctest, feature = "metrics"))]
#[doc = include_str!("../docs/metrics.md")]
struct Metrics;
