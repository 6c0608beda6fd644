//! A call that crosses: its request, its parameters, its results, its answer.
//!
//! There are two ways through. Who holds a wrapper builds a request and sends it: [`request`] lets the
//! parameters cross when it is sent, and [`answer`] the results when they are looked at. Who forwards a
//! call it has received hands over its parameters and results: [`delivery`] lets the parameters cross
//! when they are looked at, and the results when they are done.
//!
//! What is allocated for a call is of sizes that `capnp-rpc` does not use (`align(16)`, no alignment is
//! needed): it has some ten blocks of 32 and of 80 bytes in use for each call, where the common allocator
//! of Linux keeps seven free ones of a size at hand, and more of them would take its slow path.
//!
//! Parameters cross the way the call goes, so calls on capabilities in them come back the other way.

mod answer;
mod delivery;
mod in_flight;
mod request;
mod results;

pub(super) use delivery::{deliver, until_revoked};
pub(super) use in_flight::Calls;
pub(super) use request::request;
