//! M6 *Completion*: a membrane is complete when the last reference through it is gone, once, and what
//! the references were to is gone then, too.
//!
//! Each test holds one thing and nothing else, then lets it go.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use capspan::membrane::{Completion, Membrane};
use capspan::trace::{Clock, ManualClock};
use capspan_testkit::membrane::events::{soon, start};
use capspan_testkit::membrane::scene::{Place, Scene, at, everywhere, label};
use capspan_testkit::membrane::{World, idle, run};
use capspan_testkit::probe_capnp::probe;
use futures::FutureExt;

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

/// Sees how much is alive inside at the very moment of the completion.
struct Witness {
    seen: AtomicUsize,
}

impl Witness {
    const NOTHING: usize = usize::MAX;

    /// It sees as long as what is given with it waits.
    fn of(completion: &Completion, inside: &World) -> (Arc<Self>, Completion) {
        WORLD.set(inside.clone());
        let witness = Arc::new(Self {
            seen: AtomicUsize::new(Self::NOTHING),
        });
        let waker = Waker::from(witness.clone());
        let mut completion = completion.clone();
        let polled = completion.poll_unpin(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        (witness, completion)
    }
}

impl Wake for Witness {
    fn wake(self: Arc<Self>) {
        let alive = WORLD.with_borrow(World::live);
        let before = self.seen.swap(alive, Ordering::Relaxed);
        assert_eq!(before, Self::NOTHING, "complete twice");
    }
}

/// What `hold` gives keeps the membrane from being complete, and nothing else does.
fn alone_keeps_it_open<T>(hold: impl AsyncFn(&Scene) -> T) {
    everywhere(async |scene| {
        let held = hold(&scene).await;
        let (place, inside, clock) = (scene.place, scene.inside.clone(), scene.clock.clone());
        let completion = scene.completion();
        let weak = scene.weak();
        let left = scene.leave();
        for _ in 0..3 {
            clock.advance(Duration::from_secs(1));
            idle().await;
            assert!(
                !completion.is_complete(),
                "complete, though one thing is held"
            );
            assert!(!weak.is_unreferenced());
        }
        let (alive, _waits) = Witness::of(&completion, &inside);
        idle().await;
        let last = clock.now();
        drop(held);
        if place == Place::InProcess {
            // The moment is that of the drop, not that of the turn in which it is noticed.
            clock.advance(Duration::from_secs(1));
        }
        idle().await;
        clock.advance(Duration::from_secs(1));
        assert!(completion.is_complete(), "let go, and not complete");
        assert_eq!(soon(completion).await.at(), Some(last));
        assert_eq!(inside.live(), 0, "something inside is still alive");
        let alive = alive.seen.load(Ordering::Relaxed);
        match place {
            // Beyond a connection, the inside hears of it later.
            Place::ClientEnd => assert_ne!(alive, Witness::NOTHING),
            _ => assert_eq!(alive, 0, "it was complete before the inside was gone"),
        }
        assert!(weak.is_unreferenced());
        assert!(!weak.revoke(capspan::Error::revoked("too late")));
        drop(left);
    });
}

#[test]
fn m6_a_wrapper() {
    alone_keeps_it_open(async |scene| scene.wrapper.clone());
}

#[test]
fn m6_an_unsent_request() {
    alone_keeps_it_open(async |scene| scene.wrapper.label_request());
}

#[test]
fn m6_a_call_in_flight() {
    alone_keeps_it_open(async |scene| {
        let mut call = scene.wrapper.hang_request().send().promise;
        assert!((&mut call).now_or_never().is_none());
        idle().await;
        assert_eq!(scene.inside.calls(), 1);
        (call,)
    });
}

#[test]
fn m6_a_promise_that_nobody_waits_for() {
    alone_keeps_it_open(async |scene| scene.wrapper.wait_request().send().promise);
}

#[test]
fn m6_a_promise_that_was_answered_and_nobody_looked() {
    alone_keeps_it_open(async |scene| {
        // With a capability in the answer: one without leaves nothing behind at the callee's end.
        let sent = scene.wrapper.swap_request().send();
        idle().await;
        (sent.promise,)
    });
}

#[test]
fn m6_a_pipelined_capability_of_a_call_that_has_not_returned() {
    alone_keeps_it_open(async |scene| {
        let sent = scene.wrapper.wait_request().send();
        let pipelined = sent.pipeline.get_cap();
        drop(sent.pipeline);
        drop(sent.promise);
        pipelined
    });
}

#[test]
fn m6_an_early_result() {
    alone_keeps_it_open(async |scene| {
        let sent = scene.wrapper.early_request().send();
        let early = sent.pipeline.get_cap();
        assert_eq!(label(&early).await.unwrap(), "inner's child");
        drop(sent);
        early
    });
}

#[test]
fn m6_a_response_with_a_capability_in_it() {
    alone_keeps_it_open(async |scene| {
        soon(scene.wrapper.swap_request().send().promise)
            .await
            .unwrap()
    });
}

#[test]
fn m6_in_process_a_response_without_pointers_to_more_keeps_nothing_open() {
    at(&[Place::InProcess], async |scene| {
        let held = soon(scene.wrapper.label_request().send().promise).await;
        let completion = scene.completion();
        let left = scene.leave();
        idle().await;
        assert!(completion.is_complete());
        let held = held.unwrap();
        let label = held.get().unwrap().get_label().unwrap();
        assert_eq!(label.to_str(), Ok("inner"));
        drop((held, left));
    });
}

#[test]
fn m6_a_capability_of_a_response_that_is_gone() {
    alone_keeps_it_open(async |scene| {
        let response = soon(scene.wrapper.swap_request().send().promise)
            .await
            .unwrap();
        response.get().unwrap().get_cap().unwrap()
    });
}

#[test]
fn m6_a_cursor() {
    alone_keeps_it_open(async |scene| {
        let mut request = scene.wrapper.open_request();
        request.get().set_text("one two");
        let response = soon(request.send().promise).await.unwrap();
        let cursor = response.get().unwrap().get_cursor().unwrap();
        let next = soon(cursor.next_request().send().promise).await.unwrap();
        assert_eq!(next.get().unwrap().get_word().unwrap(), "one");
        cursor
    });
}

#[test]
fn m6_a_promise_that_has_not_resolved() {
    alone_keeps_it_open(async |scene| {
        let response = soon(scene.wrapper.promise_request().send().promise)
            .await
            .unwrap();
        response.get().unwrap().get_cap().unwrap()
    });
}

#[test]
fn m6_a_wrapper_inside_a_message_of_the_outsides_own() {
    alone_keeps_it_open(async |scene| {
        let keeper = World::new().probe("keeper");
        let mut store = keeper.store_request();
        store.get().set_cap(scene.wrapper.clone());
        store
    });
}

#[test]
fn m6_a_wrapper_inside_an_object_of_the_outside() {
    alone_keeps_it_open(async |scene| {
        let keeper = World::new().probe("keeper");
        let mut store = keeper.store_request();
        store.get().set_cap(scene.wrapper.clone());
        soon(store.send().promise).await.unwrap();
        keeper
    });
}

/// The other direction: what the inside has of the outside.
fn alone_keeps_it_open_from_inside(hold: impl AsyncFn(&Scene), let_go: impl AsyncFn(&World)) {
    everywhere(async |scene| {
        hold(&scene).await;
        let completion = scene.completion();
        let inside = scene.inside.clone();
        let left = scene.leave();
        for _ in 0..3 {
            idle().await;
            assert!(
                !completion.is_complete(),
                "complete, though one thing is held"
            );
        }
        let_go(&inside).await;
        idle().await;
        assert!(completion.is_complete(), "let go, and not complete");
        assert_eq!(inside.live(), 0, "something inside is still alive");
        drop(left);
    });
}

#[test]
fn m6_a_capability_of_the_outside_that_the_inside_keeps() {
    let kept = Rc::new(RefCell::new(Vec::new()));
    alone_keeps_it_open_from_inside(
        async |scene| {
            scene.inside.watch();
            let mut swap = scene.wrapper.swap_request();
            swap.get().set_cap(scene.outside.probe("outer"));
            soon(swap.send().promise).await.unwrap();
            *kept.borrow_mut() = scene.inside.seen();
        },
        async |_| drop(kept.take()),
    );
}

#[test]
fn m6_params_that_the_inside_holds() {
    // The caller has long gone: the server holds what it was passed until its work is done.
    let work = Rc::new(RefCell::new(None));
    alone_keeps_it_open_from_inside(
        async |scene| {
            scene.inside.watch();
            let mut wait = scene.wrapper.wait_request();
            wait.get().set_cap(scene.outside.probe("outer"));
            let waiting = start(wait.send().promise);
            idle().await;
            drop(scene.inside.seen());
            *work.borrow_mut() = Some(waiting);
        },
        async |inside| {
            assert_eq!(inside.calls(), 1);
            inside.gate().open();
            let waiting = work.take().unwrap();
            drop(soon(waiting).await.unwrap());
        },
    );
}

#[test]
fn m6_nothing_was_ever_exported() {
    run(async {
        let membrane = Membrane::new();
        let completion = membrane.completion();
        assert!(!completion.is_complete());
        drop(membrane);
        assert!(completion.is_complete());
        // Without a clock nobody knows when.
        assert_eq!(soon(completion.clone()).await.at(), None);
        assert_eq!(soon(completion).await.at(), None);
    });
}

#[test]
fn m6_a_completion_and_a_weak_handle_keep_nothing_alive() {
    at(&[Place::InProcess], async |scene| {
        let (weak, completion, other) = (scene.weak(), scene.completion(), scene.completion());
        let inside = scene.inside.clone();
        drop(scene.leave());
        idle().await;
        assert!(completion.is_complete() && other.is_complete() && weak.is_unreferenced());
        assert_eq!(inside.live(), 0);
    });
}

#[test]
fn m6_all_who_wait_are_told_once() {
    everywhere(async |scene| {
        let times = Rc::new(Cell::new(0));
        let told: Vec<_> = (0..3)
            .map(|_| {
                let (completion, times) = (scene.completion(), times.clone());
                start(async move {
                    completion.await;
                    times.set(times.get() + 1);
                })
            })
            .collect();
        idle().await;
        let left = scene.leave();
        idle().await;
        assert_eq!(times.get(), 3);
        assert!(told.iter().all(|told| told.is_finished()));
        drop(left);
    });
}

#[test]
fn m6_a_cut_connection_completes_it() {
    at(&[Place::ServerEnd], async |scene| {
        scene.inside.watch();
        let mut store = scene.wrapper.store_request();
        store.get().set_cap(scene.outside.probe("outer"));
        soon(store.send().promise).await.unwrap();
        drop(scene.inside.seen());
        let hangs = start(scene.wrapper.hang_request().send().promise);
        idle().await;
        let (completion, inside) = (scene.completion(), scene.inside.clone());
        scene.cut();
        soon(hangs).await.err().unwrap();
        let left = scene.leave();
        idle().await;
        assert!(completion.is_complete());
        assert_eq!((inside.live(), inside.calls()), (0, 0));
        drop(left);
    });
}

/// Sends `cap` as a parameter to `to`, and tells whether that went well.
fn last_word(to: &probe::Client, cap: probe::Client) -> Rc<Cell<bool>> {
    let heard = Rc::new(Cell::new(false));
    let hears = heard.clone();
    let mut swap = to.swap_request();
    swap.get().set_cap(cap);
    let sent = swap.send().promise;
    tokio::task::spawn_local(async move { hears.set(sent.await.is_ok()) });
    heard
}

// `capnp-rpc` drops what it exports while its tables are borrowed: an object that sends a capability over
// the same connection in its `Drop` would panic there.

#[test]
fn m6_with_a_driver_a_drop_inside_may_send() {
    run(async {
        let inside = World::new();
        let inner = inside.probe("inner");
        let scene = Scene::new(Place::ServerEnd, true, inside.clone(), inner).await;
        scene.inside.watch();
        let mut swap = scene.wrapper.swap_request();
        swap.get().set_cap(scene.outside.probe("outer"));
        let child = soon(swap.send().promise).await.unwrap();
        let child_cap = child.get().unwrap().get_cap().unwrap();
        drop(child);
        let outer = RefCell::new(scene.inside.seen().pop());
        let heard = Rc::new(RefCell::new(None));
        let hears = heard.clone();
        inside.on_drop(move |_label| {
            if let Some(outer) = outer.take() {
                *hears.borrow_mut() = Some(last_word(&outer, World::new().probe("a last word")));
            }
        });
        drop(child_cap);
        idle().await;
        assert!(heard.take().is_some_and(|heard| heard.get()));
    });
}

#[test]
fn m6_with_a_driver_a_drop_outside_may_send() {
    run(async {
        let inside = World::new();
        let inner = inside.probe("inner");
        let scene = Scene::new(Place::ClientEnd, true, inside.clone(), inner).await;
        let mut store = scene.wrapper.store_request();
        store.get().set_cap(scene.outside.probe("noisy"));
        soon(store.send().promise).await.unwrap();
        let heard = Rc::new(RefCell::new(None));
        let (hears, wrapper) = (heard.clone(), scene.wrapper.clone());
        scene.outside.on_drop(move |_label| {
            *hears.borrow_mut() = Some(last_word(&wrapper, World::new().probe("a last word")));
        });
        soon(scene.wrapper.store_request().send().promise)
            .await
            .unwrap();
        idle().await;
        assert_eq!(scene.outside.live(), 0);
        assert!(heard.take().is_some_and(|heard| heard.get()));
    });
}

#[test]
fn m6_the_moment_is_the_last_drops() {
    at(&[Place::InProcess], async |scene| {
        let clock: ManualClock = scene.clock.clone();
        let completion = scene.completion();
        let other = scene.wrapper.clone();
        clock.advance(Duration::from_secs(1));
        drop(scene.leave());
        clock.advance(Duration::from_secs(1));
        let last = clock.now();
        drop(other);
        clock.advance(Duration::from_secs(1));
        idle().await;
        assert_eq!(soon(completion).await.at(), Some(last));
    });
}

#[test]
fn m6_who_waits_no_more_is_forgotten() {
    struct Nobody;
    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }
    let membrane = Membrane::new();
    let nobody = Arc::new(Nobody);
    let mut stays = membrane.completion();
    for _ in 0..3 {
        // Each with a waker of its own, as in a set of futures.
        let waker = Arc::new(Nobody).into();
        let mut cx = Context::from_waker(&waker);
        assert!(std::pin::Pin::new(&mut stays).poll(&mut cx).is_pending());
        let waker = nobody.clone().into();
        let mut cx = Context::from_waker(&waker);
        let mut clone = stays.clone();
        assert!(std::pin::Pin::new(&mut clone).poll(&mut cx).is_pending());
    }
    assert_eq!(Arc::strong_count(&nobody), 1);
    drop(membrane);
    assert!(stays.is_complete());
}
