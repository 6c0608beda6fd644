//! A plain deep copy of a message, by `capnp` itself.

use capnp::any_pointer;
use capnp::message::{Builder, HeapAllocator};
use capnp::private::capability::ClientHook;
use capnp::traits::{Imbue, ImbueMut};

/// A message that was copied to where its owner alone can be at fault.
pub(super) struct Copied {
    message: Builder<HeapAllocator>,
    pub(super) table: Vec<Option<Box<dyn ClientHook>>>,
}

impl Copied {
    pub(super) fn empty() -> Self {
        Self {
            message: Builder::new_default(),
            table: Vec::new(),
        }
    }

    pub(super) fn of(content: any_pointer::Reader<'_>) -> capnp::Result<Self> {
        let mut copied = Self::empty();
        copied.builder()?.set_as(content)?;
        Ok(copied)
    }

    /// A copy of what is read twice: the second time must not differ from the first.
    pub(super) fn twice<'a>(
        read: impl Fn() -> capnp::Result<any_pointer::Reader<'a>>,
    ) -> capnp::Result<Self> {
        let copy = || Self::of(read()?);
        let (first, second) = (copy(), copy());
        if let (Ok(first), Ok(second)) = (&first, &second) {
            assert_eq!(first.bytes(), second.bytes());
        }
        first
    }

    pub(super) fn builder(&mut self) -> capnp::Result<any_pointer::Builder<'_>> {
        let mut root: any_pointer::Builder<'_> = self.message.get_root()?;
        root.imbue_mut(&mut self.table);
        Ok(root)
    }

    pub(super) fn reader(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        let mut content: any_pointer::Reader<'_> = self.message.get_root_as_reader()?;
        content.imbue(&self.table);
        Ok(content)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        capnp::serialize::write_message_to_words(&self.message)
    }
}
