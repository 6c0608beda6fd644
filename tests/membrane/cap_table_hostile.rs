//! Messages that no builder makes, through a membrane: as a plain deep copy has them, or both refuse.
//!
//! Each is a seed of the fuzz target `cap_table` as well, where it is not too long for it.

use std::fs;
use std::path::Path;

use capnp::message::ReaderOptions;
use capnp::private::capability::ClientHook;
use capnp::{ErrorKind, any_pointer_list};
use capspan::membrane::Membrane;
use capspan_testkit::membrane::cap_table::words::{
    POINTERS, STRUCTS, capability, double_far, far, list, lists, structs, structure, tag,
};
use capspan_testkit::membrane::cap_table::{Segments, cap_table, compare, local_object, params};

/// A list of as many structs without a size as can be.
const MANY: u64 = (1 << 29) - 1;

/// Sends a message with two capabilities, and gives whether it came through. It is the seed `name`.
fn crosses(name: &str, segments: &[&[u64]]) -> bool {
    let mut input = vec![0, 2, segments.len() as u8 - 1];
    for segment in &segments[..segments.len() - 1] {
        input.extend((segment.len() as u16).to_le_bytes());
    }
    input.extend(segments.concat().into_iter().flat_map(u64::to_le_bytes));
    let seed = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/cap_table");
    let seed = seed.join(name);
    let Ok(known) = fs::read(&seed) else {
        fs::write(&seed, &input).unwrap();
        panic!("{name} is a new seed: it is written now");
    };
    assert!(known == input, "{name} is another seed");
    cap_table(&input)
}

/// Does the same for one that is too long to be a seed, with a reader as it is by default.
fn crosses_by_default(segments: &Segments) -> bool {
    let options = ReaderOptions::new();
    let limit = options.traversal_limit_in_words.unwrap();
    compare(segments, 2, limit, options.nesting_limit)
}

#[test]
fn far_pointers() {
    // The root's struct lies in another segment, with a landing pad before it.
    let pad = structure(0, 0, 2);
    let single = [&[far(1, 0)], &[pad, capability(0), capability(1)][..]];
    assert!(crosses("far", &single));
    // The landing pad is in a third one.
    let pads = [far(2, 0), structure(0, 0, 2)];
    let caps = [capability(0), capability(1)];
    assert!(crosses("far_double", &[&[double_far(1, 0)], &pads, &caps]));
    // In a list, in a struct.
    let field = [structure(0, 0, 1), far(1, 0)];
    let items = [list(0, POINTERS, 2), capability(0), capability(1)];
    assert!(crosses("far_list", &[&field, &items]));
}

#[test]
fn far_pointers_that_lead_nowhere() {
    for (name, segments) in [
        ("far_to_itself", &[&[far(0, 0)][..]][..]),
        // Its own landing pad, with a tag that says it is the field of a struct.
        (
            "far_double_to_itself",
            &[&[double_far(0, 0), structure(0, 0, 1)]],
        ),
        ("far_to_no_segment", &[&[far(u32::MAX as u64, 0)]]),
        ("far_outside", &[&[far(0, (1 << 29) - 1)]]),
        // Each other's landing pads.
        ("far_cycle", &[&[far(1, 0)], &[far(0, 0)]]),
        (
            "far_double_cycle",
            &[
                &[double_far(1, 0), double_far(1, 0)],
                &[double_far(0, 0), double_far(0, 0)],
            ],
        ),
        // The tag of a double landing pad is one again.
        (
            "far_double_tag",
            &[&[double_far(1, 0)], &[far(0, 0), far(1, 0)]],
        ),
        (
            "far_double_outside",
            &[
                &[double_far(1, 0)],
                &[far(0, (1 << 29) - 1), structure(0, 0, 1)],
            ],
        ),
    ] {
        assert!(!crosses(name, segments), "{name}");
    }
}

#[test]
fn a_far_pointer_to_a_capability() {
    // A copy takes it; a reader can't see its index, so that nobody else gets anything out of it.
    let segments: [&[u64]; 2] = [&[structure(0, 0, 1), far(1, 0)], &[capability(0)]];
    assert!(!crosses("far_capability", &segments));
}

#[test]
fn a_list_of_structs_of_no_size() {
    // As many as can be read.
    let few = [list(0, STRUCTS, 0), tag(300, 0, 0)];
    assert!(crosses("structs_of_no_size", &[&few]));
    let one = [list(0, STRUCTS, 0), tag(MANY, 0, 0)];
    assert!(!crosses("structs_of_no_size_many", &[&one]));
    assert!(!crosses_by_default(&Segments::new(&[&one])));
    // A copy refuses the list that holds nothing, too; but that one is not looked at.
    let void = [list(0, 0, MANY)];
    assert!(!crosses("voids_many", &[&void]));
}

#[test]
fn many_lists_of_structs_of_no_size() {
    // All of them are the same, behind the pointers, with a capability after it.
    let lists = |count: i32| {
        let mut words = vec![structure(0, 0, count as u64 + 1)];
        words.extend((0..count).map(|at| list(count - at, STRUCTS, 0)));
        words.extend([capability(0), tag(MANY, 0, 0)]);
        words
    };
    assert!(!crosses("structs_of_no_size_lists", &[&lists(100)]));
    assert!(!crosses_by_default(&Segments::new(&[&lists(10_000)])));
}

#[test]
fn cycles() {
    for (name, segment) in [
        // Its only field is the pointer to it.
        ("cycle_struct", &[structure(-1, 0, 1)][..]),
        ("cycle_struct_wide", &[structure(-1, 0, 2), capability(0)]),
        (
            "cycle_struct_twice",
            &[structure(-1, 0, 2), structure(-2, 0, 2)],
        ),
        // Its only element is the pointer to it.
        ("cycle_list", &[list(-1, POINTERS, 1)]),
        ("cycle_list_wide", &[list(-1, POINTERS, 2), capability(1)]),
        // The field of its first element is itself.
        (
            "cycle_structs",
            &[
                list(0, STRUCTS, 2),
                tag(2, 0, 1),
                list(-2, STRUCTS, 2),
                capability(0),
            ],
        ),
        // Each contains the other, and a capability after it.
        (
            "cycle_of_two",
            &[
                structure(0, 0, 2),
                list(1, POINTERS, 2),
                capability(0),
                structure(-3, 0, 2),
                capability(1),
            ],
        ),
    ] {
        assert!(!crosses(name, &[segment]), "{name}");
        assert!(
            !compare(&Segments::new(&[segment]), 2, 10_000, 64),
            "{name}"
        );
    }
}

#[test]
fn a_message_that_is_read_in_more_ways_than_can_be_counted() {
    // Each struct has two pointers to the next.
    let mut words = vec![structure(0, 0, 2)];
    for _ in 0..40 {
        words.extend([structure(1, 0, 2), structure(0, 0, 2)]);
    }
    words.extend([capability(0), capability(1)]);
    assert!(!crosses("twice_each", &[&words]));
    let segments = Segments::new(&[&words]);
    assert!(!compare(&segments, 2, 10_000, 64));
    // It is the limit that ends it.
    let options = ReaderOptions {
        traversal_limit_in_words: Some(10_000),
        nesting_limit: 64,
    };
    let looked = params(&Membrane::new(), segments.message(&[], options), |params| {
        params.get().err().map(|error| error.kind)
    });
    assert_eq!(looked, Some(Some(ErrorKind::ReadLimitExceeded)));
}

#[test]
fn indices_out_of_range() {
    let fields = |index| [structure(0, 0, 2), capability(0), capability(index)];
    assert!(crosses("index_last", &[&fields(1)]));
    assert!(!crosses("index_after_the_last", &[&fields(2)]));
    assert!(!crosses("index_highest", &[&fields(u32::MAX)]));
    assert!(crosses("index_bare", &[&[capability(1)]]));
    assert!(!crosses("index_bare_highest", &[&[capability(u32::MAX)]]));
    let other_kind = capability(0) | 4;
    assert!(!crosses(
        "index_of_no_capability",
        &[&[structure(0, 0, 1), other_kind]]
    ));
}

#[test]
fn one_index_many_times() {
    let times = |count: usize| {
        let mut words = vec![list(0, POINTERS, count as u64)];
        words.extend(vec![capability(1); count]);
        words
    };
    assert!(crosses("one_index", &[&times(300)]));
    let segments = Segments::new(&[&times(10_000)]);
    assert!(crosses_by_default(&segments));
    // It is the same wrapper each time.
    let membrane = Membrane::builder().inspected().build();
    let table = [0, 1].map(local_object);
    let message = segments.message(&table, ReaderOptions::new());
    let wrapped = params(&membrane.clone(), message, move |params| {
        let list: any_pointer_list::Reader<'_> = params.get()?.get_as()?;
        let wrappers = list.iter().map(|element| element?.get_as_capability());
        let wrappers: Vec<Box<dyn ClientHook>> = wrappers.collect::<capnp::Result<_>>()?;
        assert!(
            wrappers
                .iter()
                .all(|w| w.get_ptr() == wrappers[0].get_ptr())
        );
        Ok::<_, capnp::Error>(membrane.wrapped().len())
    });
    // That, and the one that was called.
    assert_eq!(wrapped.unwrap().unwrap(), 2);
}

#[test]
fn levels() {
    assert!(crosses("levels_structs", &[&structs(300)]));
    assert!(crosses("levels_lists", &[&lists(300)]));
    // Deep down, three pointers lead to the same.
    let mut shared = vec![structure(0, 0, 1); 100];
    shared.push(structure(0, 0, 3));
    shared.extend([2, 1, 0].map(|offset| structure(offset, 0, 1)));
    shared.push(capability(1));
    assert!(crosses("levels_shared", &[&shared]));
    for words in [structs, lists] {
        assert!(crosses_by_default(&Segments::new(&[&words(64)])));
        assert!(!crosses_by_default(&Segments::new(&[&words(65)])));
        assert!(!crosses_by_default(&Segments::new(&[&words(200_000)])));
    }
}
