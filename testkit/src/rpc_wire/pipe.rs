//! Bytes in memory, on their way in one direction.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures::{AsyncRead, AsyncWrite};

/// As much as a pipe holds before its writer has to wait, and as much as one that is narrow does.
const ROOM: usize = 64 * 1024;
const NARROW: usize = 256;

/// One direction of a connection: either end, and the hand of a test.
#[derive(Clone, Default)]
pub(super) struct Pipe(Rc<RefCell<State>>);

#[derive(Default)]
struct State {
    bytes: VecDeque<u8>,
    is_narrow: bool,
    end: Option<End>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// How a direction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The stream ends.
    Closed,
    /// Reading and writing fail.
    Reset,
}

impl Pipe {
    /// From now on it holds less.
    pub(super) fn narrow(&self) {
        self.0.borrow_mut().is_narrow = true;
    }

    /// Puts bytes in, without a limit.
    pub(super) fn send(&self, bytes: &[u8]) {
        let mut state = self.0.borrow_mut();
        state.bytes.extend(bytes);
        state.reader.take().into_iter().for_each(Waker::wake);
    }

    /// Takes out all that is in.
    pub(super) fn take(&self) -> Vec<u8> {
        let mut state = self.0.borrow_mut();
        state.writer.take().into_iter().for_each(Waker::wake);
        std::mem::take(&mut state.bytes).into()
    }

    /// How many bytes it takes up. What nobody reads is in no one's memory but its own.
    pub(super) fn room(&self) -> usize {
        self.0.borrow().bytes.capacity()
    }

    /// Ends it. What is in can still be read.
    pub(super) fn end(&self, end: End) {
        let mut state = self.0.borrow_mut();
        state.end.get_or_insert(end);
        state.reader.take().into_iter().for_each(Waker::wake);
        state.writer.take().into_iter().for_each(Waker::wake);
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.borrow_mut();
        if !state.bytes.is_empty() {
            state.writer.take().into_iter().for_each(Waker::wake);
            return Poll::Ready(io::Read::read(&mut state.bytes, buffer));
        }
        match state.end {
            Some(End::Closed) => Poll::Ready(Ok(0)),
            Some(End::Reset) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.borrow_mut();
        if state.end.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = if state.is_narrow { NARROW } else { ROOM };
        let room = room.saturating_sub(state.bytes.len()).min(buffer.len());
        if room == 0 {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.bytes.extend(&buffer[..room]);
        state.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(room))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end(End::Closed);
        Poll::Ready(Ok(()))
    }
}
