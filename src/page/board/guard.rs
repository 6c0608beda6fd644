//! Is told of what guards refuse.

use std::fmt;
use std::rc::Rc;

use super::State;
use crate::guard::{GuardObserver, Refusal};

/// Notes on a [`Board`](super::Board) what guards refuse. A clone notes it on the same one.
#[derive(Clone)]
pub struct BoardGuard {
    state: Rc<State>,
}

impl BoardGuard {
    pub(super) fn new(state: &Rc<State>) -> Self {
        Self {
            state: state.clone(),
        }
    }
}

impl GuardObserver for BoardGuard {
    fn refused(&self, refusal: &Refusal<'_>) {
        let now = self.state.now();
        self.state.refusals.borrow_mut().note(refusal, now);
    }
}

impl fmt::Debug for BoardGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoardGuard").finish_non_exhaustive()
    }
}
