//! Is told of spans.

use std::fmt;
use std::rc::Rc;

use super::State;
use crate::trace::{Observer, SpanRecord, SpanRole};

/// Notes on a [`Board`](super::Board) the sessions, and the calls in them, of a
/// [`Tracer`](crate::trace::Tracer)'s. A clone notes them on the same one.
#[derive(Clone)]
pub struct BoardObserver {
    state: Rc<State>,
}

impl BoardObserver {
    pub(super) fn new(state: &Rc<State>) -> Self {
        Self {
            state: state.clone(),
        }
    }
}

impl Observer for BoardObserver {
    fn opened(&self, span: &SpanRecord) {
        let method = match span.role() {
            SpanRole::Call => Some(self.state.methods.borrow_mut().begun(span)),
            _ => None,
        };
        self.state.sessions.borrow_mut().opened(span, method);
    }

    fn renamed(&self, span: &SpanRecord, _previous: &str) {
        self.state.sessions.borrow_mut().changed(span);
    }

    fn updated(&self, span: &SpanRecord) {
        if span.role() == SpanRole::Event {
            self.state.sessions.borrow_mut().changed(span);
        }
    }

    fn closed(&self, span: &SpanRecord) {
        if span.role() == SpanRole::Call {
            self.state.methods.borrow_mut().ended(span);
        }
        self.state.sessions.borrow_mut().closed(span);
    }
}

impl fmt::Debug for BoardObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoardObserver").finish_non_exhaustive()
    }
}
