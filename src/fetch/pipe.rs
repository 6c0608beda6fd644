//! A body that comes in.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures::stream::{self, Stream};

use super::body::Body;
use crate::byte_stream_capnp::byte_stream;
use crate::error::{Error, Result};

/// How many bytes may wait to be read before whoever writes has to wait.
const ROOM: usize = 64 * 1024;

/// How many bytes may wait to be read at all: a writer that waits never has so many. What writes have not
/// come here yet, as `capnp-rpc` keeps them back while one waits, is not counted.
const MAX_WAITING: usize = 16 * 1024 * 1024;

/// What is between the writer of a body and its reader.
#[derive(Default)]
struct Pipe {
    pieces: VecDeque<Bytes>,
    waiting: usize,
    received: u64,
    /// What was said beforehand.
    length: Option<u64>,
    is_ended: bool,
    /// What its sender did wrong.
    error: Option<Error>,
    /// Its writer is gone.
    is_dropped: bool,
    is_read: bool,
    reader: Option<Waker>,
    writers: Vec<Waker>,
}

/// Ends a body that is being received, when it is dropped: what has not been read is given up.
pub(super) struct Closer {
    pipe: Rc<RefCell<Pipe>>,
    is_left: bool,
}

impl Closer {
    /// Lets the body end as it will.
    pub(super) fn leave(mut self) {
        self.is_left = true;
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        if self.is_left {
            return;
        }
        let mut pipe = self.pipe.borrow_mut();
        pipe.is_dropped = true;
        let reader = pipe.reader.take();
        drop(pipe);
        let reading = Reader {
            pipe: self.pipe.clone(),
        };
        drop(reading);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

/// A stream for the sender of a body of `length`, and the body. If the sender drops it before its end, the
/// body fails with what `why` gives.
pub(super) fn pipe(
    length: Option<u64>,
    why: impl Future<Output = Error> + 'static,
) -> (byte_stream::Client, Body, Closer) {
    let pipe = Rc::new(RefCell::new(Pipe {
        length,
        is_read: true,
        ..Pipe::default()
    }));
    let writer = Writer { pipe: pipe.clone() };
    let closer = Closer {
        pipe: pipe.clone(),
        is_left: false,
    };
    let body = Body::stream(pieces(Reader { pipe }, why));
    let body = match length {
        Some(length) => body.with_length(length),
        None => body,
    };
    (capnp_rpc::new_client(writer), body, closer)
}

/// The sender's end.
struct Writer {
    pipe: Rc<RefCell<Pipe>>,
}

/// The end of whoever reads the body.
struct Reader {
    pipe: Rc<RefCell<Pipe>>,
}

fn pieces(
    reader: Reader,
    why: impl Future<Output = Error> + 'static,
) -> impl Stream<Item = Result<Bytes>> + 'static {
    stream::unfold(Some((reader, why)), async |state| {
        let (reader, why) = state?;
        match poll_fn(|cx| reader.poll(cx)).await {
            Next::Piece(piece) => Some((Ok(piece), Some((reader, why)))),
            Next::End => None,
            Next::Failed(error) => Some((Err(error), None)),
            Next::Dropped => Some((Err(why.await), None)),
        }
    })
}

enum Next {
    Piece(Bytes),
    End,
    Failed(Error),
    Dropped,
}

impl Reader {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Next> {
        let mut pipe = self.pipe.borrow_mut();
        if let Some(piece) = pipe.pieces.pop_front() {
            pipe.waiting -= piece.len();
            if pipe.waiting < ROOM {
                let writers = std::mem::take(&mut pipe.writers);
                drop(pipe);
                writers.into_iter().for_each(Waker::wake);
            }
            return Poll::Ready(Next::Piece(piece));
        }
        if let Some(error) = pipe.error.clone() {
            return Poll::Ready(Next::Failed(error));
        }
        if pipe.is_ended {
            return Poll::Ready(Next::End);
        }
        if pipe.is_dropped {
            return Poll::Ready(Next::Dropped);
        }
        let old = pipe.reader.replace(cx.waker().clone());
        drop(pipe);
        drop(old);
        Poll::Pending
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut pipe = self.pipe.borrow_mut();
        pipe.is_read = false;
        let (pieces, writers) = (
            std::mem::take(&mut pipe.pieces),
            std::mem::take(&mut pipe.writers),
        );
        drop(pipe);
        drop(pieces);
        writers.into_iter().for_each(Waker::wake);
    }
}

impl Pipe {
    fn write(&mut self, piece: &[u8]) -> Result<()> {
        self.check_is_read()?;
        if piece.is_empty() {
            return Ok(());
        }
        self.received = self.received.saturating_add(piece.len() as u64);
        if let Some(length) = self.length
            && self.received > length
        {
            return self.fail(Error::malformed(format!(
                "a body has more than the {length} bytes that it was said to have"
            )));
        }
        if self.is_ended {
            return self.fail(Error::malformed("a body goes on after its end"));
        }
        if self.waiting + piece.len() > MAX_WAITING {
            return self.fail(Error::overloaded(format!(
                "more than {MAX_WAITING} bytes of a body wait to be read, which is the limit; wait for \
                 each write to return"
            )));
        }
        self.waiting += piece.len();
        self.pieces.push_back(Bytes::copy_from_slice(piece));
        // It is whole then, whether its sender says so or not.
        self.is_ended = self.length == Some(self.received);
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if let Some(length) = self.length
            && self.received < length
        {
            return self.fail(Error::malformed(format!(
                "a body ends after {} of the {length} bytes that it was said to have",
                self.received
            )));
        }
        self.is_ended = true;
        Ok(())
    }

    /// Its reader is to know as well.
    fn fail(&mut self, error: Error) -> Result<()> {
        self.error = Some(error.clone());
        Err(error)
    }

    fn check_is_read(&self) -> Result<()> {
        match self.is_read {
            true => Ok(()),
            // As if it were gone: peers take that for no fault of theirs.
            false => Err(Error::disconnected("nobody reads this body any more")),
        }
    }
}

impl Writer {
    /// Changes the pipe, and wakes its reader.
    fn with<T>(&self, f: impl FnOnce(&mut Pipe) -> T) -> T {
        let mut pipe = self.pipe.borrow_mut();
        let result = f(&mut pipe);
        let reader = pipe.reader.take();
        drop(pipe);
        if let Some(reader) = reader {
            reader.wake();
        }
        result
    }

    /// Waits for room.
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut pipe = self.pipe.borrow_mut();
        if let Err(error) = pipe.check_is_read() {
            return Poll::Ready(Err(error));
        }
        if pipe.waiting < ROOM {
            return Poll::Ready(Ok(()));
        }
        pipe.writers.push(cx.waker().clone());
        Poll::Pending
    }
}

impl byte_stream::Server for Writer {
    async fn write(self: Rc<Self>, params: byte_stream::WriteParams) -> capnp::Result<()> {
        // In the order in which they come, whatever waits before.
        let piece = params.get()?.get_bytes()?;
        self.with(|pipe| pipe.write(piece))?;
        drop(params);
        Ok(poll_fn(|cx| self.poll_room(cx)).await?)
    }

    async fn end(
        self: Rc<Self>,
        _params: byte_stream::EndParams,
        _results: byte_stream::EndResults,
    ) -> capnp::Result<()> {
        Ok(self.with(Pipe::end)?)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.with(|pipe| pipe.is_dropped = true);
    }
}
