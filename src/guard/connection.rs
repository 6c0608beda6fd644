//! One connection, and the future that runs it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use capnp::capability::{Client, FromClientHook};
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::VatId;
use capnp_rpc::{Disconnector, RpcSystem, VatNetwork, twoparty};
use futures::{AsyncRead, AsyncWrite};

use super::bootstrap;
use super::ending::Ending;
use super::handle::Guard;
use super::network::Guarded;
use super::options::GuardOptions;
use super::relay::Relay;
use super::stream::{Stream, Writes};
use super::waker::keep;
use crate::error::Error;

/// One guarded connection to a peer, of whose end all are told who have part in it.
///
/// It is a handle: the connection lives as long as its [`ConnectionDriver`] is polled.
#[derive(Clone)]
pub struct Connection {
    guard: Guard,
    bootstrap: Client,
}

/// Runs a [`Connection`]: a future to be spawned on the event loop.
///
/// It ends when the connection does. Dropping it cuts the connection: what is in flight fails, and
/// nothing of it stays alive.
#[must_use = "futures do nothing unless polled"]
pub struct ConnectionDriver {
    /// It is let go of when it has come to its end.
    system: Option<RpcSystem<VatId>>,
    disconnector: Disconnector<VatId>,
    ending: Ending,
    /// What writes, if the network does not.
    writes: Option<Writes>,
    /// After `system`, as fields are dropped in their order.
    remains: Remains,
}

/// What those leave that stand for promises and objects. Nothing of it may be dropped within a task of
/// `capnp-rpc`'s.
struct Remains {
    relay: Rc<Relay>,
}

impl Drop for Remains {
    fn drop(&mut self) {
        self.relay.stop();
    }
}

impl Connection {
    /// Connects as the client over a pair of streams, with the default [`ReaderOptions`](capnp::message::ReaderOptions).
    pub fn connect<R, W>(reader: R, writer: W) -> (Self, ConnectionDriver)
    where
        R: AsyncRead + Unpin + 'static,
        W: AsyncWrite + Unpin + 'static,
    {
        Self::connect_with(reader, writer, GuardOptions::default())
    }

    /// Connects as the client, guarded by `options`.
    pub fn connect_with<R, W>(
        reader: R,
        writer: W,
        options: impl Into<GuardOptions>,
    ) -> (Self, ConnectionDriver)
    where
        R: AsyncRead + Unpin + 'static,
        W: AsyncWrite + Unpin + 'static,
    {
        Self::over(reader, writer, Side::Client, options.into(), |_| None)
    }

    /// Serves a client over a pair of streams, with the default [`ReaderOptions`](capnp::message::ReaderOptions).
    ///
    /// `bootstrap` makes what the client gets first: an object of this connection alone, which is let go of
    /// at the connection's end.
    pub fn serve<R, W>(
        reader: R,
        writer: W,
        bootstrap: impl FnOnce(&Ending) -> Client,
    ) -> (Self, ConnectionDriver)
    where
        R: AsyncRead + Unpin + 'static,
        W: AsyncWrite + Unpin + 'static,
    {
        Self::serve_with(reader, writer, GuardOptions::default(), bootstrap)
    }

    /// Serves a client, guarded by `options`.
    pub fn serve_with<R, W>(
        reader: R,
        writer: W,
        options: impl Into<GuardOptions>,
        bootstrap: impl FnOnce(&Ending) -> Client,
    ) -> (Self, ConnectionDriver)
    where
        R: AsyncRead + Unpin + 'static,
        W: AsyncWrite + Unpin + 'static,
    {
        Self::over(reader, writer, Side::Server, options.into(), |ending| {
            Some(bootstrap(ending))
        })
    }

    fn over<R, W>(
        reader: R,
        writer: W,
        side: Side,
        options: GuardOptions,
        bootstrap: impl FnOnce(&Ending) -> Option<Client>,
    ) -> (Self, ConnectionDriver)
    where
        R: AsyncRead + Unpin + 'static,
        W: AsyncWrite + Unpin + 'static,
    {
        let guard = Guard::new(options, Ending::default());
        let (network, writes) = Stream::new(reader, writer, side, guard.clone());
        Self::behind(Box::new(network), Some(writes), guard, bootstrap)
    }

    /// A connection over any two-party network. Bytes that come are not counted.
    pub fn new<R>(
        network: twoparty::VatNetwork<R>,
        options: impl Into<GuardOptions>,
        bootstrap: impl FnOnce(&Ending) -> Option<Client>,
    ) -> (Self, ConnectionDriver)
    where
        R: AsyncRead + Unpin + 'static,
    {
        let guard = Guard::new(options.into(), Ending::default());
        let network = Guarded::behind(network, guard.clone());
        Self::behind(Box::new(network), None, guard, bootstrap)
    }

    fn behind(
        network: Box<dyn VatNetwork<VatId>>,
        writes: Option<Writes>,
        guard: Guard,
        make: impl FnOnce(&Ending) -> Option<Client>,
    ) -> (Self, ConnectionDriver) {
        let ending = guard.ending().clone();
        let bootstrap = Some(bootstrap::until_the_end(&guard, make(&ending)));
        let mut system = RpcSystem::new(network, bootstrap);
        let disconnector = system.get_disconnector();
        // Asked for here, where the connection is sure to be alive: later it would panic.
        let bootstrap = bootstrap::served(system.bootstrap(Side::Server));
        let relay = guard.inner.relay.clone();
        let connection = Self { guard, bootstrap };
        let driver = ConnectionDriver {
            system: Some(system),
            disconnector,
            ending,
            writes,
            remains: Remains { relay },
        };
        (connection, driver)
    }

    /// What the serving side serves: the peer, or this side itself.
    pub fn bootstrap<C: FromClientHook>(&self) -> C {
        C::new(self.bootstrap.hook.add_ref())
    }

    /// The connection's end.
    pub fn ending(&self) -> &Ending {
        self.guard.ending()
    }

    /// What the peer has, and what it was refused.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }
}

impl Future for ConnectionDriver {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(writes) = &self.writes {
            writes.attend();
        }
        let Some(system) = &mut self.system else {
            return Poll::Ready(Ok(()));
        };
        let polled = Pin::new(system).poll(cx);
        if let Some(writes) = &mut self.writes
            && writes.poll(cx).is_ready()
        {
            self.writes = None;
        }
        if self.ending.reason().is_some() {
            keep(&self.remains.relay.waker, cx.waker());
            self.remains.relay.clear();
        }
        let result = std::task::ready!(polled);
        self.ending
            .end(Error::disconnected("the connection is over"));
        self.system = None;
        self.remains.relay.stop();
        self.ending.stop();
        Poll::Ready(result.map_err(Error::from))
    }
}

impl Drop for ConnectionDriver {
    fn drop(&mut self) {
        self.ending
            .end(Error::disconnected("the connection was cut on this side"));
        // `capnp-rpc` leaks a connection that is dropped with calls in flight, unless it is asked once
        // to disconnect: then it lets its tables go.
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut self.disconnector).poll(&mut cx);
        self.ending.stop();
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("ending", self.ending())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ConnectionDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionDriver").finish_non_exhaustive()
    }
}
