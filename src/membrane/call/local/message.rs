//! A message of our own: capabilities in it cross in their table, without a look at the message.

use capnp::any_pointer;
use capnp::message::{Builder, HeapAllocator};
use capnp::private::capability::{ClientHook, PipelineOp};
use capnp::private::layout::CapTable;
use capnp::traits::{Imbue, ImbueMut};

use crate::membrane::state::broken;

/// How many words a message has room for before it needs a second segment. Most are small, and what is
/// allocated is cleared.
const FIRST_SEGMENT_WORDS: u32 = 128;

/// What a message is, but for its capabilities.
pub(super) type Body = Builder<HeapAllocator>;

/// Parameters, or results under construction.
pub(super) struct Message {
    pub(super) body: Body,
    pub(super) table: CapTable,
}

/// What is in `body`, with capabilities from `table`.
pub(super) fn read<'a>(
    body: &'a Body,
    table: &'a CapTable,
) -> capnp::Result<any_pointer::Reader<'a>> {
    let mut root: any_pointer::Reader<'a> = body.get_root_as_reader()?;
    root.imbue(table);
    Ok(root)
}

/// A capability in `body`, from `table`; one that says what is wrong where there is none.
pub(super) fn capability(body: &Body, table: &CapTable, ops: &[PipelineOp]) -> Box<dyn ClientHook> {
    let found = read(body, table).and_then(|root| root.get_pipelined_cap(ops));
    found.unwrap_or_else(broken)
}

impl Message {
    pub(super) fn new() -> Self {
        Self::with_room(FIRST_SEGMENT_WORDS)
    }

    fn with_room(words: u32) -> Self {
        let allocator = HeapAllocator::new().first_segment_words(words);
        Self {
            body: Builder::new(allocator),
            table: CapTable::new(),
        }
    }

    pub(super) fn builder(&mut self) -> any_pointer::Builder<'_> {
        let root = self.body.get_root();
        // Whatever the root is, it is an `any_pointer`: that conversion has nothing that could fail.
        let mut root: any_pointer::Builder<'_> = root.expect("a root is an any_pointer");
        root.imbue_mut(&mut self.table);
        root
    }

    /// The same message once more.
    pub(super) fn copy(&mut self) -> capnp::Result<Self> {
        let content = self.builder();
        let size = content.target_size()?;
        let words = u32::try_from(size.word_count + 1).unwrap_or(FIRST_SEGMENT_WORDS);
        let mut copy = Self::with_room(words);
        copy.builder().set_as(content.into_reader())?;
        Ok(copy)
    }
}
