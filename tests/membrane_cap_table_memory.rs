//! What a hostile message makes a membrane allocate is bounded by the message's own length.
//!
//! In a process of its own, one test: the global allocator counts for all threads.

use capnp::message::ReaderOptions;
use capnp::private::capability::{ClientHook, ParamsHook};
use capspan::membrane::Membrane;
use capspan_testkit::membrane::cap_table::words::{
    POINTERS, STRUCTS, capability, far, list, lists, structs, structure, tag,
};
use capspan_testkit::membrane::cap_table::{From, Segments, local_object, params, response};
use capspan_testkit::memory::{COUNTING, Counting, allocated};

#[global_allocator]
static ALLOCATOR: Counting = COUNTING;

const LEVELS: usize = 200_000;
const MANY: u64 = 10_000;

/// For each byte of a message. The dearest word is one that is a level of its own: a frame of 144 bytes on
/// the stack of a walk, which grows to twice of what it needs, and the place that is remembered for it. A
/// capability of its own costs a wrapper, which is less.
const BYTES_EACH: usize = 48;

/// For the call, and for the first levels, which a message of one word that leads to itself has as well.
const BYTES_AT_MOST: usize = 24 * 1024;

#[test]
fn memory_is_bounded_by_the_length_of_the_message() {
    let pointers = |pointer: &dyn Fn(u64) -> u64| {
        let head = structure(0, 0, MANY);
        [head].into_iter().chain((0..MANY).map(pointer)).collect()
    };
    let mut lists_of_nothing: Vec<_> = pointers(&|at| list((MANY - at) as i32 - 1, STRUCTS, 0));
    lists_of_nothing.push(tag((1 << 29) - 1, 0, 0));
    let table: Vec<_> = (0..MANY).map(|at| local_object(at as u8)).collect();
    for (name, words) in [
        ("nothing", vec![0]),
        ("structs in structs", structs(LEVELS)),
        ("lists in lists", lists(LEVELS)),
        ("one index", pointers(&|_| capability(1))),
        ("all indices", pointers(&|at| capability(at as u32))),
        ("no index", pointers(&|_| capability(u32::MAX))),
        ("lists of nothing", lists_of_nothing),
        ("far pointers to themselves", pointers(&|at| far(0, at + 1))),
        ("a struct in itself", vec![structure(-1, 0, 1)]),
        ("a list in itself", vec![list(-1, POINTERS, 1)]),
        (
            "a struct twice in itself",
            vec![structure(-1, 0, 2), structure(-2, 0, 2)],
        ),
        (
            "structs in a list in themselves",
            vec![list(0, STRUCTS, 1), tag(1, 0, 1), list(-2, STRUCTS, 1)],
        ),
    ] {
        let segments = Segments::new(&[&words]);
        let limit = BYTES_EACH * segments.bytes() + BYTES_AT_MOST;
        for nesting_limit in [64, 1_000_000] {
            for bytes in crossing(&segments, &table, nesting_limit) {
                assert!(bytes <= limit, "{name}: {bytes} bytes, not {limit}");
            }
        }
    }
}

type Table = [Option<Box<dyn ClientHook>>];

/// What a membrane allocates to look into a message, on each way.
fn crossing(segments: &Segments, table: &Table, nesting_limit: i32) -> [usize; 3] {
    let membrane = Membrane::new();
    let options = ReaderOptions {
        traversal_limit_in_words: Some(LEVELS + 2),
        nesting_limit,
    };
    let message = || segments.message(table, options);
    let (received, from_here, from_elsewhere) = (message(), message(), message());
    let look = |params: &dyn ParamsHook| params.get().is_ok();
    let answer = |message, from| response(&membrane, message, from).is_ok_and(|r| r.get().is_ok());
    [
        allocated(|| params(&membrane, received, look)).1.bytes,
        allocated(|| answer(from_here, From::Here)).1.bytes,
        allocated(|| answer(from_elsewhere, From::Elsewhere))
            .1
            .bytes,
    ]
}
