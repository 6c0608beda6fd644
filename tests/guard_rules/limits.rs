//! How much the peer may have of calls and capabilities: one more is refused, and there is room again later.

use capnp::ErrorKind;
use capspan::guard::{Breach, GuardLimits};
use capspan_testkit::membrane::idle;
use capspan_testkit::wire_peer::{
    Cap, Content, Message, Target, bootstrap, call, finish, method, release, returns, swollen,
};

use crate::harness::{BOOTSTRAP, connected_within, keep, only, served, served_within, why};

fn limits() -> GuardLimits {
    GuardLimits::default()
}

#[test]
fn calls_in_flight() {
    served_within(limits().max_calls(2), async |on| {
        on.store(1, Cap::Hosted(5)).await;
        on.call(2, method::CALL_STORED).await;
        let asked = on.peer.called().await.question;
        on.call(3, method::NEVER).await;
        idle().await;
        assert_eq!(on.guard.usage().calls, 2);
        let calls = on.service.calls();
        on.call_with(4, method::ECHO, [Cap::Hosted(6)]).await;
        on.fails(4, ErrorKind::Overloaded, "calls are in flight")
            .await;
        on.peer.expect(release(6, 1)).await;
        assert_eq!(on.service.calls(), calls);
        on.peer
            .say_all([finish(4), returns(asked, []).into()])
            .await;
        on.peer.returned(2).await;
        on.is_refused(Breach::CallsInFlight).await;
    });
}

#[test]
fn calls_that_were_canceled() {
    served_within(limits().max_calls(2).max_call_bytes(1_000), async |on| {
        // The bootstrap object is kept for what may be pipelined on it.
        let first = on.guard.usage().call_bytes;
        for question in 1..50 {
            on.call_with(question, method::NEVER, [Cap::Hosted(5)])
                .await;
            on.peer.say(finish(question)).await;
        }
        on.is_legal().await;
        let usage = on.guard.usage();
        assert_eq!((usage.calls, usage.call_bytes), (0, first));
    });
}

#[test]
fn calls_that_were_canceled_and_go_on_for_those_pipelined_on_them() {
    served_within(limits().max_calls(2), async |on| {
        on.call(1, method::NEVER).await;
        let pipelined = call(2, Target::Answer(1, vec![0]), method::ECHO);
        on.peer.say_all([pipelined.into(), finish(1)]).await;
        on.call(3, method::ECHO).await;
        on.fails(3, ErrorKind::Overloaded, "2 calls are in flight")
            .await;
        on.peer.say_all([finish(2), finish(3)]).await;
        on.is_refused(Breach::CallsInFlight).await;
        assert_eq!(on.guard.usage().calls, 1);
    });
}

#[test]
fn a_bootstrap_while_calls_are_in_flight() {
    served_within(limits().max_calls(1), async |on| {
        on.call(1, method::NEVER).await;
        on.peer.say(bootstrap(2)).await;
        on.fails(2, ErrorKind::Overloaded, "calls are in flight")
            .await;
        only(&on.guard, Breach::CallsInFlight, 1);
    });
}

#[test]
fn unfinished_calls() {
    served_within(limits().max_unfinished(3), async |on| {
        on.call(1, method::MAKE).await;
        on.peer.returned(1).await;
        on.call(2, method::NEVER).await;
        on.peer.say(finish(2)).await;
        idle().await;
        assert_eq!(on.guard.usage().unfinished, 3);
        on.call(3, method::ECHO).await;
        on.is_cut(Breach::UnfinishedCalls, 2).await;
    });
}

#[test]
fn calls_that_are_finished() {
    served_within(limits().max_unfinished(3), async |on| {
        for _ in 0..10 {
            on.get(1, method::MAKE).await;
            on.call(2, method::ECHO).await;
            on.peer.returned(2).await;
        }
        on.is_legal().await;
    });
}

#[test]
fn bytes_in_flight() {
    let long = |question, bytes| {
        let text = Content::Struct(vec![Content::Null, Content::Text("x".repeat(bytes))]);
        call(question, BOOTSTRAP, method::NEVER).content(text)
    };
    served_within(limits().max_call_bytes(3_000), async |on| {
        on.peer.say(long(1, 3_000)).await;
        on.fails(1, ErrorKind::Overloaded, "bytes are in flight")
            .await;
        assert_eq!(on.service.calls(), 0);
        on.peer
            .say_all([Message::from(long(2, 2_000)), finish(1)])
            .await;
        on.goes_on().await;
        let usage = on.guard.usage();
        assert!((2_000..2_500).contains(&usage.call_bytes), "{usage:?}");
        only(&on.guard, Breach::BytesInFlight, 1);
    });
}

#[test]
fn bytes_of_calls_that_have_returned() {
    served_within(limits().max_call_bytes(3_000), async |on| {
        let first = on.guard.usage().call_bytes;
        for _ in 0..10 {
            let text = Content::Struct(vec![Content::Null, Content::Text("x".repeat(2_000))]);
            on.peer
                .say(call(1, BOOTSTRAP, method::ECHO).content(text))
                .await;
            on.peer.returned(1).await;
        }
        assert_eq!(on.guard.usage().call_bytes, first);
        on.is_legal().await;
    });
}

#[test]
fn bytes_of_results_with_capabilities() {
    served_within(limits().max_call_bytes(1_000), async |on| {
        let first = on.guard.usage().call_bytes;
        for id in 1..=20 {
            on.call(id, method::MAKE).await;
            on.peer.returned(id).await;
        }
        assert!(on.guard.usage().call_bytes <= 1_000);
        let refused = on.guard.count(Breach::BytesInFlight);
        assert!((5..19).contains(&refused), "{refused}");
        on.peer.say_all((1..=20).map(finish)).await;
        on.goes_on().await;
        assert_eq!(on.guard.usage().call_bytes, first);
    });
}

#[test]
fn capabilities_of_this_side() {
    served_within(limits().max_exports(2), async |on| {
        let object = on.get(1, method::MAKE).await;
        on.call(2, method::MAKE).await;
        on.fails(2, ErrorKind::Overloaded, "holds 2 capabilities")
            .await;
        on.peer.say_all([finish(2), release(object, 1)]).await;
        on.get(3, method::MAKE).await;
        only(&on.guard, Breach::Exports, 1);
        assert_eq!(on.service.live(), 2);
    });
}

#[test]
fn capabilities_of_the_peer_in_a_call() {
    served_within(limits().max_imports(2), async |on| {
        on.store(1, Cap::Hosted(5)).await;
        let calls = on.service.calls();
        on.call_with(2, method::STORE, [Cap::Hosted(6), Cap::Hosted(7)])
            .await;
        on.fails(2, ErrorKind::Overloaded, "holds 2 capabilities")
            .await;
        on.peer.expect(release(6, 1)).await;
        on.peer.expect(release(7, 1)).await;
        assert_eq!((on.service.calls(), on.guard.usage().imports), (calls, 1));
        // What it has already takes no more room.
        on.call_with(3, method::STORE, [Cap::Hosted(5), Cap::Hosted(8)])
            .await;
        on.peer.returned(3).await;
        on.call(4, method::DROP).await;
        on.peer.expect(release(5, 2)).await;
        on.call_with(5, method::STORE, [Cap::Hosted(6), Cap::Hosted(7)])
            .await;
        on.peer.returned(5).await;
        on.peer.say(finish(2)).await;
        on.is_refused(Breach::Imports).await;
    });
}

#[test]
fn capabilities_of_the_peer_in_an_answer() {
    connected_within(limits().max_imports(2), async |on| {
        let (asked, heard) = on.asks(None).await;
        let caps = [Cap::Hosted(6), Cap::Hosted(7), Cap::Hosted(6)];
        on.peer.say(returns(heard.question, caps)).await;
        let error = why(asked).await;
        assert_eq!(error.kind, ErrorKind::Overloaded, "{error}");
        on.peer.expect(release(6, 2)).await;
        on.peer.expect(release(7, 1)).await;
        on.is_refused(Breach::Imports).await;
    });
}

#[test]
fn capabilities_in_a_call() {
    served_within(limits().max_capabilities(2), async |on| {
        on.call_with(1, method::ECHO, [Cap::Hosted(5), Cap::Hosted(6), Cap::None])
            .await;
        on.fails(1, ErrorKind::Overloaded, "3 capabilities").await;
        on.peer.expect(release(5, 1)).await;
        on.peer.expect(release(6, 1)).await;
        assert_eq!(on.service.calls(), 0);
        on.call_with(2, method::ECHO, [Cap::Hosted(5), Cap::Hosted(6)])
            .await;
        on.peer.returned(2).await;
        on.peer.say(finish(1)).await;
        on.is_refused(Breach::CapabilitiesInMessage).await;
    });
}

#[test]
fn capabilities_in_an_answer() {
    connected_within(limits().max_capabilities(2), async |on| {
        let (asked, heard) = on.asks(None).await;
        let caps = [Cap::Hosted(6), Cap::Hosted(7), Cap::None];
        on.peer.say(returns(heard.question, caps)).await;
        let error = why(asked).await;
        assert_eq!(error.kind, ErrorKind::Overloaded, "{error}");
        on.peer.expect(release(6, 1)).await;
        on.peer.expect(release(7, 1)).await;
        on.is_refused(Breach::CapabilitiesInMessage).await;
    });
}

#[test]
fn a_table_of_millions_that_take_no_room() {
    served_within(limits(), async |on| {
        let called = call(1, BOOTSTRAP, method::ECHO).with([Cap::None]);
        on.peer.say(swollen(called, 8_000_000)).await;
        on.is_cut(Breach::CapabilitiesInMessage, 0).await;
    });
}

#[test]
fn calls_on_calls_on_calls() {
    served_within(limits().max_pipeline_depth(2), async |on| {
        on.call(1, method::NEVER).await;
        for question in 2..=4 {
            let target = Target::Answer(question - 1, vec![0]);
            on.peer.say(call(question, target, method::ECHO)).await;
        }
        on.fails(4, ErrorKind::Overloaded, "more than 2").await;
        on.peer.say(finish(4)).await;
        on.is_refused(Breach::PipelineDepth).await;
        assert_eq!(on.guard.usage().calls, 3);
    });
}

#[test]
fn a_call_with_what_calls_on_calls_will_bring() {
    served_within(limits().max_pipeline_depth(1), async |on| {
        on.call(1, method::NEVER).await;
        on.call_with(2, method::STORE, [Cap::Answer(1, vec![0])])
            .await;
        on.peer.returned(2).await;
        let target = Target::Answer(1, vec![0]);
        on.peer.say(call(3, target, method::ECHO)).await;
        on.call_with(4, method::STORE, [Cap::Answer(3, vec![0])])
            .await;
        on.fails(4, ErrorKind::Overloaded, "more than 1").await;
        on.peer.say(finish(4)).await;
        on.is_refused(Breach::PipelineDepth).await;
    });
}

#[test]
fn a_way_down_into_an_answer() {
    served_within(limits().max_pipeline_depth(2), async |on| {
        let down = |question, fields: &[u16]| {
            call(question, Target::Answer(0, fields.into()), method::ECHO)
        };
        on.peer.say(down(1, &[0, 0])).await;
        on.peer.returned(1).await;
        on.peer.say(down(2, &[0, 0, 0])).await;
        on.is_cut(Breach::PipelineDepth, 0).await;
    });
}

#[test]
fn a_call_keeps_its_results_from_the_limit_when_they_are_kept() {
    served_within(limits().max_exports(3), async |on| {
        on.call(1, method::MAKE).await;
        on.peer.returned(1).await;
        on.call(2, method::MAKE).await;
        on.peer.returned(2).await;
        on.peer.say_all([finish(1), keep(2)]).await;
        on.is_legal().await;
        assert_eq!(on.guard.usage().exports, 2);
    });
}

/// Nobody has taken them, and the peer has not done with the calls.
#[test]
fn results_that_stay_here() {
    served_within(limits().max_call_bytes(1_000), async |on| {
        let first = on.guard.usage().call_bytes;
        for id in 1..=20 {
            on.peer
                .say(call(id, BOOTSTRAP, method::TEXT).to_yourself())
                .await;
            on.peer.returned(id).await;
        }
        let kept = on.guard.usage().call_bytes;
        assert!((500..=1_000).contains(&kept), "{kept}");
        let refused = on.guard.count(Breach::BytesInFlight);
        assert!((5..20).contains(&refused), "{refused}");
        on.peer.say_all((1..=20).map(finish)).await;
        on.call(30, method::ECHO).await;
        on.peer.returned(30).await;
        let usage = on.guard.usage();
        assert_eq!((usage.call_bytes, usage.unfinished), (first, 1));
    });
}

/// It is let go of later than the call, and counts with that; once, however often it is named.
#[test]
fn what_a_call_that_waits_gives_back() {
    served(async |on| {
        on.call(1, method::PROMISE).await;
        let [Cap::Promise(promise)] = on.peer.returned(1).await.caps()[..] else {
            panic!("no promise");
        };
        let mut taken = [0, 0];
        for (id, taken) in (2..).zip(&mut taken) {
            let before = on.guard.usage().call_bytes;
            let mut waits = call(id, Target::Cap(promise), method::ECHO);
            waits.params.caps = vec![Cap::Yours(0); if id == 2 { 1 } else { 50 }];
            on.peer.say(waits).await;
            idle().await;
            *taken = on.guard.usage().call_bytes - before;
        }
        let [one, fifty] = taken;
        assert!((3_072..4_096).contains(&one), "{taken:?}");
        assert!(fifty < one + 50 * (512 + 32), "{taken:?}");
        on.peer.say_all([finish(2), finish(3)]).await;
        on.is_legal().await;
    });
}
