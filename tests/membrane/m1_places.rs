//! M1 *Closure*, where a message has one capability: wherever it lies, it is found and crosses. A message that
//! is sent is filled through the pointer of the newest capability, so each place is that of the newest once.

use capnp::capability::FromClientHook;
use capnp::private::capability::ClientHook;
use capspan_testkit::membrane::events::soon;
use capspan_testkit::membrane::scene::{assert_revoked, everywhere, label};
use capspan_testkit::probe_capnp::{bundle, holder, probe};

type Set = fn(bundle::Builder<'_>, probe::Client);
type Get = fn(bundle::Reader<'_>) -> capnp::Result<probe::Client>;

fn hook(cap: probe::Client) -> Box<dyn ClientHook> {
    cap.into_client_hook()
}

const PLACES: [(&str, Set, Get); 15] = [
    (
        "plain",
        |mut to, cap| to.set_plain(cap),
        |from| from.get_plain(),
    ),
    (
        "nested",
        |to, cap| to.init_nested().set_cap(cap),
        |from| from.get_nested()?.get_cap(),
    ),
    (
        "nested.inner.inner",
        |to, cap| to.init_nested().init_inner().init_inner().set_cap(cap),
        |from| from.get_nested()?.get_inner()?.get_inner()?.get_cap(),
    ),
    (
        "holders[0]",
        |to, cap| to.init_holders(3).get(0).set_cap(cap),
        |from| from.get_holders()?.get(0).get_cap(),
    ),
    (
        "holders[2]",
        |to, cap| to.init_holders(3).get(2).set_cap(cap),
        |from| from.get_holders()?.get(2).get_cap(),
    ),
    (
        "holders[1].inner",
        |to, cap| to.init_holders(3).get(1).init_inner().set_cap(cap),
        |from| from.get_holders()?.get(1).get_inner()?.get_cap(),
    ),
    (
        "caps[2]",
        |to, cap| to.init_caps(4).set(2, hook(cap)),
        |from| from.get_caps()?.get(2),
    ),
    (
        "lists[1][1]",
        |to, cap| to.init_lists(3).init(1, 2).set(1, hook(cap)),
        |from| from.get_lists()?.get(1)?.get(1),
    ),
    (
        "holderLists[1][2]",
        |to, cap| to.init_holder_lists(2).init(1, 3).get(2).set_cap(cap),
        |from| from.get_holder_lists()?.get(1)?.get(2).get_cap(),
    ),
    (
        "holderLists[0][1].inner",
        |to, cap| {
            let mut list = to.init_holder_lists(2).init(0, 2);
            list.reborrow().get(1).init_inner().set_cap(cap);
        },
        |from| {
            let list = from.get_holder_lists()?.get(0)?;
            list.get(1).get_inner()?.get_cap()
        },
    ),
    (
        "anyStruct",
        |to, cap| {
            let mut any: holder::Builder<'_> = to.get_any_struct().init_as();
            any.set_cap(cap);
        },
        |from| {
            from.get_any_struct()
                .get_as::<holder::Reader<'_>>()?
                .get_cap()
        },
    ),
    (
        "anyCap",
        |to, cap| to.get_any_cap().set_as_capability(hook(cap)),
        |from| from.get_any_cap().get_as_capability(),
    ),
    (
        "group",
        |to, cap| to.init_group().set_cap(cap),
        |from| from.get_group().get_cap(),
    ),
    (
        "one",
        |mut to, cap| to.set_one(cap),
        |from| match from.which()? {
            bundle::One(cap) => cap,
            _ => Err(capnp::Error::failed("another".into())),
        },
    ),
    (
        "held",
        |to, cap| to.init_held().set_cap(cap),
        |from| match from.which()? {
            bundle::Held(holder) => holder?.get_cap(),
            _ => Err(capnp::Error::failed("another".into())),
        },
    ),
];

#[test]
fn m1_the_only_capability_may_be_anywhere() {
    for (place, set, get) in PLACES {
        everywhere(async |scene| {
            eprintln!("{place}");
            // One of the outside goes in and comes back, and is itself then.
            let mut any = scene.wrapper.any_request();
            set(any.get().get_any().init_as(), scene.outside.probe("own"));
            let response = soon(any.send().promise).await.unwrap();
            let own = get(response.get().unwrap().get_any().get_as().unwrap()).unwrap();
            assert_eq!(label(&own).await.unwrap(), "own");
            // One of the inside likewise, which was a wrapper before it went in.
            let inner = soon(scene.wrapper.swap_request().send().promise).await;
            let given = inner.unwrap().get().unwrap().get_cap().unwrap();
            let mut any = scene.wrapper.any_request();
            set(any.get().get_any().init_as(), given);
            let response = soon(any.send().promise).await.unwrap();
            let given = get(response.get().unwrap().get_any().get_as().unwrap()).unwrap();
            assert_eq!(label(&given).await.unwrap(), "inner's child");
            scene.revoke();
            assert_eq!(label(&own).await.unwrap(), "own");
            assert_revoked(place, &given).await;
        });
    }
}
