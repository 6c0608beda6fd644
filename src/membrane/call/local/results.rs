//! Results under construction, in this process.

use std::rc::{Rc, Weak};

use capnp::any_pointer;
use capnp::capability::Promise;
use capnp::private::capability::{PipelineHook, RequestHook, ResultsHook};

use super::message::Message;
use super::work::Work;
use crate::membrane::call::results::take_over;

/// They know the work weakly: it holds the promise that holds them.
pub(super) struct Results {
    message: Message,
    has_pipeline: bool,
    work: Weak<Work>,
}

impl Results {
    pub(super) fn of(work: &Rc<Work>) -> Self {
        Self {
            message: Message::new(),
            has_pipeline: false,
            work: Rc::downgrade(work),
        }
    }
}

impl Drop for Results {
    /// The service is done with them. It is also how a canceled call ends, whose results nobody sees.
    fn drop(&mut self) {
        if let Some(work) = self.work.upgrade() {
            work.fill(std::mem::replace(&mut self.message, Message::new()));
        }
    }
}

impl ResultsHook for Results {
    fn get(&mut self) -> capnp::Result<any_pointer::Builder<'_>> {
        Ok(self.message.builder())
    }

    fn set_pipeline(&mut self) -> capnp::Result<()> {
        if self.has_pipeline {
            return Err(capnp::Error::failed("set_pipeline() called twice".into()));
        }
        let early = self.message.copy()?;
        self.has_pipeline = true;
        if let Some(work) = self.work.upgrade() {
            work.fill_early(early);
        }
        Ok(())
    }

    /// Calls are always cancelled by dropping their promise; there is nothing to allow.
    fn allow_cancellation(&self) {}

    fn tail_call(self: Box<Self>, request: Box<dyn RequestHook>) -> Promise<(), capnp::Error> {
        take_over(self, request).0
    }

    fn direct_tail_call(
        self: Box<Self>,
        request: Box<dyn RequestHook>,
    ) -> (Promise<(), capnp::Error>, Box<dyn PipelineHook>) {
        take_over(self, request)
    }
}
