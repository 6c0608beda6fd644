//! A property of the membrane that must hold for every message.

use std::cell::RefCell;
use std::rc::Rc;

use capnp::capability::{Client, Promise};
use capnp::message::{self, ReaderOptions, ReaderSegments};
use capnp::private::capability::{ClientHook, ParamsHook};
use capnp::traits::{Imbue, ImbueMut};
use capnp::{Word, any_pointer};
use capspan::membrane::Membrane;
use futures::FutureExt;

use super::raw;

/// What a peer may make the reader of a message read.
const LIMIT: usize = 320;

/// Sends the message in `data` through a membrane and compares what comes out with a plain deep copy.
///
/// Nothing may panic or take long, whatever the bytes are. What comes out has the same bytes, and
/// entry for entry of its capability table it has wrappers of what was put in; or it is refused, and
/// then because the plain copy is refused as well, or for one of two reasons that no honest message
/// gives: a far pointer that leads to a capability (of which a reader can't see the index), or lists
/// of structs nested half as deep as is allowed (a reader counts those twice, a copy once).
///
/// The first byte is options, the second the number of capabilities, the third that of segments; then
/// come the lengths of all segments but the last, in words, two bytes each, and then the segments.
///
/// Gives whether the message came through.
pub fn cap_table(data: &[u8]) -> bool {
    let Some((&[options, caps, segments], rest)) = data.split_first_chunk::<3>() else {
        return false;
    };
    let Some(segments) = Segments::cut(rest, segments as usize % 64) else {
        return false;
    };
    let shallow = options & 1 == 1;
    // Deep enough that nothing within the traversal limit is too deep, or less.
    let nesting_limit = if shallow { 16 } else { 2 * LIMIT as i32 };
    let table: Vec<_> = (0..caps % 32).map(local_object).collect();
    let caps = Caps {
        table,
        membrane: Membrane::new(),
    };

    let plain = copy(&segments.message(&caps.table, LIMIT, nesting_limit));
    if let Err(error) = &plain
        && error.kind == capnp::ErrorKind::ReadLimitExceeded
    {
        // The membrane looks at the rest with the other limit, and may say what it likes.
        let _ = caps.through_params(segments.message(&caps.table, LIMIT, nesting_limit));
        return false;
    }
    // A walk reads no more than a copy does, but for landing pads, which it reads twice.
    let wide = segments.message(&caps.table, 3 * LIMIT, nesting_limit);
    let excused = shallow || segments.have_far_capabilities();
    let came_through = caps.compare(&plain, caps.through_params(wide), excused);
    if let Ok(copied) = &plain {
        caps.compare(&plain, caps.through_request(copied), false);
    }
    came_through
}

/// A message that was copied to where its owner alone can be at fault.
struct Copied {
    message: message::Builder<message::HeapAllocator>,
    table: Vec<Option<Box<dyn ClientHook>>>,
}

fn copy(message: &dyn ParamsHook) -> capnp::Result<Copied> {
    let mut copied = Copied {
        message: message::Builder::new_default(),
        table: Vec::new(),
    };
    let content = message.get()?;
    let mut root: any_pointer::Builder<'_> = copied.message.init_root();
    root.imbue_mut(&mut copied.table);
    root.set_as(content)?;
    Ok(copied)
}

fn local_object(label: u8) -> Option<Box<dyn ClientHook>> {
    let object = raw::object(move |_method, _params, mut results| {
        let written = results.get().map(|root| {
            root.initn_as::<capnp::data::Builder<'_>>(1).fill(label);
        });
        written.into()
    });
    Some(object.hook)
}

struct Caps {
    table: Vec<Option<Box<dyn ClientHook>>>,
    membrane: Membrane,
}

impl Caps {
    /// A copy of what an object inside sees of a message that was handed on to its wrapper.
    fn through_params(&self, message: Message) -> capnp::Result<Copied> {
        let (inside, seen) = self.inside();
        let called = inside
            .hook
            .call(0, 0, Box::new(message), Box::new(raw::NoResults));
        let _the_results = called.now_or_never();
        seen.take().unwrap_or_else(|| Err(never_called()))
    }

    /// A copy of what an object inside sees of a request that was sent to its wrapper.
    fn through_request(&self, plain: &Copied) -> capnp::Result<Copied> {
        let (inside, seen) = self.inside();
        let mut request = inside.hook.new_call(0, 0, None);
        let mut content: any_pointer::Reader<'_> = plain.message.get_root_as_reader()?;
        content.imbue(&plain.table);
        request.get().set_as(content)?;
        let _the_results = request.send().promise.now_or_never();
        seen.take().unwrap_or_else(|| Err(never_called()))
    }

    /// A wrapper of an object that keeps a copy of the parameters of its call.
    fn inside(&self) -> (Client, Rc<RefCell<Option<capnp::Result<Copied>>>>) {
        let seen = Rc::new(RefCell::new(None));
        let sees = seen.clone();
        let object = raw::object(move |_method, params, _results| {
            // Twice: a second look must not differ from the first.
            let (first, second) = (copy(&*params), copy(&*params));
            if let (Ok(first), Ok(second)) = (&first, &second) {
                assert_eq!(bytes(&first.message), bytes(&second.message));
            }
            *sees.borrow_mut() = Some(first);
            Promise::ok(())
        });
        (self.membrane.export(object), seen)
    }

    fn compare(
        &self,
        plain: &capnp::Result<Copied>,
        through: capnp::Result<Copied>,
        excused: bool,
    ) -> bool {
        match (plain, through) {
            (Ok(plain), Ok(through)) => {
                self.compare_copies(plain, &through);
                true
            }
            (Err(_), Err(_)) => false,
            (Err(error), Ok(_)) => panic!("only the plain copy was refused: {error}"),
            (Ok(_), Err(error)) => {
                let unwrapped = capnp::ErrorKind::MessageContainsInvalidCapabilityPointer;
                assert!(
                    excused && error.kind == unwrapped,
                    "the membrane refused what a plain copy takes: {error}"
                );
                false
            }
        }
    }

    fn compare_copies(&self, plain: &Copied, through: &Copied) {
        assert_eq!(bytes(&plain.message), bytes(&through.message));
        assert_eq!(plain.table.len(), through.table.len());
        for (bare, wrapper) in plain.table.iter().zip(&through.table) {
            let (Some(bare), Some(wrapper)) = (bare, wrapper) else {
                assert!(bare.is_none() && wrapper.is_none());
                continue;
            };
            assert_ne!(
                wrapper.get_brand(),
                bare.get_brand(),
                "a capability crossed bare"
            );
            assert_ne!(wrapper.get_ptr(), bare.get_ptr());
            let back = self.membrane.export(Client::new(wrapper.add_ref()));
            assert_eq!(back.hook.get_ptr(), bare.get_ptr(), "it wraps another one");
            assert_eq!(label(&**wrapper), label(&**bare), "calls reach another one");
        }
    }
}

fn never_called() -> capnp::Error {
    capnp::Error::failed("the object inside was never called".into())
}

fn bytes(message: &message::Builder<message::HeapAllocator>) -> Vec<u8> {
    capnp::serialize::write_message_to_words(message)
}

fn label(hook: &dyn ClientHook) -> Vec<u8> {
    let promise = hook.new_call(0, 0, None).send().promise;
    let response = promise.now_or_never().expect("local calls return at once");
    let response = response.expect("it answers");
    let label: capnp::data::Reader<'_> = response.get().expect("content").get_as().expect("data");
    label.to_vec()
}

/// The segments of a message, word-aligned.
#[derive(Clone)]
struct Segments(Rc<Vec<Vec<Word>>>);

impl Segments {
    /// The segments that `data` says it is: `None` where there are not enough.
    fn cut(data: &[u8], more: usize) -> Option<Self> {
        let (lengths, mut rest) = data.split_at_checked(more * 2)?;
        let mut segments = Vec::with_capacity(more + 1);
        for length in lengths.chunks_exact(2) {
            let length = u16::from_le_bytes([length[0], length[1]]) as usize * 8;
            let (segment, after) = rest.split_at_checked(length)?;
            segments.push(words(segment));
            rest = after;
        }
        segments.push(words(&rest[..rest.len() / 8 * 8]));
        Some(Self(Rc::new(segments)))
    }

    fn message(
        &self,
        table: &[Option<Box<dyn ClientHook>>],
        traversal_limit: usize,
        nesting_limit: i32,
    ) -> Message {
        let options = ReaderOptions {
            traversal_limit_in_words: Some(traversal_limit),
            nesting_limit,
        };
        Message {
            reader: message::Reader::new(self.clone(), options),
            table: table.to_vec(),
        }
    }

    /// May a far pointer lead to a capability? Every word is taken for a pointer, to be sure.
    fn have_far_capabilities(&self) -> bool {
        let mut words = self.0.iter().flatten().map(halves);
        words.any(|(low, segment)| {
            let pad = (low >> 3) as usize + usize::from(low & 4 != 0);
            let landing = self.0.get(segment as usize).and_then(|s| s.get(pad));
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
        self.0
            .get(index as usize)
            .map(|segment| Word::words_to_bytes(segment))
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// A message as the hook of a call has it.
struct Message {
    reader: message::Reader<Segments>,
    table: Vec<Option<Box<dyn ClientHook>>>,
}

impl ParamsHook for Message {
    fn get(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        let mut content: any_pointer::Reader<'_> = self.reader.get_root()?;
        content.imbue(&self.table);
        Ok(content)
    }
}
