//! What this side has of one peer, and gives to another: it is what it was there.

use capnp::capability::Client;
use capspan::guard::Connection;
use capspan_testkit::link::direct;
use capspan_testkit::wire_peer::{
    Cap, Message, Peer, Target, bootstrap, call, fails, method, resolve_to_error, returns,
};
use tokio::task::spawn_local;

use crate::harness::{BOOTSTRAP, connected};

/// A client of this side's, which gets what a peer serves. It asks with question 0.
fn given(theirs: &Client) -> Peer {
    let (client, server) = direct();
    let theirs = Client::new(theirs.hook.add_ref());
    let (_, driver) = Connection::serve(server.0, server.1, |_| theirs);
    spawn_local(driver);
    Peer::new(client)
}

#[test]
fn what_a_peer_serves_is_no_promise() {
    connected(async |on| {
        on.theirs.hook.when_resolved().await.expect("it is there");
        let mut client = given(&on.theirs);
        client.say(bootstrap(0)).await;
        assert_eq!(client.returned(0).await.caps(), [Cap::Hosted(0)]);
        on.is_legal().await;
    });
}

#[test]
fn what_a_peer_serves_is_its_own_again() {
    connected(async |on| {
        let mut client = given(&on.theirs);
        assert_eq!(client.bootstrap().await, 0);
        let call = call(1, BOOTSTRAP, method::ECHO).with([Cap::Yours(0)]);
        client.say(call).await;
        let heard = on.peer.called().await;
        assert_eq!(heard.params.caps, [Cap::Answer(0, Vec::new())]);
        on.peer.say(returns(heard.question, [Cap::Hosted(0)])).await;
        assert_eq!(client.returned(1).await.caps().len(), 1);
        on.is_legal().await;
    });
}

#[test]
fn an_error_has_the_words_that_it_had() {
    connected(async |on| {
        let mut client = given(&on.theirs);
        assert_eq!(client.bootstrap().await, 0);
        // The second has come to the peer from somewhere else.
        for (question, text) in [(1, "it is late"), (2, "remote exception: it is late")] {
            client.say(call(question, BOOTSTRAP, method::ECHO)).await;
            let heard = on.peer.called().await;
            on.peer.say(fails(heard.question, text)).await;
            assert_eq!(client.returned(question).await.exception().reason, text);
        }
        on.is_legal().await;
    });
}

#[test]
fn what_breaks_a_promise_has_the_words_that_it_had() {
    connected(async |on| {
        let mut client = given(&on.theirs);
        assert_eq!(client.bootstrap().await, 0);
        client.say(call(1, BOOTSTRAP, method::ECHO)).await;
        let heard = on.peer.called().await;
        on.peer
            .say(returns(heard.question, [Cap::Promise(1)]))
            .await;
        let [Cap::Promise(promise)] = client.returned(1).await.caps()[..] else {
            panic!("no promise");
        };
        on.peer.say(resolve_to_error(1, "it is late")).await;
        client
            .find(|it| matches!(it, Message::Resolve { .. }))
            .await;
        let call = call(2, Target::Cap(promise), method::ECHO);
        client.say(call).await;
        assert_eq!(client.returned(2).await.exception().reason, "it is late");
        on.is_legal().await;
    });
}
