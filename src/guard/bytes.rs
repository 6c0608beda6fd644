//! How many bytes come and go.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};

use super::handle::Guard;

/// A stream whose bytes are counted. See [`Guard::counting_reader`] and
/// [`Guard::counting_writer`].
#[derive(Debug)]
pub struct Counted<S> {
    stream: S,
    guard: Guard,
}

impl<S> Counted<S> {
    pub(super) fn new(stream: S, guard: &Guard) -> Self {
        Self {
            stream,
            guard: guard.clone(),
        }
    }

    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        let inner = &self.guard.inner;
        match written {
            Poll::Ready(Ok(count)) => inner.queue.wrote(Some(*count as u64)),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => inner.queue.wrote(None),
        }
        inner.account();
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Counted<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let inner = &self.guard.inner;
        if inner.arrived.so_far() > 0 && !inner.has_room() {
            return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
        }
        let read = std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        if let Ok(count) = &read {
            let inner = &self.guard.inner;
            inner.arrived.add(*count as u64);
            inner.account();
        }
        Poll::Ready(read)
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Counted<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
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
