//! What a service gives before it returns, for those who have called it before it was there.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use capnp::any_pointer;
use capnp::capability::{Promise, Request};
use capnp::private::capability::{ClientHook, ParamsHook, ResultsHook};
use futures::FutureExt;

use super::bell::Listener;
use super::work::Work;

/// What a promise resolves to: other references to it are to `inside` alone, so that only the calls that
/// were waiting come here. They may wait for what the service does next, and perhaps nobody else waits for
/// that: so they let it go on, as `capnp-rpc`'s do.
pub(super) struct Early {
    pub(super) inside: Box<dyn ClientHook>,
    pub(super) work: Rc<Work>,
}

impl ClientHook for Early {
    fn add_ref(&self) -> Box<dyn ClientHook> {
        self.inside.add_ref()
    }

    fn new_call(
        &self,
        interface_id: u64,
        method_id: u16,
        size_hint: Option<capnp::MessageSize>,
    ) -> Request<any_pointer::Owned, any_pointer::Owned> {
        self.inside.new_call(interface_id, method_id, size_hint)
    }

    fn call(
        &self,
        interface_id: u64,
        method_id: u16,
        params: Box<dyn ParamsHook>,
        results: Box<dyn ResultsHook>,
    ) -> Promise<(), capnp::Error> {
        let mut called = self.inside.call(interface_id, method_id, params, results);
        let mut work = Some(self.work.clone());
        let mut listener = Listener::default();
        Promise::from_future(poll_fn(move |cx| {
            if let Poll::Ready(result) = called.poll_unpin(cx) {
                return Poll::Ready(result);
            }
            work = work
                .take()
                .filter(|work| work.poll(cx, &mut listener).is_pending());
            Poll::Pending
        }))
    }

    fn get_brand(&self) -> usize {
        self.inside.get_brand()
    }

    fn get_ptr(&self) -> usize {
        self.inside.get_ptr()
    }

    fn get_resolved(&self) -> Option<Box<dyn ClientHook>> {
        self.inside.get_resolved()
    }

    fn when_more_resolved(&self) -> Option<Promise<Box<dyn ClientHook>, capnp::Error>> {
        self.inside.when_more_resolved()
    }

    fn when_resolved(&self) -> Promise<(), capnp::Error> {
        self.inside.when_resolved()
    }
}
