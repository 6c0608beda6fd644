//! A body that comes in: what is between its sender and its reader.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use futures::channel::oneshot;
use futures::stream::{self, Stream};

use super::body::Body;
use super::writer::{self, Nexts};
use crate::byte_stream_capnp::byte_stream;
use crate::error::{Error, Result};
use crate::room::Place;

/// How many bytes may wait to be read before whoever writes has to wait.
const ROOM: u64 = 64 * 1024;

/// How many bytes may wait to be read at all: a writer that waits never has so many.
pub(super) const MAX_WAITING: usize = 16 * 1024 * 1024;

/// Bytes that a write counts as, beside its own, while it waits: what is kept of a call that has not
/// returned.
pub(super) const WAITING_WRITE: usize = 1024;

/// Up to so many bytes, small pieces become one.
const SMALL: usize = 16 * 1024;

/// What is between the writer of a body and its reader.
pub(super) struct Pipe {
    state: RefCell<State>,
    /// Is told how many writes have been refused, each time.
    refuses: Box<dyn Fn(u64)>,
    /// What is held by calls on substreams that are to go on elsewhere.
    pub(super) passing_on: Cell<usize>,
}

#[derive(Default)]
struct State {
    pieces: VecDeque<BytesMut>,
    /// Bytes that came and bytes that were read.
    received: u64,
    read: u64,
    /// Where what waits is counted.
    place: Option<Place>,
    /// What was said beforehand.
    length: Option<u64>,
    is_ended: bool,
    /// What its sender did wrong.
    error: Option<Error>,
    /// Its writer is gone.
    is_dropped: bool,
    is_read: bool,
    reader: Option<Waker>,
    /// Writes that have not returned, and how many bytes had come with the last of their own.
    writes: VecDeque<(u64, oneshot::Sender<()>)>,
    refused: u64,
    /// How it came to its end, where that is still to be told, and to whom.
    over: Option<Over>,
    asks: Option<oneshot::Sender<Over>>,
}

/// How a body came to its end.
pub(super) enum Over {
    /// All of it is there.
    Complete,
    /// Its sender did something wrong.
    Failed(Error),
    /// Its sender is gone.
    Lost,
}

/// Ends a body that is being received, when it is dropped: what has not been read is given up.
pub(super) struct Closer(pub(super) Rc<Pipe>);

/// The end of whoever reads the body.
struct Reader {
    pipe: Rc<Pipe>,
}

/// What a pipe has to do with beside the body.
pub(super) struct Outside {
    /// Is told how the body comes to its end.
    pub(super) over: oneshot::Sender<Over>,
    /// Where what comes after substreams goes.
    pub(super) nexts: Weak<Nexts>,
    /// Is told how many writes have been refused because too much waits, each time.
    pub(super) refuses: Box<dyn Fn(u64)>,
    /// Where what waits to be read is counted together with others.
    pub(super) place: Option<Place>,
}

/// A stream for the sender of a body of `length`, and the body. If the sender drops it before its end, the
/// body fails with what `why` gives.
pub(super) fn pipe(
    length: Option<u64>,
    why: impl Future<Output = Error> + 'static,
    outside: Outside,
) -> (byte_stream::Client, Body, Rc<Pipe>) {
    let pipe = Rc::new(Pipe {
        state: RefCell::new(State {
            length,
            is_read: true,
            asks: Some(outside.over),
            place: outside.place,
            ..State::default()
        }),
        refuses: outside.refuses,
        passing_on: Cell::new(0),
    });
    let stream = writer::stream(pipe.clone(), outside.nexts);
    let reader = Reader { pipe: pipe.clone() };
    let body = Body::stream(pieces(reader, why));
    let body = match length {
        Some(length) => body.with_length(length),
        None => body,
    };
    (stream, body, pipe)
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.with(|state| state.is_dropped = true);
        self.0.leave();
    }
}

fn pieces(
    reader: Reader,
    why: impl Future<Output = Error> + 'static,
) -> impl Stream<Item = Result<Bytes>> + 'static {
    stream::unfold(Some((reader, why)), async |state| {
        let (reader, why) = state?;
        match poll_fn(|cx| reader.pipe.poll_read(cx)).await {
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

impl Drop for Reader {
    fn drop(&mut self) {
        self.pipe.leave();
    }
}

impl Pipe {
    /// Takes bytes, at once and in the order in which they come. Gives what to wait for before more of them
    /// should come.
    pub(super) fn write(&self, piece: &[u8]) -> Result<Option<oneshot::Receiver<()>>> {
        let written = self.with(|state| state.write(piece));
        if let Err(error) = &written
            && error.is_overloaded()
        {
            let refused = self.with(|state| {
                state.refused = state.refused.saturating_add(1);
                state.refused
            });
            (self.refuses)(refused);
        }
        written
    }

    /// It is whole.
    pub(super) fn end(&self) -> Result<()> {
        self.with(State::end)
    }

    /// Nobody will write any more.
    pub(super) fn lose(&self) {
        self.with(|state| {
            state.is_dropped = true;
            if !state.is_ended {
                state.over = Some(Over::Lost);
            }
        });
    }

    /// Why no more is to be written, where that is so.
    pub(super) fn check(&self) -> Result<()> {
        self.state.borrow().check()
    }

    fn poll_read(&self, cx: &mut Context<'_>) -> Poll<Next> {
        let mut state = self.state.borrow_mut();
        if let Some(piece) = state.pieces.pop_front() {
            state.read += piece.len() as u64;
            state.give_back(piece.len());
            let until = state.read + ROOM;
            let count = state.writes.partition_point(|(at, _)| *at < until);
            let returning: Vec<_> = state.writes.drain(..count).collect();
            drop(state);
            for (_, write) in returning {
                let _given_up = write.send(());
            }
            return Poll::Ready(Next::Piece(piece.freeze()));
        }
        if let Some(error) = state.error.clone() {
            return Poll::Ready(Next::Failed(error));
        }
        if state.is_ended {
            return Poll::Ready(Next::End);
        }
        if state.is_dropped {
            return Poll::Ready(Next::Dropped);
        }
        let old = state.reader.replace(cx.waker().clone());
        drop(state);
        drop(old);
        Poll::Pending
    }

    /// Nobody reads it any more.
    fn leave(&self) {
        self.with(|state| state.is_read = false);
    }

    /// Changes it, and tells whom it concerns. What nobody will read any more is let go.
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.borrow_mut();
        let result = f(&mut state);
        let reader = state.reader.take();
        let left = state.check().is_err().then(|| state.let_go());
        let over = state.over.take().map(|over| (over, state.asks.take()));
        drop(state);
        drop(left);
        if let Some((over, Some(asks))) = over {
            let _no_longer = asks.send(over);
        }
        if let Some(reader) = reader {
            reader.wake();
        }
        result
    }
}

impl State {
    fn write(&mut self, piece: &[u8]) -> Result<Option<oneshot::Receiver<()>>> {
        self.check()?;
        if !piece.is_empty() {
            self.take(piece)?;
        }
        if self.waiting() < ROOM {
            return Ok(None);
        }
        let (returns, waits) = oneshot::channel();
        self.writes.push_back((self.received, returns));
        Ok(Some(waits))
    }

    fn take(&mut self, piece: &[u8]) -> Result<()> {
        let received = self.received.saturating_add(piece.len() as u64);
        if let Some(length) = self.length
            && received > length
        {
            return self.fail(Error::malformed(format!(
                "a body has more than the {length} bytes that it was said to have"
            )));
        }
        if self.is_ended {
            return self.fail(Error::malformed("a body goes on after its end"));
        }
        let held = self.waiting() + (self.writes.len() * WAITING_WRITE + piece.len()) as u64;
        if held > MAX_WAITING as u64 {
            return self.fail(Error::overloaded(format!(
                "more than {MAX_WAITING} bytes of a body wait to be read, which is the limit (each write that \
                 waits counts as {WAITING_WRITE} more); wait for each write to return"
            )));
        }
        if let Some(place) = &mut self.place
            && let Err(error) = place.add(piece.len())
        {
            return self.fail(error);
        }
        self.received = received;
        match self.pieces.back_mut() {
            Some(last) if last.len() + piece.len() <= SMALL => last.extend_from_slice(piece),
            _ => self.pieces.push_back(piece.into()),
        }
        // It is whole then, whether its sender says so or not.
        if self.length == Some(self.received) {
            self.complete();
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if self.is_ended && self.error.is_none() {
            return Ok(());
        }
        self.check()?;
        if let Some(length) = self.length
            && self.received < length
        {
            return self.fail(Error::malformed(format!(
                "a body ends after {} of the {length} bytes that it was said to have",
                self.received
            )));
        }
        self.complete();
        Ok(())
    }

    fn complete(&mut self) {
        self.is_ended = true;
        self.over = Some(Over::Complete);
    }

    /// Its reader is to know as well.
    fn fail<T>(&mut self, error: Error) -> Result<T> {
        self.error = Some(error.clone());
        self.over = Some(Over::Failed(error.clone()));
        Err(error)
    }

    fn give_back(&mut self, size: usize) {
        if let Some(place) = &mut self.place {
            place.give_back(size);
        }
    }

    /// How many bytes wait to be read.
    fn waiting(&self) -> u64 {
        self.received - self.read
    }

    /// What waits: to be read, and to return.
    fn let_go(&mut self) -> impl Sized + use<> {
        self.read = self.received;
        self.give_back(usize::MAX);
        (
            std::mem::take(&mut self.pieces),
            std::mem::take(&mut self.writes),
        )
    }

    fn check(&self) -> Result<()> {
        match &self.error {
            Some(error) => Err(error.clone()),
            None if self.is_read => Ok(()),
            // As if it were gone: peers take that for no fault of theirs.
            None => Err(Error::disconnected("nobody reads this body any more")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe that is written to directly, with the capability that a peer would have.
    struct Held {
        pipe: Rc<Pipe>,
        _stream: byte_stream::Client,
    }

    impl std::ops::Deref for Held {
        type Target = Rc<Pipe>;

        fn deref(&self) -> &Rc<Pipe> {
            &self.pipe
        }
    }

    fn pipe_of(length: Option<u64>) -> (Held, Body, oneshot::Receiver<Over>, Rc<RefCell<u64>>) {
        let (over, is_over) = oneshot::channel();
        let refused = Rc::new(RefCell::new(0));
        let counts = refused.clone();
        let outside = Outside {
            over,
            nexts: Weak::new(),
            refuses: Box::new(move |count| *counts.borrow_mut() = count),
            place: None,
        };
        let why = async { Error::canceled("given up") };
        let (stream, body, pipe) = pipe(length, why, outside);
        let held = Held {
            pipe,
            _stream: stream,
        };
        (held, body, is_over, refused)
    }

    #[test]
    fn small_pieces_become_one() {
        let (pipe, _body, ..) = pipe_of(None);
        for _ in 0..60_000 {
            let waits = pipe.write(&[7]).unwrap();
            assert!(waits.is_none());
        }
        let state = pipe.state.borrow();
        assert!(state.pieces.len() <= 4, "{}", state.pieces.len());
    }

    #[test]
    fn what_is_refused_counts_not_and_breaks_the_body() {
        let (pipe, body, mut is_over, refused) = pipe_of(None);
        let error = pipe.write(&vec![1; MAX_WAITING + 1]).unwrap_err();
        assert!(error.is_overloaded(), "{error}");
        assert!(error.reason().contains("16777216"), "{error}");
        assert!(pipe.write(b"abc").unwrap_err().is_overloaded());
        assert!(pipe.end().unwrap_err().is_overloaded());
        assert_eq!(*refused.borrow(), 2);
        assert_eq!(pipe.state.borrow().waiting(), 0);
        let over = is_over.try_recv().unwrap();
        assert!(matches!(over, Some(Over::Failed(_))));
        let read = futures::executor::block_on(body.whole(10));
        assert!(read.unwrap_err().is_overloaded());
    }

    #[test]
    fn writes_that_wait_are_limited() {
        let (pipe, _body, ..) = pipe_of(None);
        pipe.write(&vec![1; ROOM as usize - 1]).unwrap();
        let mut waiting = Vec::new();
        let error = loop {
            match pipe.write(&[1]) {
                Ok(waits) => waiting.push(waits.unwrap()),
                Err(error) => break error,
            }
        };
        assert!(error.is_overloaded());
        assert!(
            waiting.len() <= MAX_WAITING / WAITING_WRITE,
            "{}",
            waiting.len()
        );
        for mut waits in waiting {
            assert!(waits.try_recv().is_err(), "it is told that it broke");
        }
    }

    #[test]
    fn a_write_returns_when_little_waits_before_it() {
        let (pipe, mut body, ..) = pipe_of(None);
        let piece = vec![1; SMALL + 1];
        let mut writes = VecDeque::new();
        for n in 0..10 {
            let waits = pipe.write(&piece).unwrap();
            assert_eq!(waits.is_none(), n < 3);
            writes.extend(waits);
        }
        for left in (0..writes.len()).rev() {
            let next = futures::executor::block_on(futures::StreamExt::next(&mut body));
            assert_eq!(next.unwrap().unwrap().len(), SMALL + 1);
            writes.retain_mut(|waits| !matches!(waits.try_recv(), Ok(Some(()))));
            assert_eq!(writes.len(), left);
        }
    }
}
