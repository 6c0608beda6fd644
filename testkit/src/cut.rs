//! Connections in memory that are cut at a byte.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use futures::{AsyncRead, AsyncWrite};

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Towards {
    /// What the client writes.
    Server,
    /// What the server writes.
    Client,
}

impl Towards {
    /// Both of them.
    pub const BOTH: [Self; 2] = [Self::Server, Self::Client];
}

/// What becomes of a connection that is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The direction ends after its last byte, and what is written afterwards is lost. The other one goes on.
    Ends,
    /// Both directions fail, for readers and writers. What is on its way the other way is lost.
    Fails,
    /// Nothing more comes this way, and nobody is told.
    Silent,
}

impl How {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ends, Self::Fails, Self::Silent];
}

/// Where and how a connection is cut.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// In which direction.
    pub towards: Towards,
    /// After how many of its bytes.
    pub after: usize,
    /// How.
    pub how: How,
}

/// A connection in memory, and what is known of it.
pub struct CutLink {
    /// The client's end.
    pub client: (Reader, Writer),
    /// The server's end.
    pub server: (Reader, Writer),
    /// What is known of it.
    pub watch: Watch,
}

/// What is known of a connection.
pub struct Watch {
    pipes: [Rc<Pipe>; 2],
    /// Held by each of the four ends as well.
    ends: Rc<()>,
}

impl Watch {
    /// How many bytes have been written in a direction.
    pub fn written(&self, towards: Towards) -> usize {
        self.pipes[towards as usize].state.borrow().written
    }

    /// How many readers and writers are alive, of four.
    pub fn ends(&self) -> usize {
        // One is its own.
        Rc::strong_count(&self.ends) - 1
    }

    /// Has it been cut?
    pub fn is_cut(&self) -> bool {
        let is_cut = |pipe: &Rc<Pipe>| pipe.state.borrow().fate.is_some();
        self.pipes.iter().any(is_cut)
    }
}

#[derive(Default)]
struct Pipe {
    state: RefCell<State>,
    /// After how many bytes it is cut.
    cut: Option<(usize, How)>,
    other: RefCell<Option<Weak<Self>>>,
}

#[derive(Default)]
struct State {
    on_its_way: VecDeque<u8>,
    written: usize,
    fate: Option<How>,
    is_closed: bool,
    has_reader: bool,
    reader: Option<Waker>,
}

impl Pipe {
    fn new(cut: Option<(usize, How)>) -> Rc<Self> {
        let pipe = Rc::new(Self {
            cut,
            ..Self::default()
        });
        pipe.state.borrow_mut().has_reader = true;
        pipe
    }

    /// Cuts it, where that is due.
    fn check(&self) {
        let Some((after, how)) = self.cut else { return };
        let is_due = {
            let state = self.state.borrow();
            state.written >= after && state.fate.is_none()
        };
        if is_due {
            self.meet(how);
            let other = self.other.borrow().as_ref().and_then(Weak::upgrade);
            if let (How::Fails, Some(other)) = (how, other) {
                other.state.borrow_mut().on_its_way.clear();
                other.meet(how);
            }
        }
    }

    fn meet(&self, fate: How) {
        let reader = {
            let mut state = self.state.borrow_mut();
            state.fate = Some(fate);
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn close(&self) {
        let reader = {
            let mut state = self.state.borrow_mut();
            state.is_closed = true;
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

/// Reads from a connection.
pub struct Reader {
    pipe: Rc<Pipe>,
    _end: Rc<()>,
}

/// Writes to a connection.
pub struct Writer {
    pipe: Rc<Pipe>,
    _end: Rc<()>,
}

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.pipe.state.borrow_mut();
        if !state.on_its_way.is_empty() {
            return Poll::Ready(io::Read::read(&mut state.on_its_way, buffer));
        }
        match state.fate {
            Some(How::Ends) => Poll::Ready(Ok(0)),
            Some(How::Fails) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            None if state.is_closed => Poll::Ready(Ok(0)),
            None | Some(How::Silent) => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Writer {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let reader = {
            let mut state = self.pipe.state.borrow_mut();
            let is_broken = state.fate == Some(How::Fails) || !state.has_reader;
            if is_broken {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let room = match (state.fate, self.pipe.cut) {
                (Some(_), _) => 0,
                (None, Some((after, _))) => after.saturating_sub(state.written),
                (None, None) => bytes.len(),
            };
            let passed = room.min(bytes.len());
            state.on_its_way.extend(&bytes[..passed]);
            state.written += bytes.len();
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
        self.pipe.check();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe.close();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.pipe.state.borrow_mut().has_reader = false;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.pipe.close();
    }
}

/// A connection that is cut, if so; there is room in it for whatever is written.
pub fn cut_link(cut: Option<Cut>) -> CutLink {
    let ends = Rc::new(());
    let pipes = Towards::BOTH.map(|towards| {
        let cut = cut.filter(|cut| cut.towards == towards);
        Pipe::new(cut.map(|cut| (cut.after, cut.how)))
    });
    let [to_server, to_client] = &pipes;
    to_server.other.replace(Some(Rc::downgrade(to_client)));
    to_client.other.replace(Some(Rc::downgrade(to_server)));
    let end = |from: &Rc<Pipe>, to: &Rc<Pipe>| {
        let reader = Reader {
            pipe: from.clone(),
            _end: ends.clone(),
        };
        let writer = Writer {
            pipe: to.clone(),
            _end: ends.clone(),
        };
        (reader, writer)
    };
    let (client, server) = (end(to_client, to_server), end(to_server, to_client));
    pipes.iter().for_each(|pipe| pipe.check());
    CutLink {
        client,
        server,
        watch: Watch { pipes, ends },
    }
}
