//! Refusals as events of the `tracing` crate.

use super::observer::{GuardObserver, Refusal};

/// An observer that makes an event of the `tracing` crate of each refusal, with the target `capspan::guard`.
///
/// One that ends a connection is a warning, any other an information. The fields are `peer`, `breach` (its
/// [name](super::Breach::name)), `text` and `ends`: those of a [`Refusal`], which has no content of messages.
///
/// How often a peer has the guard step in is the peer's choice: where events cost, sample them, or take the
/// numbers of [`Guard::count`](super::Guard::count).
///
/// ```
/// # use capspan::guard::{GuardOptions, TracingObserver};
/// let options = GuardOptions::default().peer("10.0.0.7:4000").observer(TracingObserver);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingObserver;

impl GuardObserver for TracingObserver {
    fn refused(&self, refusal: &Refusal<'_>) {
        // The level belongs to the place in the code: hence two of them.
        macro_rules! tell {
            ($level:ident) => {
                tracing::event!(
                    target: "capspan::guard",
                    tracing::Level::$level,
                    peer = refusal.peer,
                    breach = refusal.breach.name(),
                    text = refusal.text,
                    ends = refusal.ends,
                )
            };
        }
        match refusal.ends {
            true => tell!(WARN),
            false => tell!(INFO),
        }
    }
}
