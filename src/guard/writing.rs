//! Messages to a stream, as Cap'n Proto frames them. Those of one turn are written together.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use capnp::Error;
use capnp::capability::Promise;
use futures::AsyncWrite;
use futures::channel::oneshot;

use super::rules::Sent;
use super::waker::keep;

/// As many bytes are put together before they are written.
const BUFFER: usize = 4096;

/// What is to be written.
#[derive(Default)]
pub(super) struct Queue {
    messages: RefCell<VecDeque<Sent>>,
    end: RefCell<Option<End>>,
    /// Nothing is written any more.
    is_over: Cell<bool>,
    /// Nobody has anything to write any more.
    is_left: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// Is it looked at soon, whoever wakes it?
    is_attended: Cell<bool>,
}

/// What comes after all messages.
struct End {
    result: capnp::Result<()>,
    written: oneshot::Sender<()>,
}

impl Queue {
    pub(super) fn push(&self, message: Sent) {
        if !self.is_over.get() {
            self.messages.borrow_mut().push_back(message);
            self.wake();
        }
    }

    /// Ends with `result` when all is written. The promise is kept then.
    pub(super) fn end(&self, result: capnp::Result<()>) -> Promise<(), Error> {
        let over = || Error::disconnected("nothing is written any more".to_owned());
        if self.is_over.get() {
            return Promise::err(over());
        }
        let (written, is_written) = oneshot::channel();
        self.end.replace(Some(End { result, written }));
        self.wake();
        Promise::from_future(async move { is_written.await.map_err(|_| over()) })
    }

    /// Nobody has anything to write any more.
    pub(super) fn leave(&self) {
        self.is_left.set(true);
        self.wake();
    }

    /// It is looked at soon: until then it need wake nobody.
    pub(super) fn attend(&self) {
        self.is_attended.set(true);
    }

    fn wake(&self) {
        if self.is_attended.get() {
            return;
        }
        // Nothing is borrowed while it is woken, and it needn't be kept anew if it is the same the next time.
        if let Some(waker) = self.waker.take() {
            waker.wake_by_ref();
            self.waker.borrow_mut().get_or_insert(waker);
        }
    }

    fn close(&self) {
        self.is_over.set(true);
        let rest = (self.messages.take(), self.end.take());
        drop(rest);
    }
}

/// Writes what is in a queue.
pub(super) struct Writer<W> {
    stream: Option<W>,
    queue: Rc<Queue>,
    /// What is written next, and how many bytes of it are: short messages, and the head of a long one.
    buffer: Vec<u8>,
    done: usize,
    /// What comes after that.
    current: Option<Current>,
    is_flushed: bool,
    result: capnp::Result<()>,
}

/// The content of a long message.
struct Current {
    message: Sent,
    /// Which of its segments, and how many bytes of that are written.
    segment: usize,
    done: usize,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub(super) fn new(stream: W, queue: Rc<Queue>) -> Self {
        Self {
            stream: Some(stream),
            queue,
            buffer: Vec::with_capacity(BUFFER),
            done: 0,
            current: None,
            is_flushed: true,
            result: Ok(()),
        }
    }

    /// Writes until the end, and waits until everybody has left.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<capnp::Result<()>> {
        self.queue.is_attended.set(false);
        if self.stream.is_some() {
            let Poll::Ready(result) = self.poll_write(cx) else {
                return Poll::Pending;
            };
            self.result = result;
            self.stream = None;
            self.current = None;
            self.buffer = Vec::new();
            self.queue.close();
        }
        if self.queue.is_left.get() {
            return Poll::Ready(self.result.clone());
        }
        keep(&self.queue.waker, cx.waker());
        Poll::Pending
    }

    /// Why nothing can be written any more.
    pub(super) fn failure(&self) -> Option<&Error> {
        self.result.as_ref().err()
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<capnp::Result<()>> {
        loop {
            self.gather();
            let Some(stream) = &mut self.stream else {
                return Poll::Ready(Ok(()));
            };
            let mut stream = Pin::new(stream);
            if self.done < self.buffer.len() {
                self.is_flushed = false;
                ready!(write(stream, &self.buffer, &mut self.done, cx))?;
            } else if let Some(current) = &mut self.current {
                ready!(current.poll_write(stream, cx))?;
                self.current = None;
            } else if !self.is_flushed {
                // There may be more when this is done.
                keep(&self.queue.waker, cx.waker());
                ready!(stream.as_mut().poll_flush(cx))?;
                self.is_flushed = true;
            } else if let Some(End { result, written }) = self.queue.end.take() {
                let _nobody_waits = written.send(());
                return Poll::Ready(result);
            } else if self.queue.is_left.get() {
                return Poll::Ready(Ok(()));
            } else {
                keep(&self.queue.waker, cx.waker());
                return Poll::Pending;
            }
        }
    }

    /// Puts those messages together that are written next, or begins one that is long.
    fn gather(&mut self) {
        if self.done == self.buffer.len() {
            self.buffer.clear();
            self.done = 0;
        }
        while self.current.is_none() {
            let Some(message) = self.queue.messages.borrow_mut().pop_front() else {
                return;
            };
            let segments = message.get_segments_for_output();
            let content: usize = segments.iter().map(|segment| segment.len()).sum();
            put_head(&segments, &mut self.buffer);
            if self.buffer.len() + content <= BUFFER {
                segments
                    .iter()
                    .for_each(|segment| self.buffer.extend_from_slice(segment));
            } else {
                drop(segments);
                self.current = Some(Current {
                    message,
                    segment: 0,
                    done: 0,
                });
            }
        }
    }
}

/// How many segments a message has, and how many words each.
fn put_head(segments: &[&[u8]], buffer: &mut Vec<u8>) {
    // No message has as many segments, nor one as many words, as don't fit.
    let mut put = |number: usize| buffer.extend_from_slice(&(number as u32).to_le_bytes());
    put(segments.len().saturating_sub(1));
    segments.iter().for_each(|segment| put(segment.len() / 8));
    if segments.len().is_multiple_of(2) {
        put(0);
    }
}

/// Writes the rest of `bytes`, of which so many are.
fn write<W: AsyncWrite>(
    mut stream: Pin<&mut W>,
    bytes: &[u8],
    done: &mut usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while *done < bytes.len() {
        match ready!(stream.as_mut().poll_write(cx, &bytes[*done..])) {
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => *done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
    Poll::Ready(Ok(()))
}

impl Current {
    fn poll_write<W: AsyncWrite>(
        &mut self,
        mut stream: Pin<&mut W>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let segments = self.message.get_segments_for_output();
        for segment in segments.iter().skip(self.segment) {
            ready!(write(stream.as_mut(), segment, &mut self.done, cx))?;
            self.segment += 1;
            self.done = 0;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capnp::message::{Builder, HeapAllocator};
    use capnp::{any_pointer, serialize};

    /// Takes a few bytes at a time, and says between that it takes none.
    #[derive(Default)]
    struct Narrow {
        bytes: Rc<RefCell<Vec<u8>>>,
        most: usize,
        waits: bool,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.waits = !self.waits;
            if self.waits {
                return Poll::Pending;
            }
            let now = &bytes[..bytes.len().min(self.most)];
            self.bytes.borrow_mut().extend(now);
            Poll::Ready(Ok(now.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// A message of several segments.
    fn message(texts: usize) -> Builder<HeapAllocator> {
        let room = HeapAllocator::new()
            .first_segment_words(4)
            .allocation_strategy(capnp::message::AllocationStrategy::FixedSize);
        let mut message = Builder::new(room);
        let root: any_pointer::Builder<'_> = message.init_root();
        let mut list = root.initn_as::<capnp::text_list::Builder<'_>>(texts as u32);
        for at in 0..texts {
            list.set(at as u32, "some twenty characters");
        }
        message
    }

    fn poll<W: AsyncWrite + Unpin>(writer: &mut Writer<W>) -> Poll<capnp::Result<()>> {
        let mut cx = Context::from_waker(Waker::noop());
        // Enough for whatever waits now and then.
        for _ in 0..100_000 {
            if let Poll::Ready(result) = writer.poll(&mut cx) {
                return Poll::Ready(result);
            }
        }
        Poll::Pending
    }

    #[test]
    fn it_writes_what_capnp_writes_however_little_is_taken() {
        for most in [1, 7, 4096, 1_000_000] {
            let (narrow, queue) = (Narrow::default(), Rc::new(Queue::default()));
            let written = narrow.bytes.clone();
            let mut writer = Writer::new(Narrow { most, ..narrow }, queue.clone());
            let mut expected = Vec::new();
            for texts in [0, 1, 2, 3, 5, 600] {
                let message = message(texts);
                serialize::write_message(&mut expected, &message).expect("there is room");
                queue.push(Rc::new(message));
            }
            assert!(poll(&mut writer).is_pending());
            assert!(*written.borrow() == expected, "at most {most} bytes");
            let _is_written = queue.end(Err(Error::failed("the end".to_owned())));
            assert!(poll(&mut writer).is_pending(), "somebody may have more");
            queue.leave();
            assert!(matches!(poll(&mut writer), Poll::Ready(Err(_))));
            queue.push(Rc::new(message(1)));
            assert!(*written.borrow() == expected);
        }
    }

    #[test]
    fn short_messages_are_written_together() {
        let (narrow, queue) = (Narrow::default(), Rc::new(Queue::default()));
        let written = narrow.bytes.clone();
        let most = BUFFER;
        let mut writer = Writer::new(Narrow { most, ..narrow }, queue.clone());
        let mut expected = Vec::new();
        for texts in [1, 2, 0, 3] {
            let message = message(texts);
            serialize::write_message(&mut expected, &message).expect("there is room");
            queue.push(Rc::new(message));
        }
        let mut cx = Context::from_waker(Waker::noop());
        // The stream waits before each of its writes.
        for bytes in [&[][..], &expected] {
            assert!(writer.poll(&mut cx).is_pending());
            assert!(*written.borrow() == bytes);
        }
    }

    #[test]
    fn what_can_not_be_written_is_the_end() {
        let queue = Rc::new(Queue::default());
        // It takes nothing, ever.
        let mut writer = Writer::new(Narrow::default(), queue.clone());
        queue.push(Rc::new(message(1)));
        queue.leave();
        assert!(matches!(poll(&mut writer), Poll::Ready(Err(_))));
    }
}
