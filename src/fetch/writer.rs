//! The sender's end of a body that comes in, as a capability.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Deref;
use std::rc::{Rc, Weak};

use capnp::any_pointer;
use capnp::capability::{DispatchCallResult, FromClientHook, FromServer, Params, Results, Server};
use capnp::private::capability::ClientHook;
use futures::channel::oneshot;

use super::pipe::Pipe;
use super::substream::{Below, Substream};
use crate::byte_stream_capnp::byte_stream;
use crate::error::{Error, Result};

/// Where what comes after the limits of substreams goes: capabilities of the peer's, which may well lead back
/// here. So substreams hold them not themselves, and they are gone when the request is over.
pub(super) type Nexts = RefCell<HashMap<usize, byte_stream::Client>>;

/// What a body is written to.
pub(super) struct Writer {
    pipe: Rc<Pipe>,
    nexts: Weak<Nexts>,
    /// There is a substream, which is to end first.
    is_lent: Cell<bool>,
}

/// The capability of a new one.
pub(super) fn stream(pipe: Rc<Pipe>, nexts: Weak<Nexts>) -> byte_stream::Client {
    export(Writer {
        pipe,
        nexts,
        is_lent: Cell::new(false),
    })
}

/// A capability all of whose calls come at once. `capnp-rpc` would let no other call come while a write has
/// not returned, and keep them all, without a limit.
pub(super) fn export<S: byte_stream::Server + 'static>(stream: S) -> byte_stream::Client {
    let Untyped(hook) = capnp_rpc::new_client(stream);
    FromClientHook::new(hook)
}

struct Untyped(Box<dyn ClientHook>);

/// Calls the methods of a server, and none of them as one that streams.
struct AtOnce<S>(Rc<S>);

impl FromClientHook for Untyped {
    fn new(hook: Box<dyn ClientHook>) -> Self {
        Self(hook)
    }

    fn into_client_hook(self) -> Box<dyn ClientHook> {
        self.0
    }

    fn as_client_hook(&self) -> &dyn ClientHook {
        &*self.0
    }
}

impl<S: byte_stream::Server + 'static> FromServer<S> for Untyped {
    type Dispatch = AtOnce<S>;

    fn from_server(server: Rc<S>) -> AtOnce<S> {
        AtOnce(server)
    }
}

impl<S> Deref for AtOnce<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.0
    }
}

impl<S> Clone for AtOnce<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: byte_stream::Server + 'static> Server for AtOnce<S> {
    fn dispatch_call(
        self,
        interface_id: u64,
        method_id: u16,
        params: Params<any_pointer::Owned>,
        results: Results<any_pointer::Owned>,
    ) -> DispatchCallResult {
        let server = <byte_stream::Client as FromServer<S>>::from_server(self.0);
        let call = server.dispatch_call(interface_id, method_id, params, results);
        DispatchCallResult::new(call.promise, false)
    }

    fn as_ptr(&self) -> usize {
        Rc::as_ptr(&self.0).cast::<()>() as usize
    }
}

/// Waits until a write may return.
pub(super) async fn room(pipe: &Pipe, waits: Option<oneshot::Receiver<()>>) -> Result<()> {
    match waits {
        None => Ok(()),
        // What was not read of it is given up where nobody tells.
        Some(waits) => waits.await.or_else(|oneshot::Canceled| pipe.check()),
    }
}

/// What a stream answers that has a substream.
pub(super) fn lent() -> Error {
    Error::malformed(
        "a stream with a substream: that is to end before anything else is done with it",
    )
}

pub(super) fn no_tls() -> capnp::Error {
    capnp::Error::unimplemented("startTls: this stream is a body, and no connection".into())
}

impl Writer {
    /// What it is that has a substream.
    pub(super) fn is_returned(&self) {
        self.is_lent.set(false);
    }

    fn check(&self) -> Result<()> {
        match self.is_lent.get() {
            true => Err(lent()),
            false => Ok(()),
        }
    }
}

impl byte_stream::Server for Writer {
    async fn write(self: Rc<Self>, params: byte_stream::WriteParams) -> capnp::Result<()> {
        self.check()?;
        // In the order in which they come, whatever waits before.
        let waits = self.pipe.write(params.get()?.get_bytes()?)?;
        drop(params);
        Ok(room(&self.pipe, waits).await?)
    }

    async fn end(
        self: Rc<Self>,
        _params: byte_stream::EndParams,
        _results: byte_stream::EndResults,
    ) -> capnp::Result<()> {
        self.check()?;
        Ok(self.pipe.end()?)
    }

    async fn get_substream(
        self: Rc<Self>,
        params: byte_stream::GetSubstreamParams,
        mut results: byte_stream::GetSubstreamResults,
    ) -> capnp::Result<()> {
        self.check()?;
        let params = params.get()?;
        let (callback, limit) = (params.get_callback()?, params.get_limit());
        self.is_lent.set(true);
        let (pipe, nexts) = (self.pipe.clone(), self.nexts.clone());
        let substream = Substream::new(pipe, nexts, Below::Stream(self), callback, limit)?;
        results.get().set_substream(export(substream));
        Ok(())
    }

    async fn start_tls(self: Rc<Self>, _params: byte_stream::StartTlsParams) -> capnp::Result<()> {
        Err(no_tls())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.pipe.lose();
    }
}
