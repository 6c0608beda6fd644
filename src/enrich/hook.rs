//! The capability that a caller exports, so that the callee can write to one span.
//!
//! It is a hook of our own and not a server of `capnp-rpc`'s: that one runs a call some time later, when
//! the return that came after it may have been seen already. This one applies an update in `call`, when
//! it arrives, and in `send`, when it is sent within the process.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use capnp::any_pointer;
use capnp::capability::{FromClientHook, Promise, RemotePromise, Request, Response};
use capnp::private::capability::{
    ClientHook, ParamsHook, PipelineHook, PipelineOp, RequestHook, ResponseHook, ResultsHook,
};
use capnp::private::layout::CapTable;
use capnp::traits::{HasTypeId, ImbueMut};

use super::handle::Enricher;
use super::in_process::InProcess;
use crate::pipeline_capnp::span_enricher;
use crate::trace::WeakSpan;
use crate::wire;

/// The only method.
const ENRICH: u16 = 0;

/// Its address tells an enricher of this process from every other hook.
static BRAND: u8 = 0;

thread_local! {
    /// How an enricher of this thread is recognised behind `dyn ClientHook`: it is asked for its
    /// address, and while the question is open it leaves what it writes by here as well.
    static ASKED: Cell<bool> = const { Cell::new(false) };
    static ANSWER: RefCell<Option<Rc<InProcess>>> = const { RefCell::new(None) };
}

/// A capability that writes to `span`, for a callee. [`Pipeline`](crate::pipeline::Pipeline) sends one along
/// with each event; this is for who speaks the protocol in another way. It keeps the span neither open nor
/// alive.
///
/// ```
/// # use capspan::enrich::{Enricher, export};
/// # use capspan::trace::{MemoryObserver, SpanKind, Tracer};
/// # let spans = MemoryObserver::new();
/// # let tracer = Tracer::new(spans.clone());
/// # let (tasks, _driver) = capspan::Tasks::new();
/// let span = tracer.root().start("call", SpanKind::Client);
/// let enricher = Enricher::from_capability(export(span.downgrade()), &tasks);
/// enricher.set_name("GET /users/{id}");
/// assert_eq!(spans.open()[0].name(), "GET /users/{id}");
/// ```
pub fn export(span: WeakSpan) -> span_enricher::Client {
    export_also(span, None)
}

/// The same, and what is written goes to `also` as well.
pub(crate) fn export_also(span: WeakSpan, also: Option<Enricher>) -> span_enricher::Client {
    let hook: Box<dyn ClientHook> = Box::new(EnricherHook {
        shared: Rc::new(InProcess::new(span, also)),
    });
    FromClientHook::new(hook)
}

/// What a callee writes by, if `hook` is an enricher of this thread.
pub(super) fn in_process(hook: &dyn ClientHook) -> Option<Rc<InProcess>> {
    if hook.get_brand() != brand() {
        return None;
    }
    ASKED.set(true);
    hook.get_ptr();
    ASKED.set(false);
    ANSWER.take().map(|shared| shared.take())
}

fn brand() -> usize {
    std::ptr::from_ref(&BRAND) as usize
}

struct EnricherHook {
    /// Its address is the capability's.
    shared: Rc<InProcess>,
}

impl EnricherHook {
    fn check(interface_id: u64, method_id: u16) -> capnp::Result<()> {
        if interface_id == span_enricher::Client::TYPE_ID && method_id == ENRICH {
            return Ok(());
        }
        Err(capnp::Error::unimplemented(format!(
            "a span enricher has no method {method_id} of interface {interface_id:#x}"
        )))
    }

    fn enrich(
        &self,
        params: any_pointer::Reader<'_>,
        results: any_pointer::Builder<'_>,
    ) -> capnp::Result<()> {
        let params: span_enricher::enrich_params::Reader<'_> = params.get_as()?;
        let received = wire::read_update(params.get_update()?);
        let status = self.shared.received(received.update, &received.dropped);
        let results: span_enricher::enrich_results::Builder<'_> = results.init_as();
        wire::write_enrich_status(status, results.init_result());
        Ok(())
    }
}

impl ClientHook for EnricherHook {
    fn add_ref(&self) -> Box<dyn ClientHook> {
        Box::new(Self {
            shared: self.shared.clone(),
        })
    }

    fn new_call(
        &self,
        interface_id: u64,
        method_id: u16,
        _size_hint: Option<capnp::MessageSize>,
    ) -> Request<any_pointer::Owned, any_pointer::Owned> {
        Request::new(Box::new(LocalRequest {
            message: capnp::message::Builder::new_default(),
            table: CapTable::new(),
            method: (interface_id, method_id),
            enricher: Self {
                shared: self.shared.clone(),
            },
        }))
    }

    fn call(
        &self,
        interface_id: u64,
        method_id: u16,
        params: Box<dyn ParamsHook>,
        mut results: Box<dyn ResultsHook>,
    ) -> Promise<(), capnp::Error> {
        let result = Self::check(interface_id, method_id)
            .and_then(|()| self.enrich(params.get()?, results.get()?));
        result.into()
    }

    fn get_brand(&self) -> usize {
        brand()
    }

    fn get_ptr(&self) -> usize {
        if ASKED.get() {
            ANSWER.set(Some(self.shared.clone()));
        }
        Rc::as_ptr(&self.shared) as usize
    }

    // Settled from the start: as a promise it would be late.

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

/// A call within the process, by somebody who has the capability and not our handle.
struct LocalRequest {
    message: capnp::message::Builder<capnp::message::HeapAllocator>,
    table: CapTable,
    method: (u64, u16),
    enricher: EnricherHook,
}

impl LocalRequest {
    fn apply(self) -> capnp::Result<LocalResponse> {
        let (interface_id, method_id) = self.method;
        EnricherHook::check(interface_id, method_id)?;
        let params = self.message.get_root_as_reader()?;
        let mut response = capnp::message::Builder::new_default();
        self.enricher.enrich(params, response.init_root())?;
        Ok(LocalResponse(response))
    }
}

impl RequestHook for LocalRequest {
    fn get(&mut self) -> any_pointer::Builder<'_> {
        // The root of a message that was begun here can always be had: `get_root` fails only where the
        // first segment can't be allocated, and that one panics by itself.
        let mut root: any_pointer::Builder<'_> = match self.message.get_root() {
            Ok(root) => root,
            Err(error) => unreachable!("a new message has no root: {error}"),
        };
        root.imbue_mut(&mut self.table);
        root
    }

    fn get_brand(&self) -> usize {
        0
    }

    fn send(self: Box<Self>) -> RemotePromise<any_pointer::Owned> {
        let promise = match self.apply() {
            Ok(response) => {
                let hook: Box<dyn ResponseHook> = Box::new(response);
                Promise::ok(Response::new(hook))
            }
            Err(error) => Promise::err(error),
        };
        RemotePromise {
            promise,
            pipeline: any_pointer::Pipeline::new(Box::new(NoPipeline)),
        }
    }

    fn send_streaming(self: Box<Self>) -> Promise<(), capnp::Error> {
        self.apply().map(drop).into()
    }

    fn tail_send(
        self: Box<Self>,
    ) -> Option<(u32, Promise<(), capnp::Error>, Box<dyn PipelineHook>)> {
        None
    }
}

struct LocalResponse(capnp::message::Builder<capnp::message::HeapAllocator>);

impl ResponseHook for LocalResponse {
    fn get(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        self.0.get_root_as_reader()
    }
}

/// An enricher's answer has no capabilities.
struct NoPipeline;

impl PipelineHook for NoPipeline {
    fn add_ref(&self) -> Box<dyn PipelineHook> {
        Box::new(Self)
    }

    fn get_pipelined_cap(&self, _ops: &[PipelineOp]) -> Box<dyn ClientHook> {
        let error = capnp::Error::failed("an enricher's answer has no capabilities".into());
        capnp_rpc::new_broken_cap(error).hook
    }
}
