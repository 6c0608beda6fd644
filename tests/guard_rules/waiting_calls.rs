//! Calls on what stands for a promise: in their order and each answered, whatever the promise becomes meanwhile.

use std::cell::RefCell;
use std::rc::Rc;

use capnp::capability::{Client, FromClientHook, Promise};
use capnp::private::capability::{ClientHook, ParamsHook};
use capspan_testkit::membrane::{idle, raw};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::wire_peer::{
    Call, Cap, Message, Service, Target, call, echo, finish, method, release, resolve, returns,
};

use crate::harness::{BOOTSTRAP, Served, served, served_by};

/// Keeps the capability.
const KEEP: u16 = 100;
/// Calls what it keeps, and once more, and gives up the first of these calls. Returns when the second has returned.
const LATEST: u16 = 101;

fn cap_of(params: &dyn ParamsHook) -> Result<Box<dyn ClientHook>, capnp::Error> {
    let params: thing::swap_params::Reader<'_> = params.get()?.get_as()?;
    Ok(params.get_thing()?.into_client_hook())
}

/// An object of whose calls the latest counts, and of a service what else it is asked.
fn whose_latest_call_counts() -> Client {
    let object = Service::new().object();
    let kept: Rc<RefCell<Option<Box<dyn ClientHook>>>> = Rc::default();
    raw::object(move |method, params, results| match method {
        KEEP => match cap_of(&*params) {
            Ok(cap) => {
                kept.replace(Some(cap));
                Promise::ok(())
            }
            Err(error) => Promise::err(error),
        },
        LATEST => {
            let kept = kept.borrow().as_ref().map(|cap| cap.add_ref());
            Promise::from_future(async move {
                let Some(kept) = kept else {
                    return Err(capnp::Error::failed("nothing is kept".to_owned()));
                };
                let mut first = echo(&*kept, None);
                let is_on_its_way = futures::poll!(&mut first.promise);
                assert!(is_on_its_way.is_pending());
                let latest = echo(&*kept, None);
                drop(first);
                latest.promise.await?;
                Ok(())
            })
        }
        _ => object.hook.call(0, method, params, results),
    })
}

// The calls that waited had numbers, from the first on again when none was left; and who had given up a call that had been
// made took the one along that had its number by then.
#[test]
fn a_call_that_is_made_and_given_up_takes_no_later_one_along() {
    served_by(whose_latest_call_counts, async |on| {
        let promise = on.get(1, method::PROMISE).await;
        on.call_with(2, KEEP, [Cap::Yours(promise)]).await;
        on.peer.returned(2).await;
        on.call_with(3, method::FULFIL, [Cap::Promise(8)]).await;
        on.peer.returned(3).await;
        idle().await;
        on.call(4, LATEST).await;
        for _ in 0..2 {
            let heard = on.peer.called().await;
            assert_eq!(heard.target, Target::Cap(8));
            on.peer.say(returns(heard.question, [])).await;
        }
        let returned = on.peer.returned(4).await;
        assert!(returned.caps().is_empty(), "{returned:?}");
    });
}

fn pass(id: u32) -> Message {
    call(id, BOOTSTRAP, method::PASS)
        .with([Cap::Hosted(id)])
        .into()
}

/// Two promises, in the order in which they are to be fulfilled; the first of them was stored, and called by `on_first`,
/// and then the second one by `on_second`.
async fn called(on: &mut Served, on_first: &[u32], on_second: &[u32]) -> [u32; 2] {
    let first = on.get(1, method::PROMISE).await;
    let second = on.get(2, method::PROMISE).await;
    on.store(3, Cap::Yours(first)).await;
    on.peer.say_all(on_first.iter().copied().map(pass)).await;
    on.store(4, Cap::Yours(second)).await;
    on.peer.say_all(on_second.iter().copied().map(pass)).await;
    idle().await;
    [first, second]
}

/// The call that the object of the peer's has heard of, and by whom it was made.
async fn heard(on: &mut Served) -> (u32, Call) {
    let heard = on.peer.called().await;
    let [Cap::Yours(by)] = heard.params.caps[..] else {
        panic!("of nobody: {heard:?}");
    };
    (by, heard)
}

/// The first promise becomes the second, and that an object of the peer's. Gives who has called it, in order: each call
/// is answered, once.
async fn in_order(on: &mut Served, second: u32, canceled: &[u32], by: usize) -> Vec<u32> {
    on.call_with(5, method::FULFIL, [Cap::Yours(second)]).await;
    on.peer.returned(5).await;
    idle().await;
    on.peer.say_all(canceled.iter().copied().map(finish)).await;
    idle().await;
    on.call_with(6, method::FULFIL, [Cap::Hosted(8)]).await;
    on.peer.returned(6).await;
    let mut all = Vec::new();
    for _ in 0..by {
        let (by, heard) = heard(on).await;
        assert_eq!(heard.target, Target::Cap(8));
        on.peer.say(returns(heard.question, [])).await;
        all.push(by);
    }
    for by in &all {
        on.peer.returned(*by).await;
    }
    on.call(7, method::DROP).await;
    on.is_legal().await;
    all
}

// Those that waited for what it becomes were there before; whoever has fewer of them moves to the others.
#[test]
fn calls_that_wait_for_a_promise_which_becomes_another_with_calls() {
    served(async |on| {
        let [_, second] = called(on, &[100], &[101, 102, 103]).await;
        assert_eq!(in_order(on, second, &[], 4).await, [101, 102, 103, 100]);
    });
    served(async |on| {
        let [_, second] = called(on, &[100, 101, 102], &[103, 104]).await;
        let order = in_order(on, second, &[], 5).await;
        assert_eq!(order, [103, 104, 100, 101, 102]);
    });
}

#[test]
fn calls_that_are_given_up_after_their_promise_has_become_another() {
    served(async |on| {
        let [_, second] = called(on, &[100, 101], &[102, 103, 104]).await;
        let order = in_order(on, second, &[100, 103], 3).await;
        assert_eq!(order, [102, 104, 101]);
    });
    served(async |on| {
        let [_, second] = called(on, &[100, 101, 102, 103], &[104, 105]).await;
        let order = in_order(on, second, &[101, 104], 4).await;
        assert_eq!(order, [105, 100, 102, 103]);
    });
}

// Both become the third one, before anything is there: by different ways.
#[test]
fn calls_that_wait_for_three_promises_of_which_two_become_the_third() {
    served(async |on| {
        let [_, second] = called(on, &[100, 101], &[102]).await;
        let third = on.get(8, method::PROMISE).await;
        on.store(9, Cap::Yours(third)).await;
        on.peer.say_all([103, 104].map(pass)).await;
        idle().await;
        on.call_with(10, method::FULFIL, [Cap::Yours(third)]).await;
        on.peer.returned(10).await;
        on.peer.say(pass(105)).await;
        idle().await;
        assert_eq!(in_order(on, third, &[], 6).await.len(), 6);
        let _it_led_there_as_well = second;
    });
}

// The peer's promise breaks, and with it all calls that waited for those which became it.
#[test]
fn calls_that_wait_for_a_promise_that_breaks() {
    served(async |on| {
        let [_, second] = called(on, &[100], &[101, 102]).await;
        on.call_with(5, method::FULFIL, [Cap::Yours(second)]).await;
        on.call(6, method::FULFIL).await;
        for id in 100..103 {
            on.fails(id, capnp::ErrorKind::Failed, "it was broken")
                .await;
        }
        on.call(7, method::DROP).await;
        on.is_legal().await;
    });
}

// A promise of the peer's that waits, and one that leads there, when what they wait for is let go of.
#[test]
fn promises_that_wait_for_one_that_the_peer_lets_go_of() {
    served(async |on| {
        let promise = on.get(1, method::PROMISE).await;
        on.store(2, Cap::Promise(8)).await;
        on.peer.say(pass(100)).await;
        let (_, first) = heard(on).await;
        on.store(3, Cap::Promise(9)).await;
        on.peer
            .say_all([
                resolve(9, Cap::Promise(8)),
                resolve(8, Cap::Yours(promise)),
                release(promise, 1),
            ])
            .await;
        idle().await;
        on.peer.say(returns(first.question, [])).await;
        on.peer.returned(100).await;
        on.call_with(4, method::FULFIL, [Cap::Yours(0)]).await;
        on.peer.returned(4).await;
        on.call(5, method::DROP).await;
        on.is_legal().await;
        assert_eq!(on.guard.usage().waiting, 0);
    });
}
