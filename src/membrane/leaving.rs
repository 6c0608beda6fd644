//! What is on its way out, and waits to be dropped where that is safe.

use std::rc::Rc;

use capnp::private::capability::ClientHook;

use super::call::Pipelined;
use super::state::{Ref, State};

/// What a wrapper wrapped.
pub(super) struct Leaving {
    // Before the state: complete means that this is gone.
    _hook: Box<dyn ClientHook>,
    state: LeavingRef,
}

/// A call that a wrapper has kept.
pub(super) struct LeavingCall {
    call: Pipelined,
    state: LeavingRef,
}

/// A reference to a membrane that counts no more.
pub(super) struct LeavingRef(Rc<State>);

impl Leaving {
    pub(super) fn new(hook: Box<dyn ClientHook>, membrane: &Ref) -> Self {
        Self {
            _hook: hook,
            state: LeavingRef::new(membrane),
        }
    }
}

impl LeavingCall {
    pub(super) fn new(call: Pipelined, membrane: &Ref) -> Self {
        Self {
            call,
            state: LeavingRef::new(membrane),
        }
    }
}

impl LeavingRef {
    pub(super) fn new(membrane: &Ref) -> Self {
        membrane.leaving.set(membrane.leaving.get() + 1);
        Self(membrane.memory())
    }
}

impl Drop for Leaving {
    /// What was written before this went is to arrive before it is seen to be gone.
    fn drop(&mut self) {
        self.state.0.before_return();
    }
}

impl Drop for LeavingCall {
    fn drop(&mut self) {
        self.call.release(&self.state.0);
    }
}

impl Drop for LeavingRef {
    fn drop(&mut self) {
        self.0.leaving.set(self.0.leaving.get() - 1);
    }
}
