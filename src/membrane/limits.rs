//! How much may pass through a membrane at once.

use std::cell::Cell;

/// Limits of a membrane. What is beyond is refused with an error that names the limit, and counted. Each
/// [part](super::Membrane::part) counts for itself.
///
/// ```
/// # use capspan::membrane::{Limits, Membrane};
/// let limits = Limits::default().capabilities(100);
/// let membrane = Membrane::builder().limits(limits).build();
/// assert_eq!(membrane.refused().capabilities, 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub(super) capabilities: usize,
    pub(super) capabilities_in_a_message: usize,
    pub(super) calls: usize,
}

/// How much was refused because of [`Limits`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Capabilities that did not cross.
    pub capabilities: u64,
    /// Messages with too many capabilities in them.
    pub messages: u64,
    /// Calls.
    pub calls: u64,
}

/// The limits of one membrane, and what they refused.
pub(super) struct Limited {
    pub(super) limits: Limits,
    refused: Cell<Refused>,
}

impl Default for Limits {
    /// 10,000 capabilities alive, 1,024 in a message, 1,024 calls in flight.
    fn default() -> Self {
        Self {
            capabilities: 10_000,
            capabilities_in_a_message: 1024,
            calls: 1024,
        }
    }
}

impl Limits {
    /// How many wrappers may be alive, in both directions together. One more is a capability that fails.
    #[must_use]
    pub fn capabilities(mut self, max: usize) -> Self {
        self.capabilities = max;
        self
    }

    /// How many capability pointers a message may have. One with more can't be read, or can't be sent.
    #[must_use]
    pub fn capabilities_in_a_message(mut self, max: usize) -> Self {
        self.capabilities_in_a_message = max;
        self
    }

    /// How many calls may be in flight, in both directions together; one that has ended counts until its
    /// pipeline, or its results, are let go. One more fails.
    #[must_use]
    pub fn calls(mut self, max: usize) -> Self {
        self.calls = max;
        self
    }
}

impl Limited {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            refused: Cell::default(),
        }
    }

    pub(super) fn refused(&self) -> Refused {
        self.refused.get()
    }

    /// May there be one more capability than `alive`?
    pub(super) fn admit_capability(&self, alive: usize) -> Result<(), capnp::Error> {
        let max = self.limits.capabilities;
        self.admit(
            alive < max,
            |refused| &mut refused.capabilities,
            || format!("{alive} capabilities are alive in this membrane; the limit is {max}"),
        )
    }

    /// May there be one more call than `in_flight`?
    pub(super) fn admit_call(&self, in_flight: usize) -> Result<(), capnp::Error> {
        let max = self.limits.calls;
        self.admit(
            in_flight < max,
            |refused| &mut refused.calls,
            || format!("{in_flight} calls are in flight through this membrane; the limit is {max}"),
        )
    }

    /// May a message have `count` capabilities?
    pub(super) fn admit_message(&self, count: usize) -> Result<(), capnp::Error> {
        let max = self.limits.capabilities_in_a_message;
        self.admit(count <= max, |refused| &mut refused.messages, || {
            format!("a message has {count} capabilities or more; the limit of this membrane is {max}")
        })
    }

    fn admit(
        &self,
        is_within: bool,
        counter: impl FnOnce(&mut Refused) -> &mut u64,
        text: impl FnOnce() -> String,
    ) -> Result<(), capnp::Error> {
        if is_within {
            return Ok(());
        }
        let mut refused = self.refused.get();
        *counter(&mut refused) += 1;
        self.refused.set(refused);
        Err(capnp::Error::overloaded(text()))
    }
}
