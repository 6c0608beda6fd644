//! Messages that are copied across by hand, as a redirect target has to.

use capnp::any_pointer;
use capnp::message;
use capnp::private::layout::CapTable;
use capnp::traits::{Imbue, ImbueMut, Owned, SetterInput};

use super::Direction;
use super::state::Ref;

/// Copies `from` to `to`; each capability in it crosses, so that calls on it go in `direction`.
///
/// It is copied twice, because the table of `from` can't be seen, while that of a copy of ours can.
pub(super) fn copy<T: Owned>(
    from: impl SetterInput<T>,
    mut to: any_pointer::Builder<'_>,
    membrane: &Ref,
    direction: Direction,
) -> capnp::Result<()> {
    let mut message = message::Builder::new_default();
    let mut table = CapTable::new();
    let mut root: any_pointer::Builder<'_> = message.init_root();
    root.imbue_mut(&mut table);
    root.set_as(from)?;
    membrane.cross_table(&mut table, direction)?;
    let mut content: any_pointer::Reader<'_> = message.get_root_as_reader()?;
    content.imbue(&table);
    to.set_as(content)
}
