//! A network whose messages are judged before `capnp-rpc` sees them.

use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use capnp::capability::Promise;
use capnp_rpc::twoparty::VatId;
use capnp_rpc::{Connection, IncomingMessage, OutgoingMessage, VatNetwork};

use super::ending::Ending;
use super::handle::Guard;
use super::incoming::Inbox;
use super::options::GuardOptions;
use super::outgoing::Outgoing;
use super::over::lost;
use super::source::{Any, NewStream, Source};
use super::waker::keep;
use crate::error::Error;

/// A network of two parties behind a guard: for any [`RpcSystem`](capnp_rpc::RpcSystem).
///
/// ```
/// # use capnp_rpc::rpc_twoparty_capnp::Side;
/// # use capnp_rpc::{RpcSystem, twoparty};
/// # use capspan::guard::{GuardLimits, Guarded};
/// # fn example(
/// #     network: twoparty::VatNetwork<futures::io::Empty>,
/// #     bootstrap: capnp::capability::Client,
/// # ) {
/// let guarded = Guarded::new(network, GuardLimits::default().max_calls(256));
/// let guard = guarded.guard();
/// let system = RpcSystem::new(Box::new(guarded), Some(bootstrap));
/// # }
/// ```
///
/// [`Connection`](super::Connection) is that, with what an `RpcSystem` leaves to its user at the end of a
/// connection.
///
/// What a peer gives that a call of its own will return, in place of a capability, is only looked after behind
/// a [`Connection`](super::Connection): a service that returns it makes `capnp-rpc` go round for ever.
pub struct Guarded<N, V = VatId> {
    network: N,
    guard: Guard,
    vat: PhantomData<V>,
}

impl<N, V> Guarded<N, V> {
    /// Puts a guard before `network`, which has one connection.
    pub fn new(network: N, options: impl Into<GuardOptions>) -> Self {
        Self::behind(network, Guard::new(options.into(), Ending::default()))
    }

    pub(super) fn behind(network: N, guard: Guard) -> Self {
        Self {
            network,
            guard,
            vat: PhantomData,
        }
    }

    /// What is known of the connection.
    pub fn guard(&self) -> Guard {
        self.guard.clone()
    }
}

/// It goes with its `RpcSystem`.
impl<N, V> Drop for Guarded<N, V> {
    fn drop(&mut self) {
        gone(&self.guard);
    }
}

impl<N: VatNetwork<V>, V: 'static> VatNetwork<V> for Guarded<N, V> {
    fn connect(&mut self, host_id: V) -> Option<Box<dyn Connection<V>>> {
        let connection = self.network.connect(host_id)?;
        let source = Box::new(Any::new(connection));
        Some(guarded(self.guard.clone(), source))
    }

    fn accept(&mut self) -> Promise<Box<dyn Connection<V>>, capnp::Error> {
        let accepted = self.network.accept();
        let guard = self.guard.clone();
        Promise::from_future(async move {
            let source = Box::new(Any::new(accepted.await?));
            Ok(guarded(guard, source))
        })
    }

    fn drive_until_shutdown(&mut self) -> Promise<(), capnp::Error> {
        let mut shutdown = self.network.drive_until_shutdown();
        let guard = self.guard.clone();
        Promise::from_future(poll_fn(move |cx| {
            let polled = Pin::new(&mut shutdown).poll(cx);
            written(&guard, polled, cx)
        }))
    }
}

/// Nothing counts any more, whoever still has a handle.
pub(super) fn gone(guard: &Guard) {
    let inner = &guard.inner;
    let reason = Error::disconnected("the connection was cut on this side");
    inner.ending.end(reason);
    inner.queue.clear();
    inner.close();
}

/// How far what writes is.
pub(super) fn written(
    guard: &Guard,
    polled: Poll<capnp::Result<()>>,
    cx: &mut Context<'_>,
) -> Poll<capnp::Result<()>> {
    let inner = &guard.inner;
    let result = match polled {
        Poll::Ready(result) => result,
        Poll::Pending if inner.is_left(cx) => Ok(()),
        Poll::Pending => {
            keep(&inner.writer, cx.waker());
            return Poll::Pending;
        }
    };
    inner.queue.clear();
    inner.account();
    end(guard, &result);
    Poll::Ready(result)
}

pub(super) fn guarded<V: 'static>(
    guard: Guard,
    source: Box<dyn Source<V>>,
) -> Box<dyn Connection<V>> {
    Box::new(GuardedConnection {
        inbox: Rc::new(Inbox::new(guard, source)),
    })
}

fn end(guard: &Guard, result: &capnp::Result<()>) {
    guard.inner.ending.end(match result {
        Ok(()) => Error::disconnected("the connection was shut down"),
        Err(error) => lost(guard.inner.peer(), error),
    });
}

struct GuardedConnection<V> {
    inbox: Rc<Inbox<V>>,
}

impl<V: 'static> Connection<V> for GuardedConnection<V> {
    fn get_peer_vat_id(&self) -> V {
        self.inbox.source.borrow().peer()
    }

    fn new_outgoing_message(&mut self, first_segment_word_size: u32) -> Box<dyn OutgoingMessage> {
        let mut source = self.inbox.source.borrow_mut();
        let message = source.draft(first_segment_word_size);
        Box::new(Outgoing::new(message, self.inbox.guard.clone()))
    }

    fn receive_incoming_message(
        &mut self,
    ) -> Promise<Option<Box<dyn IncomingMessage>>, capnp::Error> {
        let inbox = self.inbox.clone();
        Promise::from_future(poll_fn(move |cx| inbox.poll(cx)))
    }

    fn new_stream(&mut self) -> NewStream {
        let stream = self.inbox.source.borrow_mut().new_stream();
        stream.unwrap_or_else(|| Default(self).new_stream())
    }

    fn shutdown(&mut self, result: capnp::Result<()>) -> Promise<(), capnp::Error> {
        let inner = &self.inbox.guard.inner;
        inner.cut_if_due();
        inner.lose_if_unwritten();
        // Who runs the connection is told what was wrong, not only that it is over.
        let result = inner.over().map_or(result, |over| Err(over.fault.clone()));
        end(&self.inbox.guard, &result);
        self.inbox.close();
        inner.close();
        inner.wake();
        self.inbox.source.borrow_mut().shutdown(result)
    }
}

/// The same, with what connections have by default.
struct Default<'a, V>(&'a mut GuardedConnection<V>);

impl<V: 'static> Connection<V> for Default<'_, V> {
    fn get_peer_vat_id(&self) -> V {
        self.0.get_peer_vat_id()
    }

    fn new_outgoing_message(&mut self, first_segment_word_size: u32) -> Box<dyn OutgoingMessage> {
        self.0.new_outgoing_message(first_segment_word_size)
    }

    fn receive_incoming_message(
        &mut self,
    ) -> Promise<Option<Box<dyn IncomingMessage>>, capnp::Error> {
        self.0.receive_incoming_message()
    }

    fn shutdown(&mut self, result: capnp::Result<()>) -> Promise<(), capnp::Error> {
        self.0.shutdown(result)
    }
}
