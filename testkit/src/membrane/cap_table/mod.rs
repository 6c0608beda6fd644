//! A property of the membrane that must hold for every message.
//!
//! - [`cap_table`](cap_table()): the property, for bytes that a fuzzer makes.
//! - [`compare`]: the same for a message and limits that a test makes.
//! - [`Segments`]: a message as a peer can send it.
//! - [`words`]: what such messages are made of.
//! - [`params`], [`response`]: the two ways on which a membrane looks into such a message.

mod copied;
mod segments;
mod ways;
pub mod words;

pub use segments::{Message, Segments};
pub use ways::{From, params, response};

use std::rc::Rc;

use capnp::ErrorKind;
use capnp::capability::Client;
use capnp::message::ReaderOptions;
use capnp::private::capability::{ClientHook, ParamsHook};
use capspan::membrane::Membrane;
use futures::FutureExt;

use super::raw;
use copied::Copied;

/// What a peer may make the reader of a message read.
const LIMIT: usize = 320;

/// How often a reader asks for a segment, at most, for each word that is charged to it: for a pointer, which
/// is a word itself, once to see its type, and twice for what it leads to. A far pointer takes four more,
/// and its landing pad is charged each time.
const ASKED_EACH: usize = 3;

/// So many words are looked at again and again without being charged: the root.
const UNCHARGED: usize = 8;

/// Sends the message in `data` through a membrane, on each way, and compares what comes out with a plain
/// deep copy: see [`compare`].
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
    // Deep enough that nothing within the traversal limit is too deep, or less.
    let nesting_limit = match options & 1 {
        1 => 16,
        _ => 2 * LIMIT as i32,
    };
    compare(&segments, caps % 32, LIMIT, nesting_limit)
}

/// Sends a message through a membrane, on each way, and compares what comes out with a plain deep copy
/// that may read `limit` words.
///
/// Nothing may panic, whatever the message is, or ask for its segments oftener than the limit allows.
/// What comes out has the same bytes, and entry for entry of its capability table it has wrappers of what
/// was put in; or it is refused, and then because the plain copy is refused as well, or for one of two
/// reasons that no honest message gives: a far pointer that leads to a capability (of which a reader
/// can't see the index), or lists of structs nested half as deep as is allowed (a reader counts those
/// twice, a copy once).
///
/// Gives whether the message came through.
pub fn compare(segments: &Segments, caps: u8, limit: usize, nesting_limit: i32) -> bool {
    let table: Vec<_> = (0..caps).map(local_object).collect();
    let membrane = Membrane::new();
    let options = |limit| ReaderOptions {
        traversal_limit_in_words: Some(limit),
        nesting_limit,
    };
    let plain = segments.message(&table, options(limit));
    let plain = ParamsHook::get(&*plain).and_then(Copied::of).map(Rc::new);
    let is_within = match &plain {
        Ok(_) => true,
        Err(error) => error.kind != ErrorKind::ReadLimitExceeded,
    };
    let is_excused = nesting_limit < 2 * limit as i32 || segments.have_far_capabilities();
    // A walk reads no more than a copy does, but for landing pads, which it reads twice. What is too
    // much for a copy, the membrane looks at with the same limit, and may say what it likes.
    let limit = if is_within { 4 * limit } else { limit };
    let message = || segments.message(&table, options(limit));
    let bounded = |through: &dyn Fn() -> capnp::Result<Copied>| {
        let before = segments.asked();
        let through = through();
        let asked = segments.asked() - before;
        assert!(asked <= ASKED_EACH * (limit + UNCHARGED), "{asked} lookups");
        through
    };
    let through_params = bounded(&|| {
        let seen = params(&membrane, message(), |params| {
            Copied::twice(|| params.get())
        });
        seen.expect("it is called")
    });
    let through_response = [From::Here, From::Elsewhere].map(|from| {
        bounded(&|| {
            let response = response(&membrane, message(), from)?;
            Copied::twice(|| response.get())
        })
    });
    if !is_within {
        return false;
    }
    let mut came_through = matches(&membrane, Way::In, &plain, through_params, is_excused);
    for through in through_response {
        came_through &= matches(&membrane, Way::Out, &plain, through, is_excused);
    }
    if let Ok(copied) = &plain {
        // An honest message, which nothing excuses.
        let request = ways::request(&membrane, copied);
        let results = ways::results(&membrane, copied);
        let answer = ways::answer(&membrane, copied);
        for (way, through) in [(Way::In, request), (Way::Out, results), (Way::Out, answer)] {
            matches(&membrane, way, &plain, through, false);
        }
    }
    came_through
}

/// Which way a message goes through a membrane.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

/// Is what came `through` what is in the `plain` copy? Gives whether it came through.
fn matches(
    membrane: &Membrane,
    way: Way,
    plain: &capnp::Result<Rc<Copied>>,
    through: capnp::Result<Copied>,
    is_excused: bool,
) -> bool {
    match (plain, through) {
        (Ok(plain), Ok(through)) => {
            compare_copies(membrane, way, plain, &through);
            true
        }
        (Err(_), Err(_)) => false,
        (Err(error), Ok(_)) => panic!("only the plain copy was refused: {error}"),
        (Ok(_), Err(error)) => {
            let unwrapped = ErrorKind::MessageContainsInvalidCapabilityPointer;
            assert!(
                is_excused && error.kind == unwrapped,
                "the membrane refused what a plain copy takes: {error}"
            );
            false
        }
    }
}

fn compare_copies(membrane: &Membrane, way: Way, plain: &Copied, through: &Copied) {
    assert_eq!(plain.bytes(), through.bytes());
    assert_eq!(plain.table.len(), through.table.len());
    for (bare, wrapper) in plain.table.iter().zip(&through.table) {
        let (Some(bare), Some(wrapper)) = (bare, wrapper) else {
            assert!(bare.is_none() && wrapper.is_none());
            continue;
        };
        let is_bare = wrapper.get_brand() == bare.get_brand();
        assert!(!is_bare, "a capability crossed bare");
        assert_ne!(wrapper.get_ptr(), bare.get_ptr());
        let wrapper = Client::new(wrapper.add_ref());
        assert_eq!(label(&*wrapper.hook), label(&**bare), "calls reach another");
        let back = match way {
            Way::In => membrane.export(wrapper),
            Way::Out => membrane.import(wrapper),
        };
        assert_eq!(back.hook.get_ptr(), bare.get_ptr(), "it wraps another");
    }
}

/// An object that answers with its label.
pub fn local_object(label: u8) -> Option<Box<dyn ClientHook>> {
    let object = raw::object(move |_method, _params, mut results| {
        let written = results.get().map(|root| {
            root.initn_as::<capnp::data::Builder<'_>>(1).fill(label);
        });
        written.into()
    });
    Some(object.hook)
}

/// The label of such an object.
pub fn label(hook: &dyn ClientHook) -> Vec<u8> {
    let promise = hook.new_call(0, 0, None).send().promise;
    let response = promise.now_or_never().expect("local calls return at once");
    let response = response.expect("it answers");
    let label: capnp::data::Reader<'_> = response.get().expect("content").get_as().expect("data");
    label.to_vec()
}
