//! Events that are one call: there and back, refused, given up, lost, and what is odd.

mod each_kind;
mod exceptions;
mod fetch;
mod odd;
mod odd_fetch;
mod setting;
