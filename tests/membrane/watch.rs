//! Policies that are told of the end of calls: what a tap sees, and what a meter counts.

use std::cell::RefCell;
use std::rc::Rc;

use capspan::membrane::{Call, CallWatch, Chain, Limits, Membrane, Policy};
use capspan_testkit::membrane::events::{soon, start};
use capspan_testkit::membrane::scene::{Scene, label, ruled};
use capspan_testkit::membrane::{World, idle, run};
use capspan_testkit::probe_capnp::probe;

/// Notes how calls end.
#[derive(Default)]
struct Tap {
    log: Rc<RefCell<Vec<String>>>,
}

struct Tapped {
    log: Rc<RefCell<Vec<String>>>,
    method: String,
}

impl Policy for Tap {
    fn call_begins(&self, call: &Call<'_>) -> Option<Rc<dyn CallWatch>> {
        let way = if call.is_inbound() { "in" } else { "out" };
        let method = format!("{way} {}", call.method_id());
        self.log.borrow_mut().push(format!("{method} begins"));
        Some(Rc::new(Tapped {
            log: self.log.clone(),
            method,
        }))
    }
}

impl CallWatch for Tapped {
    fn ended(&self, result: Result<(), &capnp::Error>) {
        let how = match result {
            Ok(()) => "returned".to_owned(),
            // Over a connection the text has a prefix.
            Err(error) => format!("failed: {}", error.extra.rsplit(": ").next().unwrap()),
        };
        self.log.borrow_mut().push(format!("{} {how}", self.method));
    }

    fn canceled(&self) {
        let canceled = format!("{} canceled", self.method);
        self.log.borrow_mut().push(canceled);
    }
}

fn tapped(test: impl AsyncFn(Scene, &dyn Fn() -> Vec<String>)) {
    let log = Rc::new(RefCell::new(Vec::new()));
    ruled(
        |_| {
            log.take();
            Tap { log: log.clone() }
        },
        async |scene| {
            log.take();
            test(scene, &|| log.take()).await;
        },
    );
}

#[test]
fn a_call_is_told_when_it_begins_and_when_it_returns() {
    tapped(async |scene, log| {
        label(&scene.wrapper).await.unwrap();
        assert_eq!(log(), ["in 2 begins", "in 2 returned"]);
    });
}

#[test]
fn a_call_out_within_a_call_in_is_told_in_between() {
    tapped(async |scene, log| {
        let mut request = scene.wrapper.call_request();
        request.get().set_to(scene.outside.probe("outer"));
        request.get().set_data(b"x");
        soon(request.send().promise).await.unwrap();
        assert_eq!(
            log(),
            [
                "in 16 begins",
                "out 0 begins",
                "out 0 returned",
                "in 16 returned"
            ]
        );
    });
}

#[test]
fn each_of_a_chain_is_told() {
    let logs = [(); 2].map(|()| Rc::new(RefCell::new(Vec::new())));
    ruled(
        |_| {
            let [one, other] = logs.each_ref().map(|log| Tap { log: log.clone() });
            Chain::new().with(one).with(AllowAll).with(other)
        },
        async |scene| {
            logs.iter().for_each(|log| drop(log.take()));
            label(&scene.wrapper).await.unwrap();
            for log in &logs {
                assert_eq!(log.take(), ["in 2 begins", "in 2 returned"]);
            }
        },
    );
}

/// Has nothing to say.
struct AllowAll;

impl Policy for AllowAll {}

#[test]
fn a_call_that_fails_is_told_why() {
    tapped(async |scene, log| {
        let mut request = scene.wrapper.fail_request();
        request.get().set_reason("no such thing");
        assert!(soon(request.send().promise).await.is_err());
        assert_eq!(log(), ["in 10 begins", "in 10 failed: no such thing"]);
    });
}

#[test]
fn a_call_that_is_canceled_is_let_go_without_a_word() {
    tapped(async |scene, log| {
        let sent = scene.wrapper.hang_request().send();
        let call = start(sent.promise);
        idle().await;
        assert_eq!(log(), ["in 8 begins"]);
        drop((call, sent.pipeline));
        idle().await;
        assert_eq!(log(), ["in 8 canceled"]);
    });
}

#[test]
fn a_call_that_is_canceled_is_let_go_though_its_service_keeps_the_results() {
    use capspan::Error;
    use capspan::membrane::Membrane;
    use capspan_testkit::membrane::scene::typed;
    use capspan_testkit::membrane::{connect, raw, run};

    run(async {
        let kept = Rc::new(RefCell::new(Vec::new()));
        let keep = kept.clone();
        let inner = typed(raw::object(move |_, _, results| {
            keep.borrow_mut().push(results);
            capnp::capability::Promise::from_future(std::future::pending())
        }));
        let tap = Tap::default();
        let log = tap.log.clone();
        let membrane = Membrane::builder().policy(tap).build();
        let connected = connect::<probe::Client>(membrane.export(inner));
        let sent = connected.bootstrap.hang_request().send();
        let call = start(sent.promise);
        idle().await;
        assert_eq!(kept.borrow().len(), 1);
        drop((call, sent.pipeline));
        idle().await;
        assert_eq!(log.take(), ["in 8 begins", "in 8 canceled"]);
        membrane.revoke(Error::revoked("too late"));
        kept.take();
        assert!(log.take().is_empty());
    });
}

#[test]
fn a_call_that_is_revoked_is_told_of_the_reason() {
    tapped(async |scene, log| {
        let call = start(scene.wrapper.hang_request().send().promise);
        idle().await;
        scene.revoke();
        assert!(soon(call).await.is_err());
        assert_eq!(log(), ["in 8 begins", "in 8 failed: the lease is over"]);
    });
}

#[test]
fn a_call_of_a_stream_is_told_like_any_other() {
    tapped(async |scene, log| {
        let mut push = scene.wrapper.push_request();
        push.get().set_data(b"x");
        soon(push.send()).await.unwrap();
        idle().await;
        assert_eq!(log(), ["in 12 begins", "in 12 returned"]);
    });
}

#[test]
fn a_request_that_is_never_sent_does_not_begin() {
    tapped(async |scene, log| {
        drop(scene.wrapper.label_request());
        assert!(log().is_empty());
    });
}

#[cfg(feature = "meter")]
mod meter {
    use super::*;
    use capnp::traits::HasTypeId;
    use capspan::membrane::Meter;
    use capspan::trace::ManualClock;
    use std::time::Duration;

    #[test]
    fn calls_are_counted_by_method_and_outcome() {
        let clock = ManualClock::default();
        let current = RefCell::new(None);
        ruled(
            |_| {
                let meter = Meter::new(Rc::new(clock.clone()));
                current.replace(Some(meter.clone()));
                meter
            },
            async |scene| {
                let meter = current.borrow().clone().unwrap();
                for _ in 0..3 {
                    label(&scene.wrapper).await.unwrap();
                }
                let failed = scene.wrapper.fail_request().send().promise;
                assert!(soon(failed).await.is_err());
                let waiting = start(scene.wrapper.wait_request().send().promise);
                let hanging = start(scene.wrapper.hang_request().send().promise);
                idle().await;
                clock.advance(Duration::from_millis(250));
                drop(hanging);
                idle().await;

                let counted = |method_id| {
                    let methods = meter.methods();
                    let found = methods.into_iter().find(|(m, _)| m.method_id == method_id);
                    let (method, calls) = found.unwrap();
                    assert_eq!(method.interface_id, probe::Client::TYPE_ID);
                    assert!(method.is_inbound);
                    calls
                };
                let of = |method_id| {
                    let calls = counted(method_id);
                    let ended = [calls.returned(), calls.failed(), calls.canceled()];
                    (calls.begun(), ended, calls.in_flight())
                };
                assert_eq!(of(2), (3, [3, 0, 0], 0));
                assert_eq!(of(10), (1, [0, 1, 0], 0));
                assert_eq!(of(8), (1, [0, 0, 1], 0));
                assert_eq!(of(9), (1, [0, 0, 0], 1));
                let latencies = |method_id| counted(method_id).latencies().map(|all| all.len());
                assert_eq!([2, 10, 8, 9].map(latencies), [Some(3), Some(1), None, None]);
                assert_eq!(counted(8).latency(0.5), Duration::ZERO);
                let printed = format!("{meter:?}, {:?}", counted(2));
                assert_eq!(
                    printed,
                    "Meter { .. }, Calls { begun: 3, returned: 3, failed: 0, canceled: 0, \
                     max_latency: 1µs }"
                );
                scene.inside.gate().open();
                soon(waiting).await.unwrap();
                let took = counted(9).max_latency();
                let wanted = Duration::from_millis(250);
                assert!(took.abs_diff(wanted) < wanted / 50, "{took:?}");
                assert_eq!(counted(9).in_flight(), 0);
                meter.clear();
                assert!(meter.methods().is_empty());
            },
        );
    }

    #[test]
    fn methods_that_do_not_exist_take_no_room() {
        use capnp::capability::FromClientHook;
        capspan_testkit::membrane::run(async {
            let meter = Meter::new(Rc::new(ManualClock::default()));
            let membrane = capspan::membrane::Membrane::builder()
                .policy(meter.clone())
                .build();
            let inside = capspan_testkit::membrane::World::new();
            let wrapper = membrane.export(inside.probe("x"));
            for method_id in 0..1000 {
                let call = wrapper.as_client_hook().new_call(7, method_id, None).send();
                assert!(soon(call.promise).await.is_err());
            }
            let methods = meter.methods();
            assert_eq!(methods.len(), 257);
            let (together, calls) = &methods[0];
            assert_eq!((together.interface_id, calls.failed()), (0, 744));
        });
    }
}

#[test]
fn a_call_whose_results_are_refused_is_told_to_fail() {
    run(async {
        let log = Rc::new(RefCell::new(Vec::new()));
        let membrane = Membrane::builder()
            .policy(Tap { log: log.clone() })
            .limits(Limits::default().capabilities_in_a_message(1))
            .build();
        let wrapper = membrane.export(World::new().probe("inner"));
        let mut request = wrapper.many_request();
        request.get().set_count(2);
        assert!(soon(request.send().promise).await.is_err());
        let log = log.take();
        assert_eq!(log[0], "in 7 begins");
        assert!(log[1].starts_with("in 7 failed"), "{log:?}");
    });
}
