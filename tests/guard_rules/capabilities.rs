//! References to capabilities of this side's.

use capspan::guard::Breach;
use capspan_testkit::wire_peer::{Cap, Target, bootstrap, call, finish, method, release, returns};

use crate::harness::{connected, keep, served};

#[test]
fn a_release_of_what_the_peer_has_not_got() {
    served(async |on| {
        on.peer.say(release(7, 1)).await;
        on.is_cut(Breach::ReleaseBelowZero, 0).await;
    });
}

#[test]
fn a_release_of_more_references_than_the_peer_has() {
    served(async |on| {
        on.peer.say(release(0, 2)).await;
        on.is_cut(Breach::ReleaseBelowZero, 0).await;
    });
}

#[test]
fn a_release_of_as_many_references_as_the_peer_has() {
    served(async |on| {
        on.peer.say(bootstrap(1)).await;
        assert_eq!(on.peer.returned(1).await.caps(), [Cap::Hosted(0)]);
        let object = on.get(2, method::MAKE).await;
        on.peer.say_all([keep(0), keep(1), release(0, 2)]).await;
        on.peer
            .say(call(3, Target::Cap(object), method::ECHO))
            .await;
        on.peer.returned(3).await;
        assert_eq!(on.guard.usage().exports, 1);
        assert_eq!(on.guard.refused(), 0);
    });
}

#[test]
fn results_that_are_let_go_of_by_the_finish_and_once_more() {
    served(async |on| {
        on.call(1, method::MAKE).await;
        let [Cap::Hosted(object)] = on.peer.returned(1).await.caps()[..] else {
            panic!("no object");
        };
        on.peer.say_all([finish(1), release(object, 1)]).await;
        on.is_cut(Breach::ReleaseBelowZero, 1).await;
    });
}

#[test]
fn parameters_that_are_let_go_of_by_the_return_and_once_more() {
    connected(async |on| {
        let own = capspan_testkit::wire_peer::Service::new();
        let (_asked, heard) = on.asks(Some(own.object())).await;
        let [Cap::Hosted(object)] = heard.params.caps[..] else {
            panic!("no object: {heard:?}");
        };
        let mut returned = returns(heard.question, []);
        returned.release_param_caps = true;
        on.peer.say(returned).await;
        on.peer.say(release(object, 1)).await;
        on.is_cut(Breach::ReleaseBelowZero).await;
    });
}

#[test]
fn parameters_that_are_let_go_of_by_the_return() {
    connected(async |on| {
        let own = capspan_testkit::wire_peer::Service::new();
        let (asked, heard) = on.asks(Some(own.object())).await;
        let mut returned = returns(heard.question, []);
        returned.release_param_caps = true;
        on.peer.say(returned).await;
        asked.promise.await.expect("an answer");
        on.is_legal().await;
        assert_eq!((own.live(), on.guard.usage().exports), (0, 0));
    });
}

#[test]
fn parameters_that_are_kept_and_let_go_of_later() {
    connected(async |on| {
        let own = capspan_testkit::wire_peer::Service::new();
        let (asked, heard) = on.asks(Some(own.object())).await;
        let [Cap::Hosted(object)] = heard.params.caps[..] else {
            panic!("no object: {heard:?}");
        };
        on.peer.say(returns(heard.question, [])).await;
        asked.promise.await.expect("an answer");
        on.goes_on().await;
        assert_eq!(own.live(), 1);
        on.peer.say(release(object, 1)).await;
        on.is_legal().await;
        assert_eq!((own.live(), on.guard.usage().exports), (0, 0));
    });
}
