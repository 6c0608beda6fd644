//! Calls that are canceled while they wait for a promise, and hold each other.

use std::time::Duration;

use capspan_testkit::service::{Pair, everywhere};
use capspan_testkit::testkit_capnp::thing;

/// As long as all messages that are on their way need, however far.
async fn soon() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

/// What a service gives that it does not have yet.
async fn promised(top: &thing::Client) -> thing::Client {
    let response = top.promise_request().send().promise.await.unwrap();
    response.get().unwrap().get_thing().unwrap()
}

#[test]
fn one_may_be_the_last_that_holds_another_which_waits_for_the_same() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let (top, handle) = pair.open().into_parts();
        let waits = promised(&top).await;
        let made = waits.make_request().send();
        let mut call = waits.call_request();
        call.get().set_thing(made.pipeline.get_thing());
        let call = call.send();
        soon().await;
        drop(made);
        soon().await;
        drop(call);
        soon().await;
        // All goes on.
        pair.world.open_gate();
        waits.number_request().send().promise.await.unwrap();
        drop((waits, top));
        pair.settle().await;
        drop(handle);
        pair.finish().await;
    });
}

#[test]
fn a_session_that_ends_may_take_a_chain_of_them_with_it() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let (top, handle) = pair.open().into_parts();
        let waits = promised(&top).await;
        let mut last = waits.clone();
        for _ in 0..100 {
            let mut swap = waits.swap_request();
            swap.get().set_thing(last);
            last = swap.send().pipeline.get_thing();
        }
        let number = last.number_request().send();
        soon().await;
        drop(handle);
        assert!(number.promise.await.is_err());
        drop((number.pipeline, last, waits, top));
        pair.world.open_gate();
        pair.finish().await;
    });
}
