//! Messages from a stream, as Cap'n Proto frames them:
//! <https://capnproto.org/encoding.html#serialization-over-a-stream>.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use capnp::message::{self, ReaderOptions, ReaderSegments};
use capnp::{Error, Word, any_pointer};
use capnp_rpc::IncomingMessage;
use futures::AsyncRead;
use smallvec::SmallVec;

use super::bytes::SMALL;
use super::handle::Guard;

/// As many segments as a message may have, as everywhere in Cap'n Proto.
const MAX_SEGMENTS: usize = 511;

/// As many bytes are read at once. A message that is there with them always has room.
const BUFFER: usize = 4096;
const _: () = assert!(BUFFER as u64 <= SMALL);

/// A message of so many words needs no memory but its own.
const SHORT: usize = 24;

/// So many words have room before they come. Eight bytes can claim 64 MiB.
const ROOM: usize = 8192;

const ZERO: Word = capnp::word(0, 0, 0, 0, 0, 0, 0, 0);

/// Reads one message after the other, and counts their bytes.
pub(super) struct Reader<R> {
    stream: R,
    guard: Guard,
    options: ReaderOptions,
    buffer: Buffer,
    at: At,
    /// How many bytes of that are there.
    done: usize,
}

/// What was read ahead.
struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

/// What is being read.
enum At {
    /// How many segments there are, and the length of the first.
    Head([u8; 8]),
    /// The lengths of the others.
    Table(usize, u32, Vec<u8>),
    Content(Long),
}

/// A message that has come.
pub(super) enum Incoming {
    Short(message::Reader<Short>),
    Long(message::Reader<Long>),
}

/// The segment of a short message. It lies in the message itself, which nobody moves who reads it.
pub(super) struct Short {
    words: [Word; SHORT],
    len: usize,
}

impl ReaderSegments for Short {
    #[inline]
    fn get_segment(&self, index: u32) -> Option<&[u8]> {
        let words = self.words.get(..self.len)?;
        (index == 0).then(|| Word::words_to_bytes(words))
    }

    fn len(&self) -> usize {
        1
    }
}

/// The segments of a message, one after the other.
pub(super) struct Long {
    words: Vec<Word>,
    /// Where each of them ends.
    ends: SmallVec<[usize; 1]>,
}

impl ReaderSegments for Long {
    #[inline]
    fn get_segment(&self, index: u32) -> Option<&[u8]> {
        let index = index as usize;
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        let words = self.words.get(start..*self.ends.get(index)?)?;
        Some(Word::words_to_bytes(words))
    }

    fn len(&self) -> usize {
        self.ends.len()
    }
}

impl Long {
    /// For segments of so many words each, if a message that has as many could be read.
    fn new(lengths: impl IntoIterator<Item = u32>, max: Option<usize>) -> capnp::Result<Self> {
        let mut all = 0_u64;
        let ends = lengths.into_iter().map(|length| {
            all += u64::from(length);
            all as usize
        });
        let ends: SmallVec<_> = ends.collect();
        let max = max.unwrap_or(usize::MAX / size_of::<Word>());
        if all > max as u64 {
            let text = format!("a message of {all} words, more than {max}");
            return Err(Error::failed(text));
        }
        let words = vec![ZERO; ROOM.min(all as usize)];
        Ok(Self { words, ends })
    }

    /// Makes more room, if more is to come than there is room for.
    fn grow(&mut self) -> bool {
        let len = self.words.len();
        let all = self.ends.last().copied().unwrap_or_default();
        if len >= all {
            return false;
        }
        let more = len.min(all - len);
        self.words.reserve_exact(more);
        self.words.resize(len + more, ZERO);
        true
    }
}

impl Incoming {
    /// Its segment, if it has one only.
    pub(super) fn segment(&self) -> Option<&[u8]> {
        match self {
            Self::Short(message) => message.get_segments().get_segment(0),
            Self::Long(message) => match message.get_segments() {
                segments if segments.len() == 1 => segments.get_segment(0),
                _ => None,
            },
        }
    }
}

impl IncomingMessage for Incoming {
    fn get_body(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        match self {
            Self::Short(message) => message.get_root(),
            Self::Long(message) => message.get_root(),
        }
    }
}

impl Buffer {
    fn new() -> Self {
        Self {
            bytes: vec![0; BUFFER].into(),
            start: 0,
            end: 0,
        }
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Reads, if all was taken. `false` is the end of the stream.
    fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        stream: &mut R,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        if self.start == self.end {
            let count = ready!(poll_read(stream, &mut self.bytes, cx))?;
            (self.start, self.end) = (0, count);
        }
        Poll::Ready(Ok(self.start < self.end))
    }

    /// Reads into `place`; nothing is the end of the stream.
    fn poll_read<R: AsyncRead + Unpin>(
        &mut self,
        stream: &mut R,
        place: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.start == self.end && place.len() >= BUFFER {
            return poll_read(stream, place, cx);
        }
        ready!(self.poll_fill(stream, cx))?;
        let rest = self.rest();
        let count = rest.len().min(place.len());
        place[..count].copy_from_slice(&rest[..count]);
        self.start += count;
        Poll::Ready(Ok(count))
    }

    /// Takes a short message, if it is there as a whole.
    fn take_short(&mut self) -> Option<Short> {
        let (head, content) = self.rest().split_first_chunk()?;
        let [segments, len] = numbers(*head);
        let len = len as usize;
        if segments != 0 || len > SHORT || content.len() < 8 * len {
            return None;
        }
        let mut words = [ZERO; SHORT];
        let bytes = &content[..8 * len];
        Word::words_to_bytes_mut(&mut words)[..8 * len].copy_from_slice(bytes);
        self.start += 8 + 8 * len;
        Some(Short { words, len })
    }
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(stream: R, guard: Guard) -> Self {
        Self {
            stream,
            guard,
            options: ReaderOptions::default(),
            buffer: Buffer::new(),
            at: At::Head([0; 8]),
            done: 0,
        }
    }

    /// Reads a message. `None` is the end of the stream.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<capnp::Result<Option<Incoming>>> {
        if self.done == 0 && matches!(self.at, At::Head(_)) {
            if !ready!(self.buffer.poll_fill(&mut self.stream, cx))? {
                return Poll::Ready(Ok(None));
            }
            if let Some(short) = self.buffer.take_short() {
                let bytes = 8 + 8 * short.len as u64;
                self.guard.inner.arrived.whole(bytes);
                let message = message::Reader::new(short, self.options);
                return Poll::Ready(Ok(Some(Incoming::Short(message))));
            }
        }
        let segments = ready!(self.poll_segments(cx))?;
        let message = message::Reader::new(segments, self.options);
        Poll::Ready(Ok(Some(Incoming::Long(message))))
    }

    /// Reads on in a message that has begun.
    fn poll_segments(&mut self, cx: &mut Context<'_>) -> Poll<capnp::Result<Long>> {
        let max = self.options.traversal_limit_in_words;
        loop {
            let bytes = match &mut self.at {
                At::Head(bytes) => &mut bytes[..],
                At::Table(_, _, bytes) => &mut bytes[..],
                At::Content(segments) => Word::words_to_bytes_mut(&mut segments.words),
            };
            while self.done < bytes.len() {
                let rest = &mut bytes[self.done..];
                let count = ready!(self.buffer.poll_read(&mut self.stream, rest, cx))?;
                if count == 0 {
                    let end = io::Error::from(io::ErrorKind::UnexpectedEof);
                    return Poll::Ready(Err(end.into()));
                }
                self.guard.inner.took(&rest[..count])?;
                self.done += count;
            }
            if let At::Content(segments) = &mut self.at
                && segments.grow()
            {
                continue;
            }
            self.done = 0;
            self.at = match std::mem::replace(&mut self.at, At::Head([0; 8])) {
                At::Head(bytes) => {
                    let [segments, first] = numbers(bytes);
                    let segments = (segments as usize).wrapping_add(1);
                    if segments > MAX_SEGMENTS || segments == 0 {
                        let text = format!("a message of {segments} segments");
                        return Poll::Ready(Err(Error::failed(text)));
                    }
                    match segments {
                        1 => At::Content(Long::new([first], max)?),
                        // It is filled up to whole words.
                        _ => At::Table(segments, first, vec![0; (segments & !1) * 4]),
                    }
                }
                At::Table(segments, first, bytes) => {
                    let others = bytes.as_chunks().0.iter().map(|it| u32::from_le_bytes(*it));
                    let others = others.take(segments - 1);
                    At::Content(Long::new([first].into_iter().chain(others), max)?)
                }
                At::Content(segments) => return Poll::Ready(Ok(segments)),
            };
        }
    }
}

fn poll_read<R: AsyncRead + Unpin>(
    stream: &mut R,
    place: &mut [u8],
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    loop {
        match ready!(Pin::new(&mut *stream).poll_read(cx, place)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return Poll::Ready(read),
        }
    }
}

fn numbers(bytes: [u8; 8]) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = bytes;
    [[a, b, c, d], [e, f, g, h]].map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::super::ending::Ending;
    use super::super::options::GuardOptions;
    use super::*;
    use capnp::serialize;
    use std::io::Write;
    use std::task::Waker;

    /// Gives its bytes in pieces, and says between them that there are none yet.
    struct Pieces<'a> {
        bytes: &'a [u8],
        most: usize,
        waits: bool,
    }

    impl AsyncRead for Pieces<'_> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            self.waits = !self.waits;
            if self.waits {
                return Poll::Pending;
            }
            let (now, rest) = self
                .bytes
                .split_at(self.most.min(buffer.len()).min(self.bytes.len()));
            buffer[..now.len()].copy_from_slice(now);
            self.bytes = rest;
            Poll::Ready(Ok(now.len()))
        }
    }

    /// What has come: the segments of each message, and how it ends.
    type Heard = (Vec<Vec<Vec<u8>>>, Result<(), ()>);

    fn heard(bytes: &[u8], most: usize) -> Heard {
        let mut messages = Vec::new();
        let waits = false;
        let guard = Guard::new(GuardOptions::default(), Ending::default());
        let mut reader = Reader::new(Pieces { bytes, most, waits }, guard.clone());
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            let message = match reader.poll(&mut cx) {
                Poll::Pending => continue,
                Poll::Ready(Ok(None)) => return (messages, Ok(())),
                Poll::Ready(Ok(Some(message))) => message,
                Poll::Ready(Err(_)) => return (messages, Err(())),
            };
            let segments = match &message {
                Incoming::Short(message) => segments(message.get_segments()),
                Incoming::Long(message) => segments(message.get_segments()),
            };
            let table = (segments.len() / 2 + 1) * 8;
            let bytes = table + segments.iter().map(Vec::len).sum::<usize>();
            assert_eq!(guard.inner.arrived.message(), bytes as u64);
            messages.push(segments);
        }
    }

    /// The same by `capnp`.
    fn expected(mut bytes: &[u8]) -> Heard {
        let mut messages = Vec::new();
        loop {
            match serialize::try_read_message(&mut bytes, ReaderOptions::new()) {
                Ok(None) => return (messages, Ok(())),
                Ok(Some(message)) => messages.push(segments(message.get_segments())),
                Err(_) => return (messages, Err(())),
            }
        }
    }

    fn segments(message: &impl message::ReaderSegments) -> Vec<Vec<u8>> {
        let all = 0..message.len() as u32;
        all.map(|at| message.get_segment(at).unwrap_or_default().to_vec())
            .collect()
    }

    /// Numbers that look random, the same each time.
    fn numbers(mut state: u64) -> impl FnMut(usize) -> usize {
        move |below| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below.max(1) as u64) as usize
        }
    }

    #[test]
    fn it_reads_what_capnp_reads_in_pieces_of_any_size() {
        for seed in 1..3_000 {
            let mut number = numbers(seed);
            let mut bytes = Vec::new();
            for _ in 0..number(4) {
                let count = [1, 1, 2, 3, 4, 5, 511, 512][number(8)];
                // Few are longer than what is read at once.
                let longest = if count > 3 {
                    4
                } else {
                    [4, 4, 40, 700][number(4)]
                };
                let lengths: Vec<usize> = (0..count).map(|_| number(longest)).collect();
                let head = [count - 1].into_iter().chain(lengths.iter().copied());
                let mut said: Vec<u8> = head.flat_map(|it| (it as u32).to_le_bytes()).collect();
                said.resize(said.len().next_multiple_of(8), 0);
                let words: usize = lengths.iter().sum();
                said.extend((0..8 * words).map(|_| number(256) as u8));
                bytes.write_all(&said).expect("there is room");
            }
            if number(3) == 0 {
                bytes.truncate(number(bytes.len() + 1));
            }
            if number(4) == 0 && !bytes.is_empty() {
                let at = number(bytes.len());
                bytes[at] = number(256) as u8;
            }
            let most = [1, 3, 8, 1_000_000][number(4)];
            assert_eq!(heard(&bytes, most), expected(&bytes), "seed {seed}");
        }
    }

    #[test]
    fn a_message_that_is_too_long_gets_no_room() {
        let head = [0, 8 * 1024 * 1024 + 1].map(u32::to_le_bytes).concat();
        assert_eq!(heard(&head, 8), (vec![], Err(())));
    }

    #[test]
    fn a_message_takes_memory_as_it_comes() {
        let words = 8 * 1024 * 1024 - 1;
        for head in [vec![0, words], vec![1, 7, words - 7, 0]] {
            let head: Vec<u8> = head.into_iter().flat_map(u32::to_le_bytes).collect();
            let content = vec![1; 3 * 8 * ROOM];
            let bytes = [head, content].concat();
            let (most, waits) = (usize::MAX, false);
            let bytes = &bytes[..];
            let guard = Guard::new(GuardOptions::default(), Ending::default());
            let mut reader = Reader::new(Pieces { bytes, most, waits }, guard);
            let mut cx = Context::from_waker(Waker::noop());
            let mut room = Vec::new();
            while reader.poll(&mut cx).is_pending() {
                if let At::Content(segments) = &reader.at {
                    room.push(segments.words.capacity());
                }
            }
            assert!(room.iter().all(|room| *room <= 4 * ROOM), "{room:?}");
            assert_eq!(reader.done, 3 * 8 * ROOM);
        }
    }

    #[test]
    fn a_long_message_is_whole() {
        let words = 5 * ROOM + 1;
        let head = [2, words as u32, 0, 3].map(u32::to_le_bytes).concat();
        let content: Vec<u8> = (0..8 * (words + 3)).map(|at| at as u8).collect();
        let mut bytes = [head, content].concat();
        assert_eq!(heard(&bytes, 100_000), expected(&bytes));
        bytes.pop();
        assert_eq!(heard(&bytes, 100_000), expected(&bytes));
    }
}
