//! Two parties and what lies between them.
//!
//! ```
//! use capspan_testkit::membrane::{World, connect, run};
//! # fn main() -> Result<(), capnp::Error> {
//! run(async {
//!     let world = World::new();
//!     let here = connect(world.probe("there"));
//!     let response = here.bootstrap.label_request().send().promise.await?;
//!     assert_eq!(response.get()?.get_label()?, "there");
//!     Ok(())
//! })
//! # }
//! ```

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use capnp::capability::{Client, FromClientHook};
use capnp::message::ReaderOptions;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::{VatId, VatNetwork};
use capnp_rpc::{Disconnector, RpcSystem};
use futures::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep};

use super::events::{Circle, when_over};

/// What lies between a client and a server: what each writes, the other reads, after a while.
///
/// It is for the test, which has it cut or stall. Clones are handles to the same link.
#[derive(Clone)]
pub struct Link {
    to_server: Rc<RefCell<Pipe>>,
    to_client: Rc<RefCell<Pipe>>,
    latency: Duration,
}

/// One party's end of a [`Link`]: streams as `capnp-rpc` takes them.
pub struct End {
    /// What the other party wrote.
    pub reader: Reader,
    /// What the other party will read.
    pub writer: Writer,
}

/// See [`End`].
pub struct Reader {
    pipe: Rc<RefCell<Pipe>>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// See [`End`].
pub struct Writer {
    pipe: Rc<RefCell<Pipe>>,
}

#[derive(Default)]
struct Pipe {
    latency: Duration,
    /// When it arrives (`None`: at once), what it is, how much of it has been read.
    chunks: VecDeque<(Option<Instant>, Vec<u8>, usize)>,
    written: u64,
    ended: bool,
    cut: bool,
    stalled: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Link {
    /// A link over which everything arrives at once, and its ends: the client's and the server's.
    pub fn new() -> (Self, End, End) {
        Self::with_latency(Duration::ZERO)
    }

    /// A link over which everything arrives `latency` later, in whole milliseconds of paused time.
    pub fn with_latency(latency: Duration) -> (Self, End, End) {
        let pipe = || {
            let pipe = Rc::new(RefCell::new(Pipe {
                latency,
                ..Pipe::default()
            }));
            let weak = Rc::downgrade(&pipe);
            when_over(weak);
            pipe
        };
        let link = Self {
            to_server: pipe(),
            to_client: pipe(),
            latency,
        };
        let client = End::new(&link.to_client, &link.to_server);
        let server = End::new(&link.to_server, &link.to_client);
        (link, client, server)
    }

    /// Both directions break: reading and writing fail, what is under way is lost.
    pub fn cut(&self) {
        self.cut_to_server();
        self.cut_to_client();
    }

    /// What the client writes no longer arrives, and both notice.
    pub fn cut_to_server(&self) {
        self.to_server.borrow_mut().cut();
    }

    /// What the server writes no longer arrives, and both notice.
    pub fn cut_to_client(&self) {
        self.to_client.borrow_mut().cut();
    }

    /// From now on the server reads nothing, and the client can't write; or both go on.
    pub fn stall_to_server(&self, stalled: bool) {
        self.to_server.borrow_mut().stall(stalled);
    }

    /// From now on the client reads nothing, and the server can't write; or both go on.
    pub fn stall_to_client(&self, stalled: bool) {
        self.to_client.borrow_mut().stall(stalled);
    }

    /// How many bytes were written: by the client and by the server.
    pub fn bytes(&self) -> (u64, u64) {
        let (to_server, to_client) = (self.to_server.borrow(), self.to_client.borrow());
        (to_server.written, to_client.written)
    }

    /// How many one-way trips fit into the time since `start`.
    ///
    /// # Panics
    /// Where the link has no latency, or something else took time.
    pub fn trips_since(&self, start: Instant) -> u32 {
        let (elapsed, latency) = (start.elapsed().as_micros(), self.latency.as_micros());
        assert_eq!(elapsed % latency, 0, "something but the link took time");
        (elapsed / latency) as u32
    }
}

impl Circle for RefCell<Pipe> {
    fn end(&self) {
        self.borrow_mut().cut();
    }
}

impl Pipe {
    fn wake(&mut self) {
        let wakers = [self.reader.take(), self.writer.take()];
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
    }

    fn cut(&mut self) {
        self.cut = true;
        self.wake();
    }

    fn stall(&mut self, stalled: bool) {
        self.stalled = stalled;
        self.wake();
    }
}

impl End {
    fn new(reads: &Rc<RefCell<Pipe>>, writes: &Rc<RefCell<Pipe>>) -> Self {
        Self {
            reader: Reader {
                pipe: reads.clone(),
                timer: None,
            },
            writer: Writer {
                pipe: writes.clone(),
            },
        }
    }

    /// A two-party network on this end, with the default [`ReaderOptions`].
    pub fn network(self, side: Side) -> VatNetwork<Reader> {
        VatNetwork::new(self.reader, self.writer, side, ReaderOptions::default())
    }

    /// An RPC system on this end. Only the server's bootstrap object can be asked for.
    pub fn system(self, side: Side, bootstrap: Option<Client>) -> RpcSystem<VatId> {
        RpcSystem::new(Box::new(self.network(side)), bootstrap)
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let pipe = self.pipe.clone();
        let mut pipe = pipe.borrow_mut();
        if pipe.cut {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        pipe.reader = Some(cx.waker().clone());
        if pipe.stalled {
            return Poll::Pending;
        }
        let ended = pipe.ended;
        let Some((arrives, chunk, read)) = pipe.chunks.front_mut() else {
            return if ended {
                Poll::Ready(Ok(0))
            } else {
                Poll::Pending
            };
        };
        if let Some(arrives) = arrives
            && *arrives > Instant::now()
        {
            let mut timer = Box::pin(tokio::time::sleep_until(*arrives));
            if timer.as_mut().poll(cx).is_pending() {
                self.timer = Some(timer);
                return Poll::Pending;
            }
        }
        self.timer = None;
        let count = buffer.len().min(chunk.len() - *read);
        buffer[..count].copy_from_slice(&chunk[*read..*read + count]);
        *read += count;
        if *read == chunk.len() {
            pipe.chunks.pop_front();
        }
        Poll::Ready(Ok(count))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Nobody reads any more: who writes is told.
        self.pipe.borrow_mut().cut();
    }
}

impl AsyncWrite for Writer {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = self.pipe.borrow_mut();
        if pipe.cut || pipe.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if pipe.stalled {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let arrives = (!pipe.latency.is_zero()).then(|| Instant::now() + pipe.latency);
        pipe.written += bytes.len() as u64;
        pipe.chunks.push_back((arrives, bytes.to_vec(), 0));
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.pipe.borrow_mut();
        pipe.ended = true;
        pipe.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut pipe = self.pipe.borrow_mut();
        pipe.ended = true;
        pipe.wake();
    }
}

/// A client that is connected to a server, with both RPC systems running on this event loop.
pub struct Connected<C> {
    /// The server's bootstrap object, as the client sees it.
    pub bootstrap: C,
    /// What lies between them.
    pub link: Link,
    /// Ends the connection in good order, from the client's side.
    pub disconnector: Disconnector<VatId>,
    /// The client's system.
    pub client: JoinHandle<Result<(), capnp::Error>>,
    /// The server's system.
    pub server: JoinHandle<Result<(), capnp::Error>>,
}

/// A connection to `bootstrap` with everything arriving at once, within [`run`](super::run).
pub fn connect<C: FromClientHook>(bootstrap: C) -> Connected<C> {
    connect_over(Link::new(), bootstrap)
}

/// A connection to `bootstrap` over a link of one's own.
pub fn connect_over<C: FromClientHook>(link: (Link, End, End), bootstrap: C) -> Connected<C> {
    let (link, client, server) = link;
    let bootstrap = Client::new(bootstrap.into_client_hook());
    let server = server.system(Side::Server, Some(bootstrap));
    let mut client = client.system(Side::Client, None);
    let disconnector = client.get_disconnector();
    Connected {
        bootstrap: client.bootstrap(Side::Server),
        link,
        disconnector,
        client: tokio::task::spawn_local(client),
        server: tokio::task::spawn_local(server),
    }
}
