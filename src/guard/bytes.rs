//! How many bytes come and go.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};

use super::handle::{Guard, Inner};

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
        let read = std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        if let Ok(count) = &read {
            self.guard.inner.took(&buffer[..*count])?;
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

impl Inner {
    /// Counts bytes that have come. It is an error if they say that there will be more than there is room for.
    pub(super) fn took(&self, bytes: &[u8]) -> io::Result<()> {
        let says_more = self.arrived.add(bytes);
        self.account();
        if says_more && self.arrived.claimed() > SMALL && !self.has_room() {
            self.arrived.has_no_room.set(true);
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        Ok(())
    }
}

/// A message of so many bytes is read also where the budget is used up: a call in it can be answered then.
pub(super) const SMALL: u64 = 16 * 1024;

/// The message that is arriving.
#[derive(Debug, Default)]
pub(super) struct Count {
    so_far: Cell<u64>,
    head: Cell<Head>,
    /// It was not read on, as the budget is used up.
    pub(super) has_no_room: Cell<bool>,
}

/// What the head of a message says: how many segments it has, and how many words each.
///
/// The transport of `capnp` makes room for all of them before the first has come: eight bytes can claim 64 MiB.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    bytes: u64,
    number: u32,
    segments: u64,
    words: u64,
}

impl Count {
    /// Notes what has come. Does it say how long the message will be?
    fn add(&self, bytes: &[u8]) -> bool {
        let so_far = self.so_far.get();
        self.so_far.set(so_far + bytes.len() as u64);
        if let ([0, 0, 0, 0, words @ ..], 0) = (bytes, so_far)
            && let Ok(words) = words.try_into()
        {
            // Most have one segment, and their head comes at once.
            self.head.set(Head {
                bytes: 8,
                segments: 1,
                words: u64::from(u32::from_le_bytes(words)),
                number: 0,
            });
            return true;
        }
        let mut head = self.head.get();
        let taken = bytes.iter().take_while(|byte| head.take(**byte)).count();
        if taken > 0 {
            self.head.set(head);
        }
        taken > 0
    }

    /// A message has come at once, of so many bytes. There is always room for a small one.
    pub(super) fn whole(&self, bytes: u64) {
        self.so_far.set(bytes);
    }

    /// How many bytes of a message have come that is not whole.
    pub(super) fn so_far(&self) -> u64 {
        self.so_far.get()
    }

    /// How many bytes a message takes here that is not whole.
    pub(super) fn claimed(&self) -> u64 {
        self.so_far().max(self.head.get().words.saturating_mul(8))
    }

    /// The message is whole: how many bytes it had.
    pub(super) fn message(&self) -> u64 {
        self.head.take();
        self.so_far.take()
    }
}

impl Head {
    /// Takes its next byte; `false` where it has no more.
    fn take(&mut self, byte: u8) -> bool {
        let at = self.bytes / 4;
        if at > self.segments.max(1) {
            return false;
        }
        self.number |= u32::from(byte) << (8 * (self.bytes % 4));
        self.bytes += 1;
        if self.bytes.is_multiple_of(4) {
            let number = u64::from(std::mem::take(&mut self.number));
            match at {
                0 => self.segments = number + 1,
                _ => self.words = self.words.saturating_add(number),
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_what_the_message_takes() {
        let numbers = |numbers: &[u32]| -> Vec<u8> {
            numbers.iter().flat_map(|it| it.to_le_bytes()).collect()
        };
        for (head, words) in [
            (numbers(&[0, 5]), 5),
            (numbers(&[1, 5, 7, 0]), 12),
            (
                numbers(&[2, u32::MAX, u32::MAX, 1]),
                2 * u64::from(u32::MAX) + 1,
            ),
        ] {
            for piece in [1, 3, head.len()] {
                let count = Count::default();
                for bytes in head.chunks(piece) {
                    count.add(bytes);
                }
                assert_eq!(count.claimed(), 8 * words);
                assert!(!count.add(&[0xff; 8]), "content says nothing");
                assert_eq!(count.claimed(), 8 * words);
                assert_eq!(count.message(), head.len() as u64 + 8);
                assert_eq!(count.claimed(), 0);
            }
        }
    }
}
