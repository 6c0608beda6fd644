//! How many bytes have come.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::AsyncRead;

use super::handle::Guard;

/// A stream whose bytes are counted. See [`Guard::counting`].
#[derive(Debug)]
pub struct Counted<R> {
    reader: R,
    guard: Guard,
}

impl<R> Counted<R> {
    pub(super) fn new(reader: R, guard: &Guard) -> Self {
        Self {
            reader,
            guard: guard.clone(),
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Counted<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let inner = self.guard.inner.clone();
        if !inner.has_room() && inner.arrived.so_far() > 0 {
            return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
        }
        let read = std::task::ready!(Pin::new(&mut self.reader).poll_read(cx, buffer));
        if let Ok(count) = &read {
            inner.arrived.add(*count as u64);
            inner.account();
        }
        Poll::Ready(read)
    }
}

/// Bytes of the message that is arriving.
#[derive(Debug, Default)]
pub(super) struct Count {
    so_far: Cell<u64>,
}

impl Count {
    fn add(&self, count: u64) {
        self.so_far.set(self.so_far.get() + count);
    }

    /// How many bytes of a message have come that is not whole.
    pub(super) fn so_far(&self) -> u64 {
        self.so_far.get()
    }

    /// The message is whole: how many it had.
    pub(super) fn message(&self) -> u64 {
        self.so_far.take()
    }
}
