//! Each rule of the guard: the smallest exchange that breaks it, and the neighbouring one that is legal.
//!
//! The peer is raw, on either side of the connection: what it hears, what the guard counts, and that the
//! service was not touched.

mod calls;
mod capabilities;
mod drivers;
mod embargoes;
mod ends;
mod finished;
mod given_back;
mod handed_on;
mod harness;
mod limits;
mod limits_of_promises;
mod messages;
mod resolves;
mod returns;
mod tail_lists;
mod waiting_calls;
