//! Circles through a membrane, and what a leak check sees of them.

use capnp::Error;
use capspan::membrane::Membrane;
use capspan_testkit::run::{run, until_idle};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;

/// With this in the environment the circle is left as it is, for a leak check to show that it finds one.
const LEAK: &str = "CAPSPAN_LEAK";

#[test]
fn what_refers_to_itself_through_a_membrane_stays_until_it_is_revoked() -> Result<(), Error> {
    run(async {
        let world = World::new();
        let (inner, outer) = (world.thing(), world.thing());
        let membrane = Membrane::new();
        let wrapper = membrane.export(inner);
        store(&outer, &wrapper).await?;
        store(&wrapper, &outer).await?;
        let weak = membrane.downgrade();
        drop((membrane, wrapper, outer));
        until_idle().await;
        assert_eq!(world.live(), 2);
        if std::env::var_os(LEAK).is_none() {
            assert!(weak.revoke(capspan::Error::revoked("the lease is over")));
            until_idle().await;
            assert_eq!(world.live(), 0);
        }
        Ok(())
    })
}

async fn store(to: &thing::Client, thing: &thing::Client) -> Result<(), Error> {
    let mut request = to.store_request();
    request.get().set_thing(thing.clone());
    request.send().promise.await?;
    Ok(())
}
