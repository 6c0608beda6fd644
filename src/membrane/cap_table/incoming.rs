//! What a reader sees: the message as it is, with a capability table of ours.

use std::cell::OnceCell;
use std::ops::ControlFlow;

use capnp::any_pointer;
use capnp::private::capability::{ClientHook, ParamsHook, ResponseHook};
use capnp::private::layout::CapTable;
use capnp::traits::Imbue;

use super::walk::{Walked, walk};
use crate::membrane::Direction;
use crate::membrane::inspect::{Introducing, Origin};
use crate::membrane::state::Ref;

/// What holds a message that came in.
pub(in crate::membrane) trait MessageHook {
    fn content(&self) -> capnp::Result<any_pointer::Reader<'_>>;
}

impl MessageHook for Box<dyn ParamsHook> {
    fn content(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        self.get()
    }
}

impl MessageHook for Box<dyn ResponseHook> {
    fn content(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        self.get()
    }
}

/// A message that came in, whose capabilities are exchanged when it is first looked at.
pub(in crate::membrane) struct Incoming<H> {
    // Before the message: a wrapper must be gone before what it wraps is let go by the message.
    mirror: OnceCell<CapTable>,
    message: H,
    /// What introduces its capabilities, where that is noted.
    origin: Option<Origin>,
}

impl<H: MessageHook> Incoming<H> {
    /// For a message that is looked at when it is read.
    pub(in crate::membrane) fn new(message: H, origin: Option<Origin>) -> Self {
        Self {
            mirror: OnceCell::new(),
            message,
            origin,
        }
    }

    /// Looks at a message now. One in which nobody could find a capability, whatever is wrong with it, is
    /// given back: nothing crosses.
    #[inline]
    pub(in crate::membrane) fn look(
        message: H,
        origin: Option<Origin>,
        membrane: &Ref,
        direction: Direction,
    ) -> Result<Self, H> {
        let mut table = CapTable::new();
        let looked = match message.content() {
            Ok(content) => mirror(content, membrane, direction, origin.as_ref(), &mut table),
            Err(error) => Err(error),
        };
        match looked {
            Ok(Found::Nothing) => Err(message),
            Ok(Found::Perhaps) => Ok(Self {
                mirror: table.into(),
                message,
                origin: None,
            }),
            // Whoever reads it is to see why it can't be read.
            Err(_) => Ok(Self::new(message, origin)),
        }
    }

    /// The message, of which each capability has crossed, once, so that calls on it go in `direction`.
    pub(in crate::membrane) fn get(
        &self,
        membrane: &Ref,
        direction: Direction,
    ) -> capnp::Result<any_pointer::Reader<'_>> {
        let mut content = self.message.content()?;
        let mirror = match self.mirror.get() {
            Some(mirror) => mirror,
            None => {
                let mut made = CapTable::new();
                mirror(
                    content,
                    membrane,
                    direction,
                    self.origin.as_ref(),
                    &mut made,
                )?;
                self.mirror.get_or_init(|| made)
            }
        };
        content.imbue(mirror);
        Ok(content)
    }

    /// Nobody reads it any more: its capabilities go, and their table can be used again.
    pub(in crate::membrane) fn close(&mut self, membrane: &Ref) {
        if let Some(mirror) = self.mirror.take() {
            membrane.recycle(mirror);
        }
    }
}

/// While it lives, what crosses is introduced by `origin`.
fn introducing<'a>(origin: Option<&Origin>, membrane: &'a Ref) -> Option<Introducing<'a>> {
    Some(membrane.inspection()?.introducing(origin?.clone()))
}

/// Is there a capability in a message?
enum Found {
    /// None: nothing in it holds pointers.
    Nothing,
    /// What was not found may be found by a reader that takes the message for another.
    Perhaps,
}

/// Puts the wrapped capabilities into `table`, at the indices of the originals.
///
/// The table is never longer than the message's own: it grows only after a capability was really there.
fn mirror(
    content: any_pointer::Reader<'_>,
    membrane: &Ref,
    direction: Direction,
    origin: Option<&Origin>,
    table: &mut CapTable,
) -> capnp::Result<Found> {
    let limited = membrane.limited();
    let mut count = 0;
    // Only where something crosses, which most messages have not.
    let cross = |hook| {
        let _introducing = introducing(origin, membrane);
        membrane.cross(hook, direction)
    };
    let walked = walk(content, |found, _| {
        if let Some(limited) = limited {
            count += 1;
            if let Err(error) = limited.admit_message(count) {
                return ControlFlow::Break(error);
            }
        }
        if let Ok(hook) = found.pointer.get_capability() {
            if table.capacity() == 0 {
                *table = membrane.spare_table();
            }
            let index = found.index as usize;
            if table.len() <= index {
                table.resize_with(index + 1, || None);
            }
            if table[index].is_none() {
                table[index] = Some(cross(hook));
            }
        }
        ControlFlow::Continue(())
    })?;
    if let Walked::Stopped(error) = walked {
        return Err(error);
    }
    if let Walked::Capability = walked
        && let Ok(hook) = content.get_as_capability::<Box<dyn ClientHook>>()
    {
        mirror_bare(content, &*cross(hook), table);
    }
    Ok(match walked {
        Walked::Flat if table.is_empty() => Found::Nothing,
        _ => Found::Perhaps,
    })
}

/// The content is nothing but one capability, and its index can't be seen. So the table grows until
/// the pointer finds something: at most to twice the length of the message's own.
fn mirror_bare(content: any_pointer::Reader<'_>, hook: &dyn ClientHook, table: &mut CapTable) {
    loop {
        let more = table.len().max(1);
        table.extend((0..more).map(|_| Some(hook.add_ref())));
        let mut probe = content;
        probe.imbue(table);
        if probe.get_as_capability::<Box<dyn ClientHook>>().is_ok() {
            return;
        }
    }
}
