//! A request that stays in this process, and the parameters that it becomes when it is sent.

use std::rc::Rc;

use capnp::any_pointer;
use capnp::capability::{Promise, RemotePromise};
use capnp::private::capability::{ParamsHook, PipelineHook, RequestHook};

use super::answer::{self, Local};
use super::message::{Message, read};
use super::results::Results;
use super::work::Work;
use crate::membrane::call::cancel::{is_canceling, leave};
use crate::membrane::call::in_flight::Hold;
use crate::membrane::call::{Noted, noted, request};
use crate::membrane::client::Node;

/// Both share one allocation.
struct Request {
    message: Message,
    /// Whom it is for; `None` once it is sent.
    target: Option<Rc<Node>>,
    interface_id: u64,
    method_id: u16,
}

/// A request to what `target` wraps, which is of this process.
pub(in crate::membrane) fn local_request(
    target: Rc<Node>,
    interface_id: u64,
    method_id: u16,
) -> Box<dyn RequestHook> {
    Box::new(Request {
        message: Message::new(),
        target: Some(target),
        interface_id,
        method_id,
    })
}

impl Request {
    /// Lets the capabilities in the parameters cross.
    fn cross(&mut self, target: &Node, noted: &Noted) -> capnp::Result<()> {
        let table = &mut self.message.table;
        if table.is_empty() {
            return Ok(());
        }
        let membrane = target.membrane();
        let _introducing = noted::introducing_params(noted, membrane);
        membrane.cross_table(table, target.direction().reverse())
    }
}

impl RequestHook for Request {
    fn get(&mut self) -> any_pointer::Builder<'_> {
        self.message.builder()
    }

    fn get_brand(&self) -> usize {
        0
    }

    fn send(mut self: Box<Self>) -> RemotePromise<any_pointer::Owned> {
        let Some(target) = self.target.take() else {
            return request::failed(request::sent_already());
        };
        let (interface_id, method_id) = (self.interface_id, self.method_id);
        let begun = noted::begin(&target, (interface_id, method_id), |noted| {
            self.cross(&target, noted)
        });
        let noted = match begun {
            Ok(noted) => noted,
            Err(error) => return request::failed(error),
        };
        let scope = noted::scope(&noted, &target);
        let work: Rc<Work> = Rc::default();
        let results = Box::new(Results::of(&work));
        // Before it begins, which may come to a revocation.
        let call = Local::of(work.clone());
        let hold = Hold::new(target.membrane().clone(), noted, call);
        let promise =
            target.with_target(|target| target.call(interface_id, method_id, self, results));
        work.begin(promise, scope);
        answer::sent(hold, target.direction())
    }

    fn send_streaming(self: Box<Self>) -> Promise<(), capnp::Error> {
        let RemotePromise { promise, .. } = self.send();
        Promise::from_future(async move { promise.await.map(drop) })
    }

    /// Never: see [`request`].
    fn tail_send(
        self: Box<Self>,
    ) -> Option<(u32, Promise<(), capnp::Error>, Box<dyn PipelineHook>)> {
        None
    }
}

impl ParamsHook for Request {
    fn get(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        read(&self.message.body, &self.message.table)
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let table = &mut self.message.table;
        if !table.is_empty() && is_canceling() {
            leave(std::mem::take(table));
        }
    }
}
