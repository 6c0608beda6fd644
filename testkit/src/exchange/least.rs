//! The least that a membrane adds to a call which it receives: what `capnp-rpc` 0.27 asks of everyone who
//! hands on such a call and is to see its parameters, its results and its end, and what a capability that
//! crosses can't do without. It protects nothing: it knows beforehand where in a message the capability
//! is, and asks nobody what it is. What a real membrane adds to this is that membrane's.

use std::cell::{OnceCell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use capnp::any_pointer;
use capnp::capability::{FromClientHook, Promise, Request};
use capnp::private::capability::{ClientHook, ParamsHook, PipelineHook, RequestHook, ResultsHook};
use capnp::traits::{Imbue, ImbueMut};

use crate::testkit_capnp::thing;

type Table = Vec<Option<Box<dyn ClientHook>>>;

/// A capability that is handed on.
pub(super) struct Least(Rc<Wrapped>);

struct Wrapped {
    target: Box<dyn ClientHook>,
    /// Do calls on it have a capability in and the same out?
    swaps: bool,
    /// What came in with the last call.
    given: RefCell<Option<Rc<Wrapped>>>,
}

impl Least {
    pub(super) fn new(target: thing::Client, swaps: bool) -> Self {
        Self(Wrapped::new(target, swaps))
    }
}

impl Wrapped {
    fn new(target: thing::Client, swaps: bool) -> Rc<Self> {
        Rc::new(Self {
            target: target.into_client_hook(),
            swaps,
            given: RefCell::default(),
        })
    }
}

impl ClientHook for Least {
    fn add_ref(&self) -> Box<dyn ClientHook> {
        Box::new(Self(self.0.clone()))
    }

    fn new_call(
        &self,
        interface_id: u64,
        method_id: u16,
        size_hint: Option<capnp::MessageSize>,
    ) -> Request<any_pointer::Owned, any_pointer::Owned> {
        let target = &self.0.target;
        target.new_call(interface_id, method_id, size_hint)
    }

    fn call(
        &self,
        interface_id: u64,
        method_id: u16,
        params: Box<dyn ParamsHook>,
        results: Box<dyn ResultsHook>,
    ) -> Promise<(), capnp::Error> {
        let params = Box::new(Params {
            table: OnceCell::new(),
            inner: params,
            of: self.0.clone(),
        });
        let results = Box::new(Results {
            table: Table::new(),
            inner: results,
            of: self.0.clone(),
        });
        let target = &self.0.target;
        Promise::from_future(Delivered {
            promise: target.call(interface_id, method_id, params, results),
            _of: self.0.clone(),
        })
    }

    fn get_brand(&self) -> usize {
        Rc::as_ptr(&self.0).addr()
    }

    fn get_ptr(&self) -> usize {
        Rc::as_ptr(&self.0).addr()
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

struct Params {
    table: OnceCell<Table>,
    inner: Box<dyn ParamsHook>,
    of: Rc<Wrapped>,
}

impl Params {
    fn table(&self, content: any_pointer::Reader<'_>) -> capnp::Result<Table> {
        if !self.of.swaps {
            return Ok(Table::new());
        }
        let params: thing::swap_params::Reader<'_> = content.get_as()?;
        let given = Wrapped::new(params.get_thing()?, false);
        *self.of.given.borrow_mut() = Some(given.clone());
        Ok(vec![Some(Box::new(Least(given)))])
    }
}

impl ParamsHook for Params {
    fn get(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        let mut content = self.inner.get()?;
        let table = match self.table.get() {
            Some(table) => table,
            None => {
                let table = self.table(content)?;
                self.table.get_or_init(|| table)
            }
        };
        content.imbue(table);
        Ok(content)
    }
}

struct Results {
    table: Table,
    inner: Box<dyn ResultsHook>,
    of: Rc<Wrapped>,
}

impl ResultsHook for Results {
    fn get(&mut self) -> capnp::Result<any_pointer::Builder<'_>> {
        let mut content = self.inner.get()?;
        content.imbue_mut(&mut self.table);
        Ok(content)
    }

    fn set_pipeline(&mut self) -> capnp::Result<()> {
        self.inner.set_pipeline()
    }

    fn allow_cancellation(&self) {}

    fn tail_call(self: Box<Self>, request: Box<dyn RequestHook>) -> Promise<(), capnp::Error> {
        self.direct_tail_call(request).0
    }

    fn direct_tail_call(
        self: Box<Self>,
        request: Box<dyn RequestHook>,
    ) -> (Promise<(), capnp::Error>, Box<dyn PipelineHook>) {
        let sent = request.send();
        let unsupported = capnp::Error::unimplemented("tail calls are not measured".into());
        (Promise::err(unsupported), sent.pipeline.hook)
    }
}

impl Drop for Results {
    fn drop(&mut self) {
        if self.table.pop().is_none() {
            return;
        }
        // What goes back is the original.
        let given = self.of.given.take();
        let content = self.inner.get().and_then(|content| content.get_as());
        if let (Some(given), Ok(content)) = (given, content) {
            let mut results: thing::swap_results::Builder<'_> = content;
            results.set_thing(FromClientHook::new(given.target.add_ref()));
        }
    }
}

/// Sees the end of the call.
struct Delivered {
    promise: Promise<(), capnp::Error>,
    _of: Rc<Wrapped>,
}

impl Future for Delivered {
    type Output = capnp::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.promise).poll(cx)
    }
}
