//! Policies: what becomes of capabilities that cross; parts of one membrane.

use std::cell::RefCell;
use std::rc::Rc;

use capnp::capability::{Client, FromClientHook};
use capspan::Error;
use capspan::membrane::{Call, CallWatch, Crossing, Membrane, Passage, Policy};
use capspan_testkit::membrane::events::soon;
use capspan_testkit::membrane::scene::{Scene, Worlds, label, ruled, same};
use capspan_testkit::membrane::{World, idle, run};
use capspan_testkit::probe_capnp::probe;

/// Notes what crosses, and has an answer for one way of crossing.
#[derive(Default)]
struct Customs {
    log: RefCell<Vec<&'static str>>,
    answer: RefCell<Option<(&'static str, Passage)>>,
}

impl Customs {
    fn pass(&self, way: &'static str) -> Passage {
        self.log.borrow_mut().push(way);
        match &*self.answer.borrow() {
            Some((on, passage)) if *on == way => passage.clone(),
            _ => Passage::Usual,
        }
    }

    fn log(&self) -> Vec<&'static str> {
        self.log.take()
    }

    fn on(&self, way: &'static str, passage: Passage) {
        self.answer.replace(Some((way, passage)));
    }
}

impl Policy for Customs {
    fn export_internal(&self, _: &Crossing<'_>) -> Passage {
        self.pass("export_internal")
    }

    fn import_external(&self, _: &Crossing<'_>) -> Passage {
        self.pass("import_external")
    }

    fn import_internal(&self, _: &Crossing<'_>) -> Passage {
        self.pass("import_internal")
    }

    fn export_external(&self, _: &Crossing<'_>) -> Passage {
        self.pass("export_external")
    }
}

fn with_customs(test: impl AsyncFn(&Scene, &Customs)) {
    let customs = RefCell::new(Rc::new(Customs::default()));
    ruled(
        |_| {
            let fresh = Rc::new(Customs::default());
            customs.replace(fresh.clone());
            fresh
        },
        async |scene| {
            let customs = customs.borrow().clone();
            customs.log();
            test(&scene, &customs).await;
        },
    );
}

async fn store(to: &probe::Client, cap: &probe::Client) -> Result<(), capnp::Error> {
    let mut request = to.store_request();
    request.get().set_cap(cap.clone());
    soon(request.send().promise).await.map(drop)
}

async fn stored(from: &probe::Client) -> probe::Client {
    let response = soon(from.stored_request().send().promise).await.unwrap();
    response.get().unwrap().get_cap().unwrap()
}

async fn make(by: &probe::Client, label: &str) -> probe::Client {
    let mut request = by.make_request();
    request.get().set_label(label);
    let response = soon(request.send().promise).await.unwrap();
    response.get().unwrap().get_probe().unwrap()
}

fn untyped(probe: probe::Client) -> Client {
    Client::new(probe.into_client_hook())
}

#[test]
fn each_way_of_crossing_is_asked_for_by_its_name() {
    with_customs(async |scene, customs| {
        let made = make(&scene.wrapper, "made").await;
        assert_eq!(customs.log(), ["export_internal"]);
        store(&scene.wrapper, &made).await.unwrap();
        assert_eq!(customs.log(), ["import_internal"]);
        let outer = scene.outside.probe("outer");
        store(&scene.wrapper, &outer).await.unwrap();
        assert_eq!(customs.log(), ["import_external"]);
        drop(stored(&scene.wrapper).await);
        assert_eq!(customs.log(), ["export_external"]);
    });
}

#[test]
fn a_capability_whose_wrapper_is_alive_is_not_asked_for_again() {
    with_customs(async |scene, customs| {
        let outer = scene.outside.probe("outer");
        store(&scene.wrapper, &outer).await.unwrap();
        store(&scene.wrapper, &outer).await.unwrap();
        assert_eq!(customs.log(), ["import_external"]);
    });
}

#[test]
fn what_may_not_cross_is_a_capability_that_says_why() {
    with_customs(async |scene, customs| {
        let refused = |way| Passage::Refuse(Error::failed(way));
        customs.on("export_internal", refused("stays inside"));
        let made = make(&scene.wrapper, "made").await;
        let error = label(&made).await.unwrap_err();
        assert!(error.extra.ends_with("stays inside"), "{error}");

        customs.on("import_external", refused("stays outside"));
        scene.inside.watch();
        let outer = scene.outside.probe("outer");
        store(&scene.wrapper, &outer).await.unwrap();
        let error = label(&scene.inside.seen()[0]).await.unwrap_err();
        assert!(error.extra.ends_with("stays outside"), "{error}");
    });
}

#[test]
fn what_comes_back_may_be_refused() {
    with_customs(async |scene, customs| {
        let refused = |way| Passage::Refuse(Error::failed(way));
        let made = make(&scene.wrapper, "made").await;
        customs.on("import_internal", refused("not back in"));
        scene.inside.watch();
        store(&scene.wrapper, &made).await.unwrap();
        let error = label(&scene.inside.seen()[0]).await.unwrap_err();
        assert!(error.extra.ends_with("not back in"), "{error}");

        let outer = scene.outside.probe("outer");
        store(&scene.wrapper, &outer).await.unwrap();
        customs.on("export_external", refused("not back out"));
        let error = label(&stored(&scene.wrapper).await).await.unwrap_err();
        assert!(error.extra.ends_with("not back out"), "{error}");
    });
}

#[test]
fn another_may_cross_in_its_place() {
    with_customs(async |scene, customs| {
        let stand_in = untyped(scene.outside.probe("stand-in"));
        customs.on("export_internal", Passage::Instead(stand_in));
        let made = make(&scene.wrapper, "made").await;
        assert_eq!(label(&made).await.unwrap(), "stand-in");
    });
}

#[test]
fn a_policy_may_revoke_while_it_judges_a_crossing() {
    struct Revokes;

    impl Policy for Revokes {
        fn export_internal(&self, crossing: &Crossing<'_>) -> Passage {
            assert!(crossing.membrane().revoke(Error::revoked("enough")));
            Passage::Usual
        }
    }

    run(async {
        let membrane = Membrane::builder().policy(Revokes).build();
        let inside = World::new();
        let error = label(&membrane.export(inside.probe("x")))
            .await
            .unwrap_err();
        assert!(error.extra.contains("enough"), "{error}");
        idle().await;
        assert_eq!(inside.live(), 0);
    });
}

/// Exports through another part what is exported through this one.
struct Through(RefCell<Option<Membrane>>);

impl Policy for Through {
    fn export_internal(&self, crossing: &Crossing<'_>) -> Passage {
        match &*self.0.borrow() {
            Some(part) => Passage::Instead(part.export(crossing.capability())),
            None => Passage::Usual,
        }
    }
}

#[test]
fn parts_have_policies_of_their_own_and_are_one_membrane() {
    run(async {
        let worlds = Worlds::default();
        let through = Rc::new(Through(RefCell::default()));
        let whole = Membrane::builder().policy(through.clone()).build();
        let customs = Rc::new(Customs::default());
        through.0.replace(Some(whole.part(customs.clone())));

        let wrapper = whole.export(worlds.inside.probe("inner"));
        assert_eq!(customs.log(), ["export_internal"], "by the other part");
        let made = make(&wrapper, "made").await;
        assert_eq!(customs.log(), ["export_internal"], "and what comes of it");
        // Out through one part, in through the whole: the original.
        assert!(same(
            &whole.import(made.clone()),
            &worlds_made(&worlds, &made).await
        ));
        through.0.take();
        let completion = whole.completion();
        assert!(whole.downgrade().revoke(Error::revoked("all of it")));
        for cap in [&wrapper, &made] {
            let error = label(cap).await.unwrap_err();
            assert!(error.extra.contains("all of it"), "{error}");
        }
        drop(whole);
        assert!(!completion.is_complete(), "a part of it is alive");
        drop((wrapper, made));
        assert!(completion.is_complete());
        assert_eq!(worlds.inside.live(), 0);
    });
}

/// What `made` is inside: it was made by `worlds.inside`, which sees it come back.
async fn worlds_made(worlds: &Worlds, made: &probe::Client) -> probe::Client {
    worlds.inside.watch();
    store(made, made).await.unwrap();
    // Lest it holds itself.
    soon(made.store_request().send().promise).await.unwrap();
    worlds.inside.seen().remove(0)
}

#[test]
fn revoking_a_part_leaves_the_rest() {
    run(async {
        let inside = World::new();
        let whole = Membrane::new();
        let part = whole.part(Rc::new(Customs::default()));
        let (one, other) = (
            whole.export(inside.probe("one")),
            part.export(inside.probe("other")),
        );
        assert!(part.downgrade().revoke(Error::revoked("this part")));
        assert!(label(&other).await.is_err());
        assert_eq!(label(&one).await.unwrap(), "one");
        assert!(whole.downgrade().revoke(Error::revoked("the rest")));
        let late = whole.part(Rc::new(Customs::default()));
        let error = label(&late.export(inside.probe("late"))).await.unwrap_err();
        assert!(error.extra.contains("the rest"), "{error}");
    });
}

/// Revokes when something comes in, or when a call begins.
struct RevokesInTheMiddle {
    on_import: bool,
    ends: Rc<RefCell<Vec<String>>>,
}

impl RevokesInTheMiddle {
    fn end(membrane: &Membrane) {
        membrane.revoke(Error::revoked("in the middle"));
    }
}

impl Policy for RevokesInTheMiddle {
    fn import_external(&self, crossing: &Crossing<'_>) -> Passage {
        if self.on_import {
            Self::end(&crossing.membrane());
        }
        Passage::Usual
    }

    fn call_begins(&self, call: &Call<'_>) -> Option<Rc<dyn CallWatch>> {
        if !self.on_import {
            Self::end(&call.membrane());
        }
        Some(Rc::new(Noted(self.ends.clone())))
    }
}

/// Notes what it is told.
struct Noted(Rc<RefCell<Vec<String>>>);

impl CallWatch for Noted {
    fn ended(&self, result: Result<(), &capnp::Error>) {
        let how = result.map_or_else(|error| error.extra.clone(), |()| "returned".into());
        self.0.borrow_mut().push(how);
    }
}

#[test]
fn a_call_is_not_sent_where_a_policy_revoked_while_it_was_made_ready() {
    run(async {
        for on_import in [true, false] {
            for streams in [false, true] {
                let worlds = Worlds::default();
                let ends = Rc::new(RefCell::default());
                let policy = RevokesInTheMiddle {
                    on_import,
                    ends: Rc::clone(&ends),
                };
                let membrane = Membrane::builder().policy(policy).build();
                let wrapper = membrane.export(worlds.inside.probe("inner"));
                let outer = worlds.outside.probe("outer");
                let error = if streams {
                    let mut push = wrapper.push_request();
                    push.get().set_cap(outer);
                    soon(push.send()).await.unwrap_err()
                } else {
                    let mut hang = wrapper.hang_request();
                    hang.get().set_cap(outer);
                    let sent = hang.send();
                    let pipelined = sent.pipeline.get_cap();
                    let error = label(&pipelined).await.unwrap_err();
                    assert!(error.extra.contains("in the middle"), "{error}");
                    soon(sent.promise).await.map(drop).unwrap_err()
                };
                assert!(error.extra.contains("in the middle"), "{error}");
                idle().await;
                assert_eq!(worlds.inside.calls(), 0, "{on_import} {streams}");
                assert_eq!(worlds.inside.live(), 0);
                let told: Vec<String> = ends.take();
                assert!(
                    told.len() == 1 && told[0].contains("in the middle"),
                    "{told:?}"
                );
            }
        }
    });
}

#[test]
fn a_call_that_is_revoked_while_it_is_sent_ends() {
    /// Revokes another membrane when a call begins.
    struct RevokesAnother(Membrane);

    impl Policy for RevokesAnother {
        fn call_begins(&self, _: &Call<'_>) -> Option<Rc<dyn CallWatch>> {
            self.0.revoke(Error::revoked("from further in"));
            None
        }
    }

    run(async {
        let inside = World::new();
        let outer = Membrane::new();
        let inner = Membrane::builder()
            .policy(RevokesAnother(outer.clone()))
            .build();
        let wrapper = outer.export(inner.export(inside.probe("x")));
        let error = soon(wrapper.hang_request().send().promise).await.map(drop);
        let error = error.unwrap_err();
        assert!(error.extra.contains("from further in"), "{error}");
        idle().await;
        assert_eq!(inside.live(), 0);
    });
}
