//! A message with a capability in every place that can hold one.

use capnp::Error;
use capnp::capability::FromClientHook;

use crate::probe_capnp::{bundle, holder, probe};

/// How many capabilities [`fill`] puts in.
pub const PLACES: usize = 20;

/// Fills `bundle`, but for its `data`, with what `source` gives for each place, which it is told by
/// name.
pub fn fill(
    mut bundle: bundle::Builder<'_>,
    mut source: impl FnMut(&str) -> probe::Client,
) -> Result<(), Error> {
    bundle.set_plain(source("plain"));
    hold(bundle.reborrow().init_nested(), "nested", &mut source);
    hold(
        bundle.reborrow().get_nested()?.init_inner(),
        "nested.inner",
        &mut source,
    );
    let mut holders = bundle.reborrow().init_holders(3);
    // The one in the middle stays empty.
    for at in [0, 2] {
        hold(
            holders.reborrow().get(at),
            &format!("holders[{at}]"),
            &mut source,
        );
    }
    let mut caps = bundle.reborrow().init_caps(3);
    for at in [0, 2] {
        caps.set(at, source(&format!("caps[{at}]")).into_client_hook());
    }
    let mut lists = bundle.reborrow().init_lists(3);
    for outer in [0, 2] {
        let mut list = lists.reborrow().init(outer, 2);
        for at in 0..2 {
            list.set(
                at,
                source(&format!("lists[{outer}][{at}]")).into_client_hook(),
            );
        }
    }
    let holder_list = bundle.reborrow().init_holder_lists(2).init(1, 2);
    hold(holder_list.get(1), "holderLists[1][1]", &mut source);
    let mut any = bundle
        .reborrow()
        .get_any_struct()
        .init_as::<holder::Builder<'_>>();
    hold(any.reborrow(), "anyStruct", &mut source);
    hold(any.init_inner(), "anyStruct.inner", &mut source);
    let mut any = bundle
        .reborrow()
        .get_any_list()
        .initn_as::<capnp::capability_list::Builder<'_, probe::Client>>(2);
    for at in 0..2 {
        any.set(at, source(&format!("anyList[{at}]")).into_client_hook());
    }
    bundle
        .reborrow()
        .get_any_cap()
        .set_as_capability(source("anyCap").into_client_hook());
    let mut group = bundle.reborrow().init_group();
    group.set_note("a group's pointers are its struct's");
    group.set_cap(source("group"));
    let mut held = bundle.reborrow().init_held();
    hold(held.reborrow(), "held", &mut source);
    hold(held.init_inner(), "held.inner", &mut source);
    Ok(())
}

fn hold(
    mut holder: holder::Builder<'_>,
    place: &str,
    source: &mut impl FnMut(&str) -> probe::Client,
) {
    holder.set_number(3);
    holder.set_before(place);
    holder.set_cap(source(place));
    holder.set_after(b"after");
}

/// The capabilities in `bundle`, with the names of their places.
pub fn caps(bundle: bundle::Reader<'_>) -> Result<Vec<(String, probe::Client)>, Error> {
    let mut found = Vec::new();
    if bundle.has_plain() {
        found.push(("plain".into(), bundle.get_plain()?));
    }
    if bundle.has_nested() {
        held(bundle.get_nested()?, "nested", &mut found)?;
    }
    for (at, holder) in bundle.get_holders()?.iter().enumerate() {
        held(holder, &format!("holders[{at}]"), &mut found)?;
    }
    listed(bundle.get_caps()?, "caps", &mut found);
    for (outer, list) in bundle.get_lists()?.iter().enumerate() {
        listed(list?, &format!("lists[{outer}]"), &mut found);
    }
    for (outer, list) in bundle.get_holder_lists()?.iter().enumerate() {
        for (at, holder) in list?.iter().enumerate() {
            held(holder, &format!("holderLists[{outer}][{at}]"), &mut found)?;
        }
    }
    if bundle.has_any_struct() {
        held(bundle.get_any_struct().get_as()?, "anyStruct", &mut found)?;
    }
    if bundle.has_any_list() {
        listed(bundle.get_any_list().get_as()?, "anyList", &mut found);
    }
    if bundle.has_any_cap() {
        found.push(("anyCap".into(), bundle.get_any_cap().get_as_capability()?));
    }
    if bundle.get_group().has_cap() {
        found.push(("group".into(), bundle.get_group().get_cap()?));
    }
    match bundle.which()? {
        bundle::None(()) => {}
        bundle::One(one) => found.push(("one".into(), one?)),
        bundle::Held(holder) => held(holder?, "held", &mut found)?,
    }
    Ok(found)
}

fn held(
    mut holder: holder::Reader<'_>,
    place: &str,
    found: &mut Vec<(String, probe::Client)>,
) -> Result<(), Error> {
    let mut place = place.to_owned();
    loop {
        if holder.has_cap() {
            found.push((place.clone(), holder.get_cap()?));
        }
        if !holder.has_inner() {
            return Ok(());
        }
        holder = holder.get_inner()?;
        place += ".inner";
    }
}

fn listed(
    caps: capnp::capability_list::Reader<'_, probe::Client>,
    place: &str,
    found: &mut Vec<(String, probe::Client)>,
) {
    for at in 0..caps.len() {
        // Null where nothing was put.
        if let Ok(cap) = caps.get(at) {
            found.push((format!("{place}[{at}]"), cap));
        }
    }
}
