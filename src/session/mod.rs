//! A session: one membrane and its spans, from the event's delivery to the last reference.
//!
//! Both sides have their part of it, and each part ends once: when the last capability that came of the
//! session is dropped, or when the session is canceled, or when the connection is lost. Whatever ends
//! it, its spans close then, with the outcome.
//!
//! - [`Session`], [`SessionHandle`]: the caller's side.
//! - `callee`: the callee's side.
//! - `delivery`, `one_call`: the two sides of an event that is one call.
//! - `life`: what both sides have in common: spans that close once.
//! - [`CallSpans`]: spans of the calls in a session.
//! - `top_level`: what the application of an unobserved session calls.
//! - `room`: how many there may be at once.
//! - [`Channels`]: one thing for the operator, one for the tenant.

mod call_spans;
mod callee;
mod caller;
mod channels;
mod delivery;
mod life;
mod one_call;
mod room;
mod setting;
mod settle;
mod top_level;

pub use call_spans::CallSpans;
pub(crate) use callee::{CalleeSession, Opening};
pub(crate) use caller::{Opened, open};
pub use caller::{Session, SessionHandle};
pub use channels::Channels;
pub(crate) use delivery::{Answered, Delivery, OpenSpans};
pub(crate) use life::Life;
pub use life::SessionEnd;
pub(crate) use one_call::OneCall;
pub(crate) use room::{Place, Room};
pub(crate) use setting::Setting;
