//! What is alive in a membrane, and how it came there.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use capnp::traits::HasTypeId;
use capspan::membrane::{IntroducedBy, Membrane, WeakMembrane, Wrapped};
use capspan::trace::{Clock, Timestamp};
use capspan_testkit::membrane::events::soon;
use capspan_testkit::membrane::scene::{Scene, everywhere, everywhere_with, label};
use capspan_testkit::membrane::{World, idle, run};
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
        let by_hand = scene.membrane.export(scene.inside.probe("by hand"));
        assert_eq!(introduced(&scene).len(), 1, "the call is over");
        drop((made, by_hand));
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

#[test]
fn the_clock_may_look_at_the_membrane() {
    /// Looks at what is alive whenever it is asked for the time.
    #[derive(Default)]
    struct Looks(RefCell<Option<WeakMembrane>>);

    impl Clock for Looks {
        fn now(&self) -> Timestamp {
            let membrane = self.0.borrow().as_ref().and_then(WeakMembrane::upgrade);
            let alive = membrane.map_or(0, |membrane| membrane.wrapped().len());
            assert!(alive < 2);
            Timestamp::default()
        }
    }

    run(async {
        let clock = Rc::new(Looks::default());
        let membrane = Membrane::builder()
            .clock(clock.clone() as Rc<dyn Clock>)
            .inspected()
            .build();
        clock.0.replace(Some(membrane.downgrade()));
        let inside = World::new();
        let wrappers = ["one", "other"].map(|label| membrane.export(inside.probe(label)));
        clock.0.take();
        assert_eq!(membrane.wrapped().len(), 2);
        drop(wrappers);
    });
}
