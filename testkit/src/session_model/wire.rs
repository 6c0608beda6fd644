//! A connection in memory that can be cut in the middle of what is on its way.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures::{AsyncRead, AsyncWrite};

/// What lies between two ends: what each writes, the other reads. Clones are handles to the same.
#[derive(Clone)]
pub(super) struct Wire {
    directions: [Rc<RefCell<Direction>>; 2],
}

/// One end of a wire.
pub(super) type End = (Reader, Writer);

pub(super) struct Reader {
    wire: Wire,
    direction: Rc<RefCell<Direction>>,
}

pub(super) struct Writer(Rc<RefCell<Direction>>);

#[derive(Default)]
struct Direction {
    pieces: VecDeque<Vec<u8>>,
    /// How many pieces more arrive before it is cut; `None`: all.
    left: Option<usize>,
    is_cut: bool,
    is_ended: bool,
    reader: Option<Waker>,
}

impl Direction {
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl Wire {
    /// A wire, its client's end, and its server's.
    pub(super) fn new() -> (Self, End, End) {
        let wire = Self {
            directions: Default::default(),
        };
        let [to_server, to_client] = wire.directions.clone();
        let end = |reads: &Rc<_>, writes: &Rc<_>| {
            let (wire, direction) = (wire.clone(), Rc::clone(reads));
            (Reader { wire, direction }, Writer(Rc::clone(writes)))
        };
        let client = end(&to_client, &to_server);
        let server = end(&to_server, &to_client);
        (wire, client, server)
    }

    /// Parts the ends once so many pieces more have arrived at the server or at the client. A message is one
    /// or more. Both directions end together: what is left of one could tell in good order of what the other's
    /// end has made its reader let go.
    pub(super) fn cut_after(&self, pieces: [usize; 2]) {
        for (direction, pieces) in self.directions.iter().zip(pieces) {
            direction.borrow_mut().left = Some(pieces);
        }
        if pieces.contains(&0) {
            self.cut();
        }
    }

    /// Parts the ends now. What is on its way is lost.
    pub(super) fn cut(&self) {
        for direction in &self.directions {
            let mut direction = direction.borrow_mut();
            direction.is_cut = true;
            direction.wake();
        }
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut direction = self.direction.borrow_mut();
        if direction.is_cut {
            return Poll::Ready(Ok(0));
        }
        let Some(piece) = direction.pieces.front_mut() else {
            if direction.is_ended {
                return Poll::Ready(Ok(0));
            }
            direction.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let count = buffer.len().min(piece.len());
        buffer[..count].copy_from_slice(&piece[..count]);
        piece.drain(..count);
        if piece.is_empty() {
            direction.pieces.pop_front();
            direction.left = direction.left.map(|left| left - 1);
            if direction.left == Some(0) {
                drop(direction);
                self.wire.cut();
            }
        }
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Writer {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut direction = self.0.borrow_mut();
        if direction.is_cut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        direction.pieces.push_back(bytes.to_vec());
        direction.wake();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut direction = self.0.borrow_mut();
        direction.is_ended = true;
        direction.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Reader {
    /// Nobody reads any more: who writes is told.
    fn drop(&mut self) {
        self.direction.borrow_mut().is_cut = true;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut direction = self.0.borrow_mut();
        direction.is_ended = true;
        direction.wake();
    }
}
