//! A call that crosses: its request, its parameters, its results, its answer.
//!
//! There are three ways through. Who holds a wrapper builds a request and sends it. Where the call stays in
//! this process, its messages are the membrane's own ([`local`]); else they are those of what is wrapped:
//! [`request`] lets the parameters cross when it is sent, and [`answer`] the results when they are looked
//! at. Who forwards a call it has received hands over its parameters and results: [`delivery`] lets the
//! parameters cross when they are looked at, and the results ([`results`]) when they are done.
//!
//! What a call allocates beside blocks of `capnp-rpc`'s has [`Room`], so that they are of other sizes.
//!
//! Parameters cross the way the call goes, so calls on capabilities in them come back the other way.

mod answer;
mod delivery;
mod in_flight;
mod local;
mod noted;
mod request;
mod results;

pub(super) use answer::Sent;
pub(super) use delivery::{Received, deliver, wait_until_revoked};
pub(super) use in_flight::Calls;
pub(super) use local::{Local, local_request};
pub(super) use noted::Noted;
pub(super) use request::{pipeline, request};

use std::mem::MaybeUninit;

/// Unused words that make a value larger.
///
/// The allocator of most Linux systems (glibc's) keeps seven free blocks of each size at hand, and takes
/// ten times as long for the eighth. `capnp-rpc` has ten of 32, 64 and 80 bytes each in use for one call
/// alone. So what a call allocates beside these is made to be larger than 64, 32 bytes, which is measured in
/// `examples/ratios.rs`: without, a call takes a twentieth longer.
pub(super) struct Room<const WORDS: usize> {
    _words: [MaybeUninit<usize>; WORDS],
}

impl<const WORDS: usize> Room<WORDS> {
    pub(super) const NEW: Self = Self {
        _words: [const { MaybeUninit::uninit() }; WORDS],
    };
}
