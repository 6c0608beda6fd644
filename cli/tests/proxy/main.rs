//! `capspan proxy` before a service, as its users meet it.

mod events;
mod failures;
mod passing;
mod setting;
mod steady;
