//! What is alive in a membrane, and how it came there.

use std::time::Duration;

use capnp::traits::HasTypeId;
use capspan::membrane::{IntroducedBy, Membrane, Wrapped};
use capspan::trace::{Clock, Timestamp};
use capspan_testkit::membrane::events::soon;
use capspan_testkit::membrane::idle;
use capspan_testkit::membrane::scene::{Scene, everywhere, everywhere_with, label};
use capspan_testkit::probe_capnp::probe;

const MAKE: u16 = 3;
const STORE: u16 = 4;

fn inspected(test: impl AsyncFn(Scene)) {
    everywhere_with(|_| Membrane::builder().inspected(), test);
}

fn by(method_id: u16, in_results: bool) -> Option<IntroducedBy> {
    Some(IntroducedBy {
        interface_id: probe::Client::TYPE_ID,
        method_id,
        in_results,
    })
}

/// The wrappers that were introduced by a call.
fn introduced(scene: &Scene) -> Vec<Wrapped> {
    let mut wrapped = scene.membrane.wrapped();
    wrapped.retain(|wrapped| wrapped.introduced_by().is_some());
    wrapped
}

#[test]
fn a_wrapper_tells_the_call_that_introduced_it_and_those_made_on_it() {
    inspected(async |scene| {
        let first = &scene.membrane.wrapped()[0];
        assert!(first.is_inbound());
        assert_eq!((first.introduced_by(), first.calls()), (None, 0));

        scene.clock.advance(Duration::from_secs(7));
        let response = soon(scene.wrapper.make_request().send().promise)
            .await
            .unwrap();
        let made = response.get().unwrap().get_probe().unwrap();
        drop(response);
        label(&made).await.unwrap();
        label(&made).await.unwrap();
        idle().await;
        let [wrapped] = introduced(&scene)[..] else {
            panic!("{:?}", scene.membrane.wrapped());
        };
        assert!(wrapped.is_inbound());
        assert_eq!(wrapped.introduced_by(), by(MAKE, true));
        assert_eq!(wrapped.calls(), 2);
        assert_eq!(wrapped.since(), Some(scene.clock.now()));
        assert!(wrapped.since() > Some(Timestamp::default()));
        drop(made);
        idle().await;
        assert!(introduced(&scene).is_empty());
    });
}

#[test]
fn what_was_passed_in_is_outbound_and_was_in_parameters() {
    inspected(async |scene| {
        let mut store = scene.wrapper.store_request();
        store.get().set_cap(scene.outside.probe("outer"));
        soon(store.send().promise).await.unwrap();
        idle().await;
        let [wrapped] = introduced(&scene)[..] else {
            panic!("{:?}", scene.membrane.wrapped());
        };
        assert!(!wrapped.is_inbound());
        assert_eq!(wrapped.introduced_by(), by(STORE, false));
    });
}

#[test]
fn a_membrane_that_is_not_inspected_tells_nothing() {
    everywhere(async |scene| assert!(scene.membrane.wrapped().is_empty()));
}
