//! Who is told when the guard does not let something through.

use std::rc::Rc;

use super::breach::Breach;

/// Is told of each message, or limit, with which a guard stepped in.
///
/// It is told in the middle of the connection's work: it must not call capabilities, nor drop any. What it is
/// told holds no content of messages, only ids and numbers.
///
/// ```
/// use std::rc::Rc;
/// use capspan::guard::{GuardObserver, GuardOptions, Refusal};
///
/// struct Log;
///
/// impl GuardObserver for Log {
///     fn refused(&self, refusal: &Refusal<'_>) {
///         eprintln!("{}: {}: {}", refusal.peer, refusal.breach, refusal.text);
///     }
/// }
///
/// let options = GuardOptions::default().peer("10.0.0.7:4000").observer(Log);
/// ```
pub trait GuardObserver: 'static {
    /// The guard stepped in.
    fn refused(&self, refusal: &Refusal<'_>);
}

/// Nobody.
impl GuardObserver for () {
    fn refused(&self, _: &Refusal<'_>) {}
}

impl<O: GuardObserver + ?Sized> GuardObserver for Rc<O> {
    fn refused(&self, refusal: &Refusal<'_>) {
        (**self).refused(refusal);
    }
}

/// Both are told, the first one first.
impl<A: GuardObserver, B: GuardObserver> GuardObserver for (A, B) {
    fn refused(&self, refusal: &Refusal<'_>) {
        self.0.refused(refusal);
        self.1.refused(refusal);
    }
}

/// One time that the guard stepped in.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Refusal<'a> {
    /// The peer's name, as it was given by [`GuardOptions::peer`](super::GuardOptions::peer).
    pub peer: &'a str,
    /// The rule or the limit.
    pub breach: Breach,
    /// What happened, with ids and numbers. It is what the peer is told, too.
    pub text: &'a str,
    /// Was the connection ended for it? Else a call was answered with an error, or a promise broken.
    pub ends: bool,
}
