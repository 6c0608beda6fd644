//! The spans of calls that are pipelined, and of those whose answers nobody looks at.

use capspan_testkit::calls::{ends, number, pair};
use capspan_testkit::service::{Pair, everywhere};

#[test]
fn pipelined_calls_keep_their_chain() {
    everywhere(async |place| {
        let pair = pair(place);
        let (thing, handle) = pair.open().into_parts();
        let first = thing.make_request().send();
        let second = first.pipeline.get_thing().make_request().send();
        let third = second.pipeline.get_thing().number_request().send();
        let answers = futures::join!(first.promise, second.promise, third.promise);
        assert!(answers.0.is_ok() && answers.1.is_ok() && answers.2.is_ok());
        // When the promises have resolved, what they were is known all the same.
        let made = second.pipeline.get_thing();
        number(&made).await;
        drop((first.pipeline, second.pipeline, third.pipeline));
        drop((answers, made, thing));
        pair.settle().await;
        drop(handle);
        let tree = "\
request INTERNAL caller closed
  open CLIENT caller ok
    Thing/make CLIENT caller ok
      Thing/make CLIENT caller ok
        Thing/number CLIENT caller ok
        Thing/number CLIENT caller ok
    session SERVER callee ok
      Thing/make SERVER callee ok
        Thing/make SERVER callee ok
          Thing/number SERVER callee ok
          Thing/number SERVER callee ok
";
        ends(pair, tree).await;
    });
}

/// As one writes it where nothing but the last result is of interest.
#[test]
fn calls_whose_answers_nobody_looks_at_end_as_they_return() {
    everywhere(async |place| {
        let pair = pair(place);
        let (thing, handle) = pair.open().into_parts();
        let made = thing.make_request().send().pipeline.get_thing();
        let again = made.make_request().send().pipeline.get_thing();
        drop((thing, made));
        number(&again).await;
        pair.settle().await;
        let open = pair.spans.open();
        assert!(open.iter().all(|span| !span.name().starts_with("Thing")));
        drop(again);
        pair.settle().await;
        drop(handle);
        let tree = "\
request INTERNAL caller closed
  open CLIENT caller ok
    Thing/make CLIENT caller ok
      Thing/make CLIENT caller ok
        Thing/number CLIENT caller ok
    session SERVER callee ok
      Thing/make SERVER callee ok
        Thing/make SERVER callee ok
          Thing/number SERVER callee ok
";
        ends(pair, tree).await;
    });
}

#[test]
fn a_call_of_which_only_the_pipeline_is_held_ends_as_it_returns() {
    everywhere(async |place| {
        let pair = pair(place);
        let (thing, handle) = pair.open().into_parts();
        let pipeline = thing.make_request().send().pipeline;
        pair.settle().await;
        let open = pair.spans.open();
        assert!(open.iter().all(|span| !span.name().starts_with("Thing")));
        drop((pipeline, thing));
        pair.settle().await;
        drop(handle);
        let tree = "\
request INTERNAL caller closed
  open CLIENT caller ok
    Thing/make CLIENT caller ok
    session SERVER callee ok
      Thing/make SERVER callee ok
";
        ends(pair, tree).await;
    });
}

/// What keeps it until it returns is no more than what is held of it.
#[test]
fn a_call_whose_pipelined_capabilities_are_dropped_is_canceled() {
    everywhere(async |place| {
        let pair = pair(place);
        let (thing, handle) = pair.open().into_parts();
        let gated = thing.gated_request().send().pipeline.get_thing();
        let also = gated.clone();
        pair.settle().await;
        drop(gated);
        pair.settle().await;
        let is_open = |pair: &Pair| {
            let open = pair.spans.open();
            open.iter().any(|span| span.name() == "Thing/gated")
        };
        assert!(is_open(&pair));
        drop(also);
        pair.settle().await;
        assert!(!is_open(&pair));
        drop(thing);
        pair.settle().await;
        drop(handle);
        let tree = "\
request INTERNAL caller closed
  open CLIENT caller ok
    Thing/gated CLIENT caller canceled
    session SERVER callee ok
      Thing/gated SERVER callee canceled
";
        ends(pair, tree).await;
    });
}
