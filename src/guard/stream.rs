//! The network of two streams behind a guard. It has fewer parts between a message and its bytes than the one of
//! `capnp-rpc`, and reads and writes more of them at once.

use std::cell::RefCell;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};

use capnp::capability::Promise;
use capnp::message::{Builder, HeapAllocator};
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::VatId;
use capnp_rpc::{Connection, VatNetwork};
use futures::{AsyncRead, AsyncWrite};

use super::handle::Guard;
use super::network::{gone, guarded, written};
use super::reading::Reader;
use super::source::{Draft, Message, NewStream, Source};
use super::waker::keep;
use super::writing::{Queue, Writer};

/// A network of two parties: one pair of streams.
pub(super) struct Stream<R, W> {
    guard: Guard,
    side: Side,
    /// Until it is accepted.
    ends: Option<Rc<Ends<R>>>,
    weak: Weak<Ends<R>>,
    shutdown: Rc<Shutdown>,
    streams: PhantomData<W>,
}

/// What writes. It is polled after all else of a connection, so that whatever has something to say then need wake
/// nobody. It is over when nothing is written any more.
pub(super) struct Writes {
    queue: Rc<Queue>,
    poll: Box<PollWrites>,
}

type PollWrites = dyn FnMut(&mut Context<'_>) -> Poll<()>;

impl Writes {
    /// It will be polled soon.
    pub(super) fn attend(&self) {
        self.queue.attend();
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        (self.poll)(cx)
    }
}

/// How that came to its end.
#[derive(Default)]
struct Shutdown {
    result: RefCell<Option<capnp::Result<()>>>,
    waker: RefCell<Option<Waker>>,
}

/// Both ends of the connection.
struct Ends<R> {
    side: Side,
    reader: RefCell<Option<Reader<R>>>,
    queue: Rc<Queue>,
}

impl<R> Drop for Ends<R> {
    fn drop(&mut self) {
        self.queue.leave();
    }
}

impl<R, W> Stream<R, W>
where
    R: AsyncRead + Unpin + 'static,
    W: AsyncWrite + Unpin + 'static,
{
    pub(super) fn new(reader: R, writer: W, side: Side, guard: Guard) -> (Self, Writes) {
        let queue = Rc::new(Queue::default());
        let mut writer = Writer::new(guard.counting_writer(writer), queue.clone());
        let ends = Rc::new(Ends {
            side,
            reader: RefCell::new(Some(Reader::new(reader, guard.clone()))),
            queue: queue.clone(),
        });
        let shutdown = Rc::new(Shutdown::default());
        let (is_over, watched) = (shutdown.clone(), guard.clone());
        let poll = Box::new(move |cx: &mut Context<'_>| {
            let polled = writer.poll(cx);
            if let Some(error) = writer.failure() {
                watched.inner.lose_soon(error);
            }
            let result = ready!(written(&watched, polled, cx));
            is_over.result.replace(Some(result));
            is_over.waker.take().into_iter().for_each(Waker::wake);
            Poll::Ready(())
        });
        let network = Self {
            guard,
            side,
            weak: Rc::downgrade(&ends),
            ends: Some(ends),
            shutdown,
            streams: PhantomData,
        };
        (network, Writes { queue, poll })
    }
}

impl<R, W> VatNetwork<VatId> for Stream<R, W>
where
    R: AsyncRead + Unpin + 'static,
    W: AsyncWrite + Unpin + 'static,
{
    fn connect(&mut self, host_id: VatId) -> Option<Box<dyn Connection<VatId>>> {
        if host_id == self.side {
            return None;
        }
        let ends = self.weak.upgrade()?;
        Some(guarded(self.guard.clone(), Box::new(ends)))
    }

    fn accept(&mut self) -> Promise<Box<dyn Connection<VatId>>, capnp::Error> {
        match self.ends.take() {
            Some(ends) => Promise::ok(guarded(self.guard.clone(), Box::new(ends))),
            None => Promise::from_future(std::future::pending()),
        }
    }

    fn drive_until_shutdown(&mut self) -> Promise<(), capnp::Error> {
        let shutdown = self.shutdown.clone();
        Promise::from_future(poll_fn(move |cx| {
            if let Some(result) = shutdown.result.take() {
                return Poll::Ready(result);
            }
            keep(&shutdown.waker, cx.waker());
            Poll::Pending
        }))
    }
}

/// It goes with its `RpcSystem`.
impl<R, W> Drop for Stream<R, W> {
    fn drop(&mut self) {
        gone(&self.guard);
    }
}

impl<R: AsyncRead + Unpin> Source<VatId> for Rc<Ends<R>> {
    fn peer(&self) -> VatId {
        self.side
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<capnp::Result<Option<Message>>> {
        match &mut *self.reader.borrow_mut() {
            Some(reader) => match ready!(reader.poll(cx))? {
                Some(message) => Poll::Ready(Ok(Some(Message::Own(Box::new(message))))),
                None => Poll::Ready(Ok(None)),
            },
            None => Poll::Ready(Ok(None)),
        }
    }

    fn stop(&mut self) {
        drop(self.reader.take());
    }

    fn draft(&mut self, first_segment_words: u32) -> Draft {
        let room = HeapAllocator::new().first_segment_words(first_segment_words);
        Draft::Own(Builder::new(room), self.queue.clone())
    }

    fn new_stream(&mut self) -> Option<NewStream> {
        None
    }

    fn shutdown(&mut self, result: capnp::Result<()>) -> Promise<(), capnp::Error> {
        self.queue.end(result)
    }
}
