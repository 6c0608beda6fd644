//! Messages of 200,000 levels cross on a small stack, where their reader allows so many.
//!
//! They can't be held against a deep copy: `capnp`'s (`deep_copy_pointee`) calls itself for each level.

use capnp::message::ReaderOptions;
use capnp::private::capability::{ClientHook, PipelineOp};
use capnp::{any_pointer, any_pointer_list};
use capspan::membrane::Membrane;
use capspan_testkit::membrane::cap_table::words::{capability, lists, structs, structure};
use capspan_testkit::membrane::cap_table::{From, Segments, label, local_object, params, response};

const LEVELS: usize = 200_000;

/// Runs what has no room to recurse on.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(256 * 1024);
    thread.spawn(work).unwrap().join().unwrap();
}

/// Enough for `levels` levels and no more, twice: to look, and to read.
fn as_deep_as(levels: usize) -> ReaderOptions {
    ReaderOptions {
        traversal_limit_in_words: Some(2 * levels + 2),
        nesting_limit: levels as i32,
    }
}

fn label_below_structs(content: any_pointer::Reader<'_>) -> capnp::Result<Vec<u8>> {
    let ops = vec![PipelineOp::GetPointerField(0); LEVELS];
    Ok(label(&*content.get_pipelined_cap(&ops)?))
}

fn label_below_lists(content: any_pointer::Reader<'_>) -> capnp::Result<Vec<u8>> {
    let mut element = content;
    for _ in 0..LEVELS {
        let list: any_pointer_list::Reader<'_> = element.get_as()?;
        element = list.get(0);
    }
    Ok(label(&*element.get_as_capability::<Box<dyn ClientHook>>()?))
}

type Read = fn(any_pointer::Reader<'_>) -> capnp::Result<Vec<u8>>;

/// What is read of a message on each way on which a membrane looks into it.
fn cross_deep(words: &[u64], read: Read, options: ReaderOptions) -> Vec<capnp::Result<Vec<u8>>> {
    let segments = Segments::new(&[words]);
    let table = [0, 1].map(local_object);
    let membrane = Membrane::new();
    let message = || segments.message(&table, options);
    let inside = params(&membrane, message(), move |params| read(params.get()?)).unwrap();
    let outside = [From::Here, From::Elsewhere].map(|from| {
        response(&membrane, message(), from).and_then(|response| read(response.get()?))
    });
    [inside].into_iter().chain(outside).collect()
}

#[test]
fn as_many_levels_as_the_reader_allows() {
    on_a_small_stack(|| {
        for (words, read) in [
            (structs(LEVELS), label_below_structs as Read),
            (lists(LEVELS), label_below_lists),
        ] {
            for label in cross_deep(&words, read, as_deep_as(LEVELS)) {
                assert_eq!(label.unwrap(), [1]);
            }
            // One level less than there are: nothing is found, and nobody gets that far.
            for label in cross_deep(&words, read, as_deep_as(LEVELS - 1)) {
                assert!(label.is_err());
            }
            for label in cross_deep(&words, read, ReaderOptions::new()) {
                assert!(label.is_err());
            }
        }
    });
}

#[test]
fn in_a_struct_in_itself_a_capability_is_found_on_each_level() {
    let words = [structure(-1, 0, 2), capability(1)];
    let read = |content: any_pointer::Reader<'_>| {
        let mut ops = vec![PipelineOp::GetPointerField(0); 1_000];
        ops.push(PipelineOp::GetPointerField(1));
        Ok(label(&*content.get_pipelined_cap(&ops)?))
    };
    for label in cross_deep(&words, read, as_deep_as(LEVELS)) {
        assert_eq!(label.unwrap(), [1]);
    }
}
