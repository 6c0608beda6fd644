//! Sessions of which both sides tell of each call as a span.

use capspan::session::CallSpans;

use crate::service::{Pair, Place};
use crate::testkit_capnp::thing;

/// Both sides tell of calls, and know the names.
pub fn pair(place: Place) -> Pair {
    let mut pair = Pair::configured(place, |callee| callee.call_spans(named()));
    pair.pipeline = pair.pipeline.clone().call_spans(named());
    pair
}

/// Knows what the methods of a `Thing` are called.
pub fn named() -> CallSpans {
    let methods = [
        "number", "echo", "echoWith", "swap", "make", "store", "take", "reflect", "call", "never",
        "gated", "early", "fail", "push", "pushed",
    ];
    CallSpans::new().interface::<thing::Client>("Thing", methods)
}

/// Calls it once; gives what it answers.
///
/// # Panics
/// Where the call fails.
pub async fn number(thing: &thing::Client) -> u32 {
    let response = thing.number_request().send().promise.await.unwrap();
    response.get().unwrap().get_number()
}

/// Closes what is left, and compares.
///
/// # Panics
/// Where the spans are not these.
pub async fn ends(pair: Pair, tree: &str) {
    pair.request.end();
    pair.settle().await;
    assert_eq!(pair.tree(), tree);
    pair.finish().await;
}
