//! A call that crosses: its request, its parameters, its results, its answer.
//!
//! There are three ways through. Who holds a wrapper builds a request and sends it. If what is wrapped is
//! an object or a promise of this process, the messages are ours: [`local`]. If it is elsewhere, or a
//! wrapper itself, the request is its own: [`request`] lets the parameters cross when it is sent, and
//! [`answer`] the results when they are looked at. Who forwards a call it has received hands over its
//! parameters and results: [`delivery`] lets the parameters cross when they are looked at, and [`results`]
//! when they are done. A call of which only the pipeline is used is waited for by the driver, where its end is to
//! be told: [`unasked`].
//!
//! Parameters cross the way the call goes, so calls on capabilities in them come back the other way.

mod answer;
mod cancel;
mod delivery;
mod in_flight;
mod local;
mod noted;
mod request;
mod results;
mod unasked;

pub(super) use answer::Sent;
pub(super) use delivery::{Received, deliver, wait_until_revoked};
pub(super) use in_flight::{Calls, Pipelined};
pub(super) use local::{Local, local_request};
pub(super) use noted::Noted;
pub(super) use request::{pipeline, request};
