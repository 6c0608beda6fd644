//! A session: one membrane and its spans, from the event's delivery to the last reference.
//!
//! Both sides have their part of it, and each part ends once: when the last capability that came of the
//! session is dropped, or when the session is canceled, or when the connection is lost. Whatever ends
//! it, its spans close then, with the outcome: as an attribute `capspan.reason` they say why a session that is no
//! error ended, and else by their status and by `error.type`.
//!
//! - [`Session`], [`SessionHandle`]: the caller's side.
//! - `callee`: the callee's side.
//! - `delivery`, `one_call`: the two sides of an event that is one call.
//! - [`SessionEnd`]: how it ended; `ask`: how a caller learns it.
//! - `background`: work that outlives the response.
//! - [`Drain`]: the end of all of a callee's events.
//! - `life`: what both sides have in common: spans that close once.
//! - [`TimeLimits`]: how long it may take, or do nothing.
//! - [`CallSpans`]: spans of the calls in a session.
//! - `top_level`: what the application of an unobserved session calls.
//! - [`SessionBuilder`], [`SessionAlone`]: a session around a capability that is given out by hand.
//! - [`LiveEvents`], [`LiveEvent`]: what is under way, to be looked at.
//! - [`Channels`]: one thing for the operator, one for the tenant.

mod alone;
mod ask;
mod background;
mod call_spans;
mod callee;
mod caller;
mod channels;
mod delivery;
mod end;
mod life;
mod limits;
mod live;
mod one_call;
mod running;
mod setting;
mod settle;
mod side;
mod top_level;

pub use alone::{SessionAlone, SessionBuilder};
pub(crate) use background::MAX_BACKGROUND_WORK;
pub use call_spans::CallSpans;
pub(crate) use callee::{CalleeSession, Opening};
pub(crate) use caller::{Opened, open};
pub use caller::{Session, SessionHandle};
pub use channels::Channels;
pub(crate) use delivery::{Answered, Delivery, OpenSpans};
pub(crate) use end::Exception;
pub use end::SessionEnd;
pub(crate) use life::Life;
pub use limits::TimeLimits;
pub use live::{LiveCapability, LiveEvent, LiveEvents};
pub(crate) use one_call::OneCall;
pub(crate) use running::Running;
pub use running::{Drain, Drained};
pub(crate) use setting::Setting;
