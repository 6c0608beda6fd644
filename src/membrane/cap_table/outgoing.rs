//! What a builder fills: the message itself, with a capability table of ours.

use std::ops::ControlFlow;

use capnp::private::capability::ClientHook;
use capnp::private::layout::{CapTable, ElementSize, PointerBuilder, StructSize};
use capnp::traits::{FromPointerBuilder, ImbueMut};
use capnp::{any_pointer, struct_list};

use super::any_struct::{self, AnyStruct};
use super::walk::{self, Path, Step, Walked, walk};
use crate::membrane::Direction;
use crate::membrane::state::{Ref, broken};

/// Stands in for the capability table of a message that is being built.
///
/// Tables only grow, and the real one gets nothing but what [`flush`](Outgoing::flush) puts there. So
/// a capability has the same index in both, and the pointers in the message are right for both.
pub(in crate::membrane) struct Outgoing {
    table: CapTable,
    /// How many entries the real table has.
    flushed: usize,
}

impl Outgoing {
    /// For a message that has no capability yet.
    pub(in crate::membrane) fn new(membrane: &Ref) -> Self {
        Self {
            table: membrane.spare_table(),
            flushed: 0,
        }
    }

    /// The message, to be filled; `content` is as its owner gives it.
    pub(in crate::membrane) fn builder<'a>(
        &'a mut self,
        mut content: any_pointer::Builder<'a>,
    ) -> any_pointer::Builder<'a> {
        content.imbue_mut(&mut self.table);
        content
    }

    /// Has it never held anything?
    #[inline]
    pub(in crate::membrane) fn is_unused(&self) -> bool {
        self.table.capacity() == 0
    }

    /// Is there anything that the real table has not got?
    pub(in crate::membrane) fn is_flushed(&self) -> bool {
        self.flushed == self.table.len()
    }

    /// Fills the real table with the entries since the last time, which cross so that calls on them go
    /// in `direction`.
    ///
    /// `content` is the message as its owner gives it, with the real table. Where there is no new
    /// entry the message is not looked at. Fails only where the message can't be walked; capabilities
    /// that did not cross are then unusable.
    pub(in crate::membrane) fn flush(
        &mut self,
        content: any_pointer::Builder<'_>,
        membrane: &Ref,
        direction: Direction,
    ) -> capnp::Result<()> {
        let cross = |hook| membrane.cross(hook, direction);
        self.check(membrane)?;
        self.fill(content, |entry| entry.clone().map(cross))
    }

    /// Does the same for the last time: the entries are moved, and the builder is not to be used again.
    pub(in crate::membrane) fn finish(
        &mut self,
        content: any_pointer::Builder<'_>,
        membrane: &Ref,
        direction: Direction,
    ) -> capnp::Result<()> {
        let cross = |hook| membrane.cross(hook, direction);
        let filled = match self.check(membrane) {
            Ok(()) => self.fill(content, |entry| entry.take().map(cross)),
            Err(error) => Err(error),
        };
        self.close(membrane);
        filled
    }

    /// Is it within the membrane's limit?
    fn check(&self, membrane: &Ref) -> capnp::Result<()> {
        match membrane.limited() {
            None => Ok(()),
            Some(limited) => limited.admit_message(self.table.len()),
        }
    }

    /// Nobody fills it any more: its table can be used again.
    pub(in crate::membrane) fn close(&mut self, membrane: &Ref) {
        self.flushed = 0;
        membrane.recycle(std::mem::take(&mut self.table));
    }

    fn fill(
        &mut self,
        mut content: any_pointer::Builder<'_>,
        crossed: impl Fn(&mut Option<Box<dyn ClientHook>>) -> Option<Box<dyn ClientHook>>,
    ) -> capnp::Result<()> {
        if self.is_flushed() {
            return Ok(());
        }
        let newest = self.table.len() - 1;
        if let Some(pointer) = in_root(content.reborrow(), newest)? {
            self.put(pointer, newest, crossed);
        } else if let Some((last, path)) = self.last_reachable(content.reborrow().into_reader())? {
            self.put(descend(content, &path)?, last, crossed);
        }
        Ok(())
    }

    /// Puts the new entries up to `last`, whose own pointer this is, into the real table through it: so it
    /// ends with the index that it had.
    fn put(
        &mut self,
        mut pointer: any_pointer::Builder<'_>,
        last: usize,
        crossed: impl Fn(&mut Option<Box<dyn ClientHook>>) -> Option<Box<dyn ClientHook>>,
    ) {
        for entry in &mut self.table[self.flushed..=last] {
            pointer.set_as_capability(match crossed(entry) {
                Some(hook) => hook,
                // No builder of `capnp` takes an entry out again; were there one, its place is kept.
                None => broken(capnp::Error::failed("no capability".into())),
            });
        }
        self.flushed = last + 1;
    }

    /// The highest new index that a pointer in the message has, and the way to that pointer. Entries
    /// above it are not reachable: no reader will ask for them.
    fn last_reachable(
        &self,
        content: any_pointer::Reader<'_>,
    ) -> capnp::Result<Option<(usize, Path)>> {
        let newest = self.table.len() - 1;
        // Nearly always, the newest is there.
        let found = self.walk_to(content, |index| index == newest)?;
        if found.is_some() {
            return Ok(found);
        }
        let mut highest = None;
        self.walk_to(content, |index| {
            highest = highest.max(Some(index));
            false
        })?;
        match highest {
            None => Ok(None),
            Some(highest) => self.walk_to(content, |index| index == highest),
        }
    }

    /// Walks until `found` says so, over the indices of new entries.
    #[inline]
    fn walk_to(
        &self,
        content: any_pointer::Reader<'_>,
        mut found: impl FnMut(usize) -> bool,
    ) -> capnp::Result<Option<(usize, Path)>> {
        let new = self.flushed..self.table.len();
        let walked = walk(content, |pointer, way| {
            let index = pointer.index as usize;
            match new.contains(&index) && found(index) {
                true => ControlFlow::Break((index, way.path())),
                false => ControlFlow::Continue(()),
            }
        })?;
        Ok(match walked {
            Walked::Stopped(last) => Some(last),
            Walked::Whole | Walked::Flat => None,
            // The whole message is this pointer: it has the last entry that was set.
            Walked::Capability => {
                let newest = self.table.len() - 1;
                let path = Path {
                    outer: Vec::new(),
                    last: None,
                };
                found(newest).then_some((newest, path))
            }
        })
    }
}

/// The smallest: a struct that is there is never grown, so never moved.
const ANY_SIZE: StructSize = StructSize {
    data: 0,
    pointers: 0,
};

/// Lets `PointerBuilder` be had from an `any_pointer`.
struct Raw<'a>(PointerBuilder<'a>);

impl<'a> FromPointerBuilder<'a> for Raw<'a> {
    fn init_pointer(builder: PointerBuilder<'a>, _length: u32) -> Self {
        Self(builder)
    }

    fn get_from_pointer(
        builder: PointerBuilder<'a>,
        _default: Option<&'a [capnp::Word]>,
    ) -> capnp::Result<Self> {
        Ok(Self(builder))
    }
}

/// The pointer with this index, where it is in the struct that is the root: mostly it is.
fn in_root(
    root: any_pointer::Builder<'_>,
    index: usize,
) -> capnp::Result<Option<any_pointer::Builder<'_>>> {
    let Raw(pointer) = root.get_as()?;
    if pointer.is_null() {
        return Ok(None);
    }
    let Ok(mut fields) = pointer.get_struct(ANY_SIZE, None) else {
        return Ok(None);
    };
    let field = walk::field_with(fields.reborrow().into_reader(), index);
    Ok(field.map(|field| any_pointer::Builder::new(fields.get_pointer_field(field))))
}

/// Follows `path`, which a walk over the same message has just found: each step of it is there.
fn descend<'a>(
    root: any_pointer::Builder<'a>,
    path: &Path,
) -> capnp::Result<any_pointer::Builder<'a>> {
    let Raw(mut pointer) = root.get_as()?;
    for step in path.outer.iter().chain(&path.last) {
        pointer = match *step {
            Step::Field(field) => pointer
                .get_struct(ANY_SIZE, None)?
                .get_pointer_field(field as usize),
            Step::ElementField(element, field) => {
                let list = struct_list::Builder::<AnyStruct>::get_from_pointer(pointer, None)?;
                let Some(any_struct::Builder(element)) = list.try_get(element) else {
                    return Err(capnp::Error::failed("the message changed".into()));
                };
                element.get_pointer_field(field as usize)
            }
            Step::Element(element) => {
                let list = pointer.get_list(ElementSize::Pointer, None)?;
                if element >= list.len() {
                    return Err(capnp::Error::failed("the message changed".into()));
                }
                list.get_pointer_element(element)
            }
        };
    }
    Ok(any_pointer::Builder::new(pointer))
}
