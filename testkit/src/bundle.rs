//! A message with a capability in every place that can hold one.

use capnp::capability::FromClientHook;
use capnp::private::capability::ClientHook;
use capnp::{Result, any_pointer};

use crate::testkit_capnp::{bundle, thing};

/// How many capabilities [`fill`] puts into a bundle.
pub const PLACES: usize = 2 * PLACES_ON_A_LEVEL;

const PLACES_ON_A_LEVEL: usize = 9;

/// Puts what `next` gives into every place, two levels deep. With enough `bulk` before them, in bytes,
/// the deeper places lie in another segment of the message than what points to them.
pub fn fill(mut to: bundle::Builder<'_>, bulk: u32, mut next: impl FnMut() -> thing::Client) {
    fill_level(to.reborrow(), bulk, &mut next);
    fill_level(to.init_nested(), bulk, &mut next);
}

fn fill_level(mut to: bundle::Builder<'_>, bulk: u32, next: &mut dyn FnMut() -> thing::Client) {
    to.set_text("not a capability");
    to.reborrow().init_data(bulk);
    to.set_plain(next());
    to.reborrow()
        .init_any()
        .set_as_capability(next().into_client_hook());
    let mut list = to.reborrow().init_list(2);
    list.set(0, next().into_client_hook());
    list.set(1, next().into_client_hook());
    let mut lists = to.reborrow().init_lists(2);
    lists
        .reborrow()
        .init(1, 1)
        .set(0, next().into_client_hook());
    let mut bundles = to.reborrow().init_bundles(3);
    bundles.reborrow().get(0).init_data(bulk);
    bundles.reborrow().get(1).set_plain(next());
    let deep: any_pointer::Builder<'_> = bundles.get(2).init_any();
    deep.init_as::<bundle::Builder<'_>>().set_plain(next());
    to.reborrow().get_choice().set_chosen(next());
    to.get_group().set_inner(next());
}

/// All capabilities of a filled bundle, in the order in which they were put in.
pub fn each(from: bundle::Reader<'_>) -> Result<Vec<thing::Client>> {
    let mut found = each_on_level(from)?;
    if from.has_nested() {
        found.extend(each_on_level(from.get_nested()?)?);
    }
    Ok(found)
}

fn each_on_level(from: bundle::Reader<'_>) -> Result<Vec<thing::Client>> {
    let any: Box<dyn ClientHook> = from.get_any().get_as_capability()?;
    let list = from.get_list()?;
    let bundles = from.get_bundles()?;
    let deep: bundle::Reader<'_> = bundles.get(2).get_any().get_as()?;
    let bundle::choice::Chosen(chosen) = from.get_choice().which()? else {
        return Err(capnp::Error::failed("the choice is another".into()));
    };
    Ok(vec![
        from.get_plain()?,
        FromClientHook::new(any),
        list.get(0)?,
        list.get(1)?,
        from.get_lists()?.get(1)?.get(0)?,
        bundles.get(1).get_plain()?,
        deep.get_plain()?,
        chosen?,
        from.get_group().get_inner()?,
    ])
}
