//! While something of a membrane's is under way.

use super::state::State;

/// How many redirects of one call may be under way, one in the other.
pub(super) const MAX_REDIRECTS: u32 = 64;

/// A call that was received is being polled: its service runs, which may drop and send what it likes. So
/// no table of `capnp-rpc` is borrowed when this ends, and what wrappers let go meanwhile goes then. (Not
/// at once: within, tables may be borrowed again.)
pub(super) struct Turn<'a>(&'a State);

impl<'a> Turn<'a> {
    pub(super) fn begin(membrane: &'a State) -> Self {
        membrane.turns.set(membrane.turns.get() + 1);
        Self(membrane)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Self(membrane) = self;
        membrane.turns.set(membrane.turns.get() - 1);
        let mut hooks = membrane.leaving_hooks.take();
        if !hooks.is_empty() {
            // What was written before they went is to arrive before they are seen to be gone.
            membrane.before_return();
            hooks.clear();
            // For what it has allocated; what came meanwhile is for the turn around this one.
            let mut left = membrane.leaving_hooks.borrow_mut();
            if left.is_empty() {
                *left = hooks;
            }
        }
    }
}

/// A call is being redirected.
pub(super) struct Redirect<'a>(&'a State);

impl<'a> Redirect<'a> {
    /// `None` where there are too many already.
    pub(super) fn begin(membrane: &'a State) -> Option<Self> {
        let redirects = membrane.redirects.get();
        (redirects < MAX_REDIRECTS).then(|| {
            membrane.redirects.set(redirects + 1);
            Self(membrane)
        })
    }
}

impl Drop for Redirect<'_> {
    fn drop(&mut self) {
        self.0.redirects.set(self.0.redirects.get() - 1);
    }
}
