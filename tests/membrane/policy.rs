//! Policies: what becomes of calls, inbound and outbound.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use capnp::capability::{Client, FromClientHook, Promise, Results};
use capnp::traits::HasTypeId;
use capspan::Error;
use capspan::membrane::{AllowList, Call, Chain, Crossing, Membrane, Passage, Policy, Verdict};
use capspan_testkit::membrane::events::{soon, start};
use capspan_testkit::membrane::scene::{Scene, Worlds, label, ruled, typed};
use capspan_testkit::membrane::{idle, raw};
use capspan_testkit::probe_capnp::probe;

const LABEL: u16 = 2;
const STORE: u16 = 4;
const ECHO: u16 = 0;

/// Has a verdict for one method in one direction.
struct On {
    is_inbound: bool,
    method_id: u16,
    verdict: Verdict,
    waits: bool,
}

impl On {
    fn inbound(method_id: u16, verdict: Verdict) -> Self {
        Self {
            is_inbound: true,
            method_id,
            verdict,
            waits: false,
        }
    }

    fn outbound(method_id: u16, verdict: Verdict) -> Self {
        Self {
            is_inbound: false,
            ..Self::inbound(method_id, verdict)
        }
    }

    fn judge(&self, call: &Call<'_>) -> Verdict {
        let is_it = call.is_inbound() == self.is_inbound && call.method_id() == self.method_id;
        match is_it {
            true => self.verdict.clone(),
            false => Verdict::Forward,
        }
    }
}

impl Policy for On {
    fn inbound_call(&self, call: &Call<'_>) -> Verdict {
        assert!(call.is_inbound());
        self.judge(call)
    }

    fn outbound_call(&self, call: &Call<'_>) -> Verdict {
        assert!(!call.is_inbound());
        self.judge(call)
    }

    fn should_resolve_before_redirecting(&self) -> bool {
        self.waits
    }
}

fn untyped(probe: probe::Client) -> Client {
    Client::new(probe.into_client_hook())
}

fn refuse(reason: &str) -> Verdict {
    Verdict::Refuse(Error::failed(reason))
}

async fn echo(by: &probe::Client, to: &probe::Client) -> Result<Vec<u8>, capnp::Error> {
    let mut request = by.call_request();
    request.get().set_to(to.clone());
    request.get().set_data(b"hello");
    let response = soon(request.send().promise).await?;
    Ok(response.get()?.get_data()?.to_vec())
}

#[test]
fn an_inbound_call_is_redirected_and_others_are_not() {
    let guard = |worlds: &Worlds| {
        let guard = untyped(worlds.outside.probe("guard"));
        On::inbound(LABEL, Verdict::Redirect(guard))
    };
    ruled(guard, async |scene| {
        assert_eq!(label(&scene.wrapper).await.unwrap(), "guard");
        let outer = scene.outside.probe("outer");
        assert_eq!(echo(&scene.wrapper, &outer).await.unwrap(), b"hello");
        assert_eq!(scene.outside.calls() + scene.inside.calls(), 0);
    });
}

#[test]
fn nothing_crosses_in_a_call_that_is_redirected() {
    let guard = |worlds: &Worlds| {
        let guard = untyped(worlds.outside.probe("guard"));
        On::inbound(STORE, Verdict::Redirect(guard))
    };
    ruled(guard, async |scene| {
        scene.outside.watch();
        scene.inside.watch();
        let outer = scene.outside.probe("outer");
        let mut store = scene.wrapper.store_request();
        store.get().set_cap(outer.clone());
        soon(store.send().promise).await.unwrap();
        assert!(scene.inside.seen().is_empty());
        let seen = scene.outside.seen().remove(0);
        let wrapper = scene.membrane.export(scene.inside.probe("other"));
        let brand = wrapper.as_client_hook().get_brand();
        assert_ne!(seen.as_client_hook().get_brand(), brand);
    });
}

#[test]
fn an_outbound_call_is_redirected() {
    let guard = |worlds: &Worlds| {
        let guard = untyped(worlds.inside.probe("guard"));
        On::outbound(ECHO, Verdict::Redirect(guard))
    };
    ruled(guard, async |scene| {
        // It would refuse.
        let broken = capnp_rpc::new_broken_cap(capnp::Error::failed("not asked".into()));
        let outer: probe::Client = broken.hook.cast_to();
        assert_eq!(echo(&scene.wrapper, &outer).await.unwrap(), b"hello");
    });
}

#[test]
fn a_refused_call_says_why_in_both_directions() {
    ruled(
        |_| On::inbound(LABEL, refuse("no labels")),
        async |scene| {
            let error = label(&scene.wrapper).await.unwrap_err();
            assert!(error.extra.ends_with("no labels"), "{error}");
            assert_eq!(scene.inside.calls(), 0);
        },
    );
    ruled(
        |_| On::outbound(ECHO, refuse("no echoes")),
        async |scene| {
            let outer = scene.outside.probe("outer");
            let error = echo(&scene.wrapper, &outer).await.unwrap_err();
            assert!(error.extra.ends_with("no echoes"), "{error}");
        },
    );
}

/// A promise from inside that will resolve to `own`, which is outside.
async fn promised(scene: &Scene, own: &probe::Client) -> probe::Client {
    let mut request = scene.wrapper.promise_request();
    request.get().set_to(probe::Target::Given);
    request.get().set_cap(own.clone());
    let response = soon(request.send().promise).await.unwrap();
    response.get().unwrap().get_cap().unwrap()
}

#[test]
fn a_call_on_a_promise_is_redirected_at_once_unless_the_policy_wants_to_know_where_it_leads() {
    for waits in [false, true] {
        let guard = |worlds: &Worlds| On {
            waits,
            ..On::inbound(
                LABEL,
                Verdict::Redirect(untyped(worlds.outside.probe("guard"))),
            )
        };
        ruled(guard, async |scene| {
            let own = scene.outside.probe("own");
            let promise = promised(&scene, &own).await;
            let called = start(async move { label(&promise).await });
            idle().await;
            assert_eq!(called.is_finished(), !waits);
            scene.inside.gate().open();
            let answered = soon(called).await.unwrap();
            assert_eq!(answered, if waits { "own" } else { "guard" });
            // What is inside in the end is redirected either way.
            assert_eq!(label(&scene.wrapper).await.unwrap(), "guard");
        });
    }
}

#[test]
fn a_redirect_that_leads_back_to_itself_ends_with_an_error() {
    struct Circle(Rc<Cell<Option<Client>>>);

    impl Policy for Circle {
        fn inbound_call(&self, _: &Call<'_>) -> Verdict {
            let Some(wrapper) = self.0.take() else {
                return Verdict::Forward;
            };
            self.0.set(Some(wrapper.clone()));
            Verdict::Redirect(wrapper)
        }
    }

    capspan_testkit::membrane::run(async {
        let wrapper = Rc::new(Cell::new(None));
        let membrane = Membrane::builder().policy(Circle(wrapper.clone())).build();
        let worlds = Worlds::default();
        let exported = membrane.export(worlds.inside.probe("inner"));
        wrapper.set(Some(untyped(exported.clone())));
        let error = label(&exported).await.unwrap_err();
        assert!(error.extra.contains("redirected 64 times"), "{error}");
        wrapper.take();
        // The count is back where it was.
        assert_eq!(label(&exported).await.unwrap(), "inner");
    });
}

#[test]
fn a_policy_may_revoke_while_it_judges() {
    struct Revokes;

    impl Policy for Revokes {
        fn inbound_call(&self, call: &Call<'_>) -> Verdict {
            assert!(call.membrane().revoke(Error::revoked("enough")));
            Verdict::Forward
        }
    }

    ruled(
        |_| Revokes,
        async |scene| {
            let error = label(&scene.wrapper).await.unwrap_err();
            assert!(error.extra.contains("enough"), "{error}");
            assert_eq!(scene.inside.calls(), 0);
            idle().await;
            assert!(
                scene.inside.live() <= 1,
                "but for what the connection holds"
            );
        },
    );
}

#[test]
fn the_target_of_a_call_is_the_capability_itself() {
    struct Looks(Rc<Cell<usize>>);

    impl Policy for Looks {
        fn inbound_call(&self, call: &Call<'_>) -> Verdict {
            self.0.set(call.target().hook.get_ptr());
            Verdict::Forward
        }
    }

    capspan_testkit::membrane::run(async {
        let seen = Rc::new(Cell::new(0));
        let membrane = Membrane::builder().policy(Looks(seen.clone())).build();
        let worlds = Worlds::default();
        let wrapper = membrane.export(worlds.inside.probe("inner"));
        label(&wrapper).await.unwrap();
        assert_eq!(seen.get(), worlds.inside.address("inner"));
    });
}

#[test]
fn in_a_chain_the_first_refusal_wins_and_then_the_first_redirect() {
    let chain = |refuses: bool| {
        move |worlds: &Worlds| {
            let guard = |label| Verdict::Redirect(untyped(worlds.outside.probe(label)));
            let chain = Chain::new()
                .with(On::inbound(ECHO, refuse("another method")))
                .with(On::inbound(LABEL, guard("first")))
                .with(On::inbound(LABEL, guard("second")));
            match refuses {
                true => chain
                    .with(On::inbound(LABEL, refuse("the first refusal")))
                    .with(On::inbound(LABEL, refuse("the second"))),
                false => chain,
            }
        }
    };
    ruled(chain(false), async |scene| {
        assert_eq!(label(&scene.wrapper).await.unwrap(), "first");
    });
    ruled(chain(true), async |scene| {
        let error = label(&scene.wrapper).await.unwrap_err();
        assert!(error.extra.ends_with("the first refusal"), "{error}");
    });
}

#[test]
fn an_allow_list_refuses_what_is_not_on_it_in_both_directions() {
    const CALL: u16 = 16;
    ruled(
        |_| AllowList::new().method::<probe::Client>(CALL),
        async |scene| {
            let error = label(&scene.wrapper).await.unwrap_err();
            let wanted = "method 2 of interface 0x";
            assert!(error.extra.contains(wanted), "{error}");
            assert!(error.extra.contains("allow-list"), "{error}");
            let outer = scene.outside.probe("outer");
            let error = echo(&scene.wrapper, &outer).await.unwrap_err();
            assert!(error.extra.contains("method 0 of interface"), "{error}");
        },
    );
    ruled(
        |_| AllowList::new().interface::<probe::Client>(),
        async |scene| {
            let outer = scene.outside.probe("outer");
            assert_eq!(echo(&scene.wrapper, &outer).await.unwrap(), b"hello");
        },
    );
}

#[test]
fn as_many_redirects_as_are_allowed_lie_one_in_the_other_and_more_one_after_the_other() {
    /// Redirects to another wrapper until it was asked that often.
    struct Onwards {
        left: Rc<Cell<u32>>,
        to: Rc<RefCell<Option<Client>>>,
    }

    impl Policy for Onwards {
        fn inbound_call(&self, _: &Call<'_>) -> Verdict {
            let to = self.to.borrow().clone();
            match (self.left.get().checked_sub(1), to) {
                (Some(left), Some(to)) => {
                    self.left.set(left);
                    Verdict::Redirect(to)
                }
                _ => Verdict::Forward,
            }
        }
    }

    capspan_testkit::membrane::run(async {
        let left = Rc::new(Cell::new(0));
        let to = Rc::new(RefCell::new(None));
        let policy = Onwards {
            left: left.clone(),
            to: to.clone(),
        };
        let membrane = Membrane::builder().policy(policy).build();
        let inside = Worlds::default().inside;
        let wrapper = membrane.export(inside.probe("inner"));
        *to.borrow_mut() = Some(untyped(membrane.export(inside.probe("next"))));
        for _ in 0..3 {
            left.set(64);
            assert_eq!(label(&wrapper).await.unwrap(), "next");
        }
        left.set(65);
        let error = label(&wrapper).await.unwrap_err();
        assert!(error.extra.contains("redirected 64 times"), "{error}");
        *to.borrow_mut() = None;
    });
}

/// Has this to say of whatever goes out.
struct Out(Passage);

impl Policy for Out {
    fn export_internal(&self, _: &Crossing<'_>) -> Passage {
        self.0.clone()
    }
}

#[test]
fn in_a_chain_the_first_refusal_of_a_capability_wins_and_then_the_first_that_hands_over_another() {
    let worlds = Worlds::default();
    let other = |label: &str| Out(Passage::Instead(untyped(worlds.outside.probe(label))));
    let usual = || Out(Passage::Usual);
    let refused = || Out(Passage::Refuse(Error::failed("no exit")));
    let given = |chain: Chain| {
        let membrane = Membrane::builder().policy(chain).build();
        membrane.export(worlds.inside.probe("inner"))
    };
    let asked = |cap: probe::Client| {
        let answer = capspan_testkit::membrane::run(async { label(&cap).await });
        answer.unwrap_or_else(|error| error.extra)
    };
    let chain = || Chain::new().with(usual()).with(other("first"));
    assert_eq!(asked(given(Chain::new().with(usual()))), "inner");
    assert_eq!(asked(given(chain().with(other("second")))), "first");
    assert_eq!(asked(given(chain().with(refused()))), "no exit");
    assert_eq!(asked(given(chain().with(usual()))), "first");
}

#[test]
fn a_chain_waits_for_promises_if_one_of_it_does() {
    let waits = |waits| On {
        waits,
        ..On::inbound(LABEL, Verdict::Forward)
    };
    let chain = |first, second| Chain::new().with(waits(first)).with(waits(second));
    assert!(!AllowList::new().should_resolve_before_redirecting());
    for (first, second) in [(false, false), (false, true), (true, false)] {
        let waits = chain(first, second).should_resolve_before_redirecting();
        assert_eq!(waits, first || second);
    }
}

#[test]
fn nothing_is_asked_about_the_results_of_a_call_that_was_canceled() {
    struct Asked(Rc<Cell<u32>>);

    impl Policy for Asked {
        fn export_internal(&self, _: &Crossing<'_>) -> Passage {
            self.0.set(self.0.get() + 1);
            Passage::Usual
        }
    }

    for is_received in [false, true] {
        capspan_testkit::membrane::run(async {
            let asked = Rc::new(Cell::new(0));
            let membrane = Membrane::builder().policy(Asked(asked.clone())).build();
            let inside = Worlds::default().inside;
            let world = inside.clone();
            let object = raw::object(move |_method, _params, results| {
                let mut results = Results::<probe::swap_results::Owned>::new(results);
                results.get().set_cap(world.probe("nobody gets it"));
                Promise::from_future(async move {
                    let _results = results;
                    std::future::pending().await
                })
            });
            let mut wrapper: probe::Client = membrane.export(typed(object));
            assert_eq!(asked.take(), 1);
            if is_received {
                wrapper = capnp_rpc::new_future_client(async { Ok(wrapper) });
            }
            let call = start(wrapper.swap_request().send().promise);
            idle().await;
            assert_eq!(inside.live(), 1);
            drop(call);
            idle().await;
            assert_eq!((inside.live(), asked.get()), (0, 0));
        });
    }
}

/// Prints what it is asked about.
#[derive(Default)]
struct Prints(Rc<RefCell<Vec<String>>>);

impl Policy for Prints {
    fn inbound_call(&self, call: &Call<'_>) -> Verdict {
        self.0.borrow_mut().push(format!("{call:?}"));
        Verdict::Forward
    }

    fn import_external(&self, crossing: &Crossing<'_>) -> Passage {
        self.0.borrow_mut().push(format!("{crossing:?}"));
        Passage::Usual
    }
}

#[test]
fn what_is_printed_of_a_policy_says_what_it_is_about() {
    let printed = Rc::default();
    ruled(
        |_| Prints(Rc::clone(&printed)),
        async |scene| {
            printed.take();
            let mut store = scene.wrapper.store_request();
            store.get().set_cap(scene.outside.probe("cap"));
            soon(store.send().promise).await.unwrap();
            let printed = printed.take();
            assert_eq!(printed.len(), 2, "{printed:?}");
            let id = format!("interface_id: {:#x}", probe::Client::TYPE_ID);
            let call = format!("Call {{ {id}, method_id: 4, is_inbound: true, .. }}");
            assert!(printed.contains(&call), "{printed:?}");
            assert!(printed.contains(&"Crossing { .. }".to_owned()));
        },
    );
    let broken = || capnp_rpc::new_broken_cap(capnp::Error::failed("x".into()));
    let refused = || Error::failed("no entry");
    let chain = Chain::new().with(AllowList::new());
    for (printed, expected) in [
        (format!("{:?}", Verdict::Forward), "Forward"),
        (format!("{:?}", Verdict::Redirect(broken())), "Redirect(..)"),
        (format!("{:?}", Verdict::Refuse(refused())), "Refuse(Error"),
        (format!("{:?}", Passage::Usual), "Usual"),
        (format!("{:?}", Passage::Instead(broken())), "Instead(..)"),
        (format!("{:?}", Passage::Refuse(refused())), "Refuse(Error"),
        (format!("{chain:?}"), "Chain { policies: 1, .. }"),
        (format!("{:?}", Membrane::builder()), "Builder { .. }"),
        (format!("{:?}", Membrane::new()), "Membrane { .. }"),
        (
            format!("{:?}", Membrane::new().downgrade()),
            "WeakMembrane { .. }",
        ),
    ] {
        assert!(printed.starts_with(expected), "{printed}");
    }
    assert!(format!("{:?}", Verdict::Refuse(refused())).contains("no entry"));
    assert!(format!("{:?}", Passage::Refuse(refused())).contains("no entry"));
}
