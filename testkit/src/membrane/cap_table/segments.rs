//! A message as a peer can send it: any words, with any capability table.

use std::cell::Cell;
use std::rc::Rc;

use capnp::message::{self, ReaderOptions, ReaderSegments};
use capnp::private::capability::{ClientHook, ParamsHook, ResponseHook};
use capnp::traits::Imbue;
use capnp::{Word, any_pointer};

/// The segments of a message, which count how often they are asked for.
#[derive(Clone)]
pub struct Segments {
    words: Rc<Vec<Vec<Word>>>,
    asked: Rc<Cell<usize>>,
}

impl Segments {
    /// Those words.
    pub fn new(segments: &[&[u64]]) -> Self {
        let bytes = |segment: &&[u64]| {
            let bytes = segment.iter().flat_map(|word| word.to_le_bytes());
            bytes.collect::<Vec<u8>>()
        };
        Self::of(segments.iter().map(|s| words(&bytes(s))).collect())
    }

    fn of(words: Vec<Vec<Word>>) -> Self {
        Self {
            words: Rc::new(words),
            asked: Rc::default(),
        }
    }

    /// The segments that `data` says it is: `None` where there are not enough.
    pub(super) fn cut(data: &[u8], more: usize) -> Option<Self> {
        let (lengths, mut rest) = data.split_at_checked(more * 2)?;
        let mut segments = Vec::with_capacity(more + 1);
        for length in lengths.chunks_exact(2) {
            let length = u16::from_le_bytes([length[0], length[1]]) as usize * 8;
            let (segment, after) = rest.split_at_checked(length)?;
            segments.push(words(segment));
            rest = after;
        }
        segments.push(words(&rest[..rest.len() / 8 * 8]));
        Some(Self::of(segments))
    }

    /// How many bytes they are.
    pub fn bytes(&self) -> usize {
        self.words.iter().map(|segment| segment.len() * 8).sum()
    }

    /// How often a reader has asked for a segment, which it does a few times for each pointer that it
    /// follows: a measure of the time that is the same each time.
    pub fn asked(&self) -> usize {
        self.asked.get()
    }

    /// The message, with a reader of its own.
    pub fn message(
        &self,
        table: &[Option<Box<dyn ClientHook>>],
        options: ReaderOptions,
    ) -> Box<Message> {
        Box::new(Message {
            reader: message::Reader::new(self.clone(), options),
            table: table.to_vec(),
        })
    }

    /// May a far pointer lead to a capability? Every word is taken for a pointer, to be sure.
    pub(super) fn have_far_capabilities(&self) -> bool {
        let mut words = self.words.iter().flatten().map(halves);
        words.any(|(low, segment)| {
            let pad = (low >> 3) as usize + usize::from(low & 4 != 0);
            let landing = self.words.get(segment as usize).and_then(|s| s.get(pad));
            low & 3 == 2 && landing.is_some_and(|landing| halves(landing).0 == 3)
        })
    }
}

fn words(bytes: &[u8]) -> Vec<Word> {
    let mut words = Word::allocate_zeroed_vec(bytes.len() / 8);
    Word::words_to_bytes_mut(&mut words).copy_from_slice(bytes);
    words
}

fn halves(word: &Word) -> (u32, u32) {
    let bytes = Word::words_to_bytes(std::slice::from_ref(word));
    let half =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    (half(0), half(4))
}

impl ReaderSegments for Segments {
    fn get_segment(&self, index: u32) -> Option<&[u8]> {
        self.asked.set(self.asked.get() + 1);
        self.words
            .get(index as usize)
            .map(|segment| Word::words_to_bytes(segment))
    }

    fn len(&self) -> usize {
        self.words.len()
    }
}

/// A message as a hook of `capnp-rpc`'s has it: parameters or a response.
pub struct Message {
    reader: message::Reader<Segments>,
    table: Vec<Option<Box<dyn ClientHook>>>,
}

impl Message {
    fn content(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        let mut content: any_pointer::Reader<'_> = self.reader.get_root()?;
        content.imbue(&self.table);
        Ok(content)
    }
}

impl ParamsHook for Message {
    fn get(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        self.content()
    }
}

impl ResponseHook for Message {
    fn get(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        self.content()
    }
}
