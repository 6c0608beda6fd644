//! The ways on which a message goes through a membrane.

use std::cell::RefCell;
use std::rc::Rc;

use capnp::any_pointer;
use capnp::capability::{Client, Promise, RemotePromise, Request, Response};
use capnp::private::capability::{
    ClientHook, ParamsHook, PipelineHook, PipelineOp, RequestHook, ResultsHook,
};
use capspan::membrane::Membrane;
use futures::FutureExt;

use super::copied::Copied;
use super::segments::Message;
use crate::membrane::raw::{self, NoResults};

type Shared<T> = Rc<RefCell<Option<T>>>;

/// Hands a message on to an object inside, as the parameters of a call that was received. Gives what the
/// object makes of them.
pub fn params<T: 'static>(
    membrane: &Membrane,
    message: Box<Message>,
    look: impl Fn(&dyn ParamsHook) -> T + 'static,
) -> Option<T> {
    let (inside, seen) = looking(membrane, look);
    let called = inside.hook.call(0, 0, message, Box::new(NoResults));
    let _no_results = called.now_or_never();
    seen.take()
}

/// Where an answer comes from, as far as a request tells. A membrane looks into it when it is there, or
/// when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// This process.
    Here,
    /// Some connection.
    Elsewhere,
}

/// Answers a call with a message. Gives what the caller outside gets.
pub fn response(
    membrane: &Membrane,
    message: Box<Message>,
    from: From,
) -> capnp::Result<Response<any_pointer::Owned>> {
    let callee: Box<dyn ClientHook> = Box::new(Foreign {
        answer: Rc::new(RefCell::new(Some(message))),
        from,
    });
    let wrapper = membrane.export(Client::new(callee));
    sent(wrapper.hook.new_call(0, 0, None))
}

/// What an object inside sees of a request that was sent to its wrapper.
pub(super) fn request(membrane: &Membrane, plain: &Copied) -> capnp::Result<Copied> {
    let (inside, seen) = looking(membrane, |params| Copied::twice(|| params.get()));
    let mut request = inside.hook.new_call(0, 0, None);
    request.get().set_as(plain.reader()?)?;
    let _no_results = sent(request);
    seen.take().unwrap_or_else(|| Err(never("called")))
}

/// What is in the results of a call that was received, when an object inside has filled them.
pub(super) fn results(membrane: &Membrane, plain: &Rc<Copied>) -> capnp::Result<Copied> {
    let filled = Shared::default();
    let results = Box::new(Kept {
        filled: filled.clone(),
        message: Some(Copied::empty()),
    });
    let params = Box::new(NoParams(Copied::empty()));
    let called = answering(membrane, plain).hook.call(0, 0, params, results);
    called.now_or_never().ok_or_else(|| never("answered"))??;
    filled.take().ok_or_else(|| never("filled"))
}

/// What is in the response to a request that was sent to an object inside.
pub(super) fn answer(membrane: &Membrane, plain: &Rc<Copied>) -> capnp::Result<Copied> {
    let response = sent(answering(membrane, plain).hook.new_call(0, 0, None))?;
    Copied::twice(|| response.get())
}

fn sent(
    request: Request<any_pointer::Owned, any_pointer::Owned>,
) -> capnp::Result<Response<any_pointer::Owned>> {
    let answered = request.send().promise.now_or_never();
    answered.unwrap_or_else(|| Err(never("answered")))
}

fn never(what: &str) -> capnp::Error {
    capnp::Error::failed(format!("it was never {what}"))
}

/// The wrapper of an object that keeps what it makes of the parameters of its call.
fn looking<T: 'static>(
    membrane: &Membrane,
    look: impl Fn(&dyn ParamsHook) -> T + 'static,
) -> (Client, Shared<T>) {
    let seen = Shared::default();
    let sees = seen.clone();
    let object = raw::object(move |_method, params, _results| {
        *sees.borrow_mut() = Some(look(&*params));
        Promise::ok(())
    });
    (membrane.export(object), seen)
}

/// The wrapper of an object that answers with what is in `plain`.
fn answering(membrane: &Membrane, plain: &Rc<Copied>) -> Client {
    let plain = plain.clone();
    membrane.export(raw::object(move |_method, _params, mut results| {
        let filled = results
            .get()
            .and_then(|mut root| root.set_as(plain.reader()?));
        filled.into()
    }))
}

struct NoParams(Copied);

impl ParamsHook for NoParams {
    fn get(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        self.0.reader()
    }
}

/// Results that are kept when the service is done with them.
struct Kept {
    filled: Shared<Copied>,
    message: Option<Copied>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        *self.filled.borrow_mut() = self.message.take();
    }
}

impl ResultsHook for Kept {
    fn get(&mut self) -> capnp::Result<any_pointer::Builder<'_>> {
        let message = self.message.as_mut().ok_or_else(|| never("there"))?;
        message.builder()
    }

    fn set_pipeline(&mut self) -> capnp::Result<()> {
        NoResults.set_pipeline()
    }

    fn allow_cancellation(&self) {}

    fn tail_call(self: Box<Self>, request: Box<dyn RequestHook>) -> Promise<(), capnp::Error> {
        Box::new(NoResults).tail_call(request)
    }

    fn direct_tail_call(
        self: Box<Self>,
        request: Box<dyn RequestHook>,
    ) -> (Promise<(), capnp::Error>, Box<dyn PipelineHook>) {
        Box::new(NoResults).direct_tail_call(request)
    }
}

/// An object of no kind that a membrane knows: its first call gets `answer`.
#[derive(Clone)]
struct Foreign {
    answer: Shared<Box<Message>>,
    from: From,
}

/// A request to it.
struct ToForeign {
    params: Copied,
    to: Foreign,
}

impl ClientHook for Foreign {
    fn add_ref(&self) -> Box<dyn ClientHook> {
        Box::new(self.clone())
    }

    fn new_call(
        &self,
        _interface_id: u64,
        _method_id: u16,
        _size_hint: Option<capnp::MessageSize>,
    ) -> Request<any_pointer::Owned, any_pointer::Owned> {
        Request::new(Box::new(ToForeign {
            params: Copied::empty(),
            to: self.clone(),
        }))
    }

    fn call(
        &self,
        _interface_id: u64,
        _method_id: u16,
        _params: Box<dyn ParamsHook>,
        _results: Box<dyn ResultsHook>,
    ) -> Promise<(), capnp::Error> {
        Promise::err(never("to be called like this"))
    }

    /// Not that of objects of this process, which is zero.
    fn get_brand(&self) -> usize {
        self.get_ptr()
    }

    fn get_ptr(&self) -> usize {
        Rc::as_ptr(&self.answer) as usize
    }

    fn get_resolved(&self) -> Option<Box<dyn ClientHook>> {
        None
    }

    fn when_more_resolved(&self) -> Option<Promise<Box<dyn ClientHook>, capnp::Error>> {
        None
    }

    fn when_resolved(&self) -> Promise<(), capnp::Error> {
        Promise::ok(())
    }
}

impl RequestHook for ToForeign {
    fn get(&mut self) -> any_pointer::Builder<'_> {
        self.params.builder().expect("a root is an any_pointer")
    }

    fn get_brand(&self) -> usize {
        match self.to.from {
            From::Here => 0,
            From::Elsewhere => self.to.get_brand(),
        }
    }

    fn send(self: Box<Self>) -> RemotePromise<any_pointer::Owned> {
        let answer = self.to.answer.take().ok_or_else(|| never("called twice"));
        RemotePromise {
            promise: answer.map(|message| Response::new(message)).into(),
            pipeline: any_pointer::Pipeline::new(Box::new(NoPipeline)),
        }
    }

    fn send_streaming(self: Box<Self>) -> Promise<(), capnp::Error> {
        Promise::err(never("to be streamed"))
    }

    fn tail_send(
        self: Box<Self>,
    ) -> Option<(u32, Promise<(), capnp::Error>, Box<dyn PipelineHook>)> {
        None
    }
}

struct NoPipeline;

impl PipelineHook for NoPipeline {
    fn add_ref(&self) -> Box<dyn PipelineHook> {
        Box::new(NoPipeline)
    }

    fn get_pipelined_cap(&self, _ops: &[PipelineOp]) -> Box<dyn ClientHook> {
        capnp_rpc::new_broken_cap(never("to be pipelined")).hook
    }
}
