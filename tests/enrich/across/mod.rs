//! A callee writes to the caller's span of one event, and answers in another: E2 holds for all events of one
//! connection together.

mod connections;
mod events;
mod setting;
