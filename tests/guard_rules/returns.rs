//! The peer's answers to calls of this side's.

use capnp::ErrorKind;
use capnp::capability::{Client, FromClientHook, Promise};
use capspan::guard::Breach;
use capspan_testkit::membrane::idle;
use capspan_testkit::membrane::raw::object;
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::wire_peer::{
    Cap, Content, Message, Outcome, Target, call, echo, finish, method, release, returns,
};

use crate::harness::{BOOTSTRAP, connected, returns_as, served, served_by, why};

#[test]
fn an_answer_to_no_call() {
    served(async |on| {
        on.peer.say(returns(5, [])).await;
        on.is_cut(Breach::ReturnNotOpen, 0).await;
    });
}

#[test]
fn a_second_answer_while_the_first_is_looked_at() {
    connected(async |on| {
        let (asked, heard) = on.asks(None).await;
        on.peer.say(returns(heard.question, [])).await;
        let _response = asked.promise.await;
        on.peer.say(returns(heard.question, [])).await;
        on.is_cut(Breach::ReturnNotOpen).await;
    });
}

#[test]
fn a_second_answer_to_a_call_that_is_finished() {
    connected(async |on| {
        let (asked, heard) = on.asks(None).await;
        on.peer.say(returns(heard.question, [])).await;
        drop(asked.pipeline);
        drop(asked.promise.await);
        on.peer.expect(crate::harness::keep(heard.question)).await;
        on.peer.say(returns(heard.question, [])).await;
        on.is_cut(Breach::ReturnNotOpen).await;
    });
}

#[test]
fn an_answer_to_a_call_that_was_canceled_meanwhile() {
    connected(async |on| {
        let (asked, heard) = on.asks(None).await;
        drop(asked);
        idle().await;
        on.peer
            .say(returns(heard.question, [Cap::Hosted(7), Cap::Promise(8)]))
            .await;
        on.peer.expect(finish(heard.question)).await;
        on.is_legal().await;
        assert_eq!(on.guard.usage().imports, 0, "what it brings is not taken");
    });
}

#[test]
fn a_promise_in_an_answer_to_a_call_that_was_canceled_meanwhile() {
    connected(async |on| {
        let (asked, heard) = on.asks(None).await;
        drop(asked);
        idle().await;
        let resolved = capspan_testkit::wire_peer::resolve(8, Cap::Hosted(9));
        on.peer
            .say_all([returns(heard.question, [Cap::Promise(8)]).into(), resolved])
            .await;
        on.peer.expect(release(9, 1)).await;
        on.is_legal().await;
    });
}

#[test]
fn an_answer_that_a_call_was_canceled_which_was_not() {
    connected(async |on| {
        let (_asked, heard) = on.asks(None).await;
        on.peer
            .say(returns_as(heard.question, Outcome::Canceled))
            .await;
        on.is_cut(Breach::ReturnKind).await;
    });
}

#[test]
fn an_answer_that_a_call_was_canceled_which_was() {
    connected(async |on| {
        let (asked, heard) = on.asks(None).await;
        drop(asked);
        on.peer.expect(finish(heard.question)).await;
        on.peer
            .say(returns_as(heard.question, Outcome::Canceled))
            .await;
        on.is_legal().await;
    });
}

#[test]
fn an_answer_that_results_are_elsewhere() {
    connected(async |on| {
        let (_asked, heard) = on.asks(None).await;
        let elsewhere = returns_as(heard.question, Outcome::ResultsSentElsewhere);
        on.peer.say(elsewhere).await;
        on.is_cut(Breach::ReturnKind).await;
    });
}

#[test]
fn an_answer_by_the_results_of_a_call_that_were_not_kept() {
    connected(async |on| {
        let (_asked, heard) = on.asks(None).await;
        let taken = returns_as(heard.question, Outcome::TakeFromOtherQuestion(3));
        on.peer.say(taken).await;
        on.is_cut(Breach::ReturnKind).await;
    });
}

#[test]
fn an_answer_that_is_at_a_third_party() {
    connected(async |on| {
        let (asked, heard) = on.asks(None).await;
        on.peer
            .say(returns_as(heard.question, Outcome::AcceptFromThirdParty))
            .await;
        let error = why(asked).await;
        assert_eq!(error.kind, ErrorKind::Unimplemented, "{error}");
        on.is_refused(Breach::ThirdParty).await;
    });
}

#[test]
fn an_answer_with_a_capability_of_a_third_party() {
    connected(async |on| {
        let (asked, heard) = on.asks(None).await;
        on.peer
            .say(returns(heard.question, [Cap::ThirdParty(7)]))
            .await;
        let error = why(asked).await;
        assert_eq!(error.kind, ErrorKind::Unimplemented, "{error}");
        on.peer.expect(release(7, 1)).await;
        on.is_refused(Breach::ThirdParty).await;
    });
}

#[test]
fn an_error() {
    connected(async |on| {
        let (asked, heard) = on.asks(None).await;
        let fails = capspan_testkit::wire_peer::fails(heard.question, "of its own");
        on.peer.say(fails).await;
        let error = why(asked).await;
        assert!(error.extra.contains("of its own"), "{error}");
        on.is_legal().await;
    });
}

#[test]
fn a_text_where_a_capability_was_pipelined_on() {
    for content in [
        Content::Struct(vec![Content::Text("no capability".into())]),
        Content::Struct(vec![Content::Struct(vec![])]),
        Content::Text("no struct".into()),
        Content::List(vec![Content::Cap(0)]),
        Content::Cap(0),
        // Beyond the table.
        Content::Struct(vec![Content::Cap(1)]),
    ] {
        connected(async |on| {
            let (asked, promised, heard) = on.asks_and_pipelines().await;
            let returned = returns(heard.question, [Cap::Hosted(7)]);
            on.peer.say(returned.content(content)).await;
            let error = why(asked).await;
            assert!(error.extra.contains("pipelined on"), "{error}");
            on.peer.expect(release(7, 1)).await;
            let error = why(echo(&*promised.hook, None)).await;
            assert!(error.extra.contains("pipelined on"), "{error}");
            on.is_refused(Breach::ReturnContent).await;
        });
    }
}

#[test]
fn a_text_where_nothing_was_pipelined_on() {
    connected(async |on| {
        let (asked, heard) = on.asks(None).await;
        let text = Content::Text("no struct".into());
        on.peer.say(returns(heard.question, []).content(text)).await;
        asked.promise.await.expect("an answer");
        on.is_legal().await;
    });
}

#[test]
fn nothing_where_a_capability_was_pipelined_on() {
    for content in [Content::Null, Content::Struct(vec![])] {
        connected(async |on| {
            let (asked, _promised, heard) = on.asks_and_pipelines().await;
            on.peer
                .say(returns(heard.question, []).content(content))
                .await;
            asked.promise.await.expect("an answer");
            on.is_legal().await;
        });
    }
}

#[test]
fn a_capability_where_one_was_pipelined_on() {
    connected(async |on| {
        let (asked, promised, heard) = on.asks_and_pipelines().await;
        on.peer.say(returns(heard.question, [Cap::Hosted(7)])).await;
        asked.promise.await.expect("an answer");
        drop(echo(&*promised.hook, None));
        let target = on.peer.called().await.target;
        assert_eq!(target, capspan_testkit::wire_peer::Target::Cap(7));
        on.is_legal().await;
    });
}

#[test]
fn an_answer_with_a_capability_that_the_peer_has_not_got() {
    connected(async |on| {
        let (_asked, heard) = on.asks(None).await;
        on.peer.say(returns(heard.question, [Cap::Yours(9)])).await;
        on.is_cut(Breach::UnknownExport).await;
    });
}

/// Passes on at once what the call that it makes on its parameter will bring.
fn passes_on() -> Client {
    object(|_, params, mut results| {
        let mut pass = move || {
            let content: thing::swap_params::Reader<'_> = params.get()?.get_as()?;
            let hook = content.get_thing()?.into_client_hook();
            let promised = echo(&*hook, None);
            let cap = promised.pipeline.get_pointer_field(0).as_cap();
            tokio::task::spawn_local(promised.promise);
            let mut content: thing::swap_results::Builder<'_> = results.get()?.init_as();
            content.set_thing(thing::Client::new(cap));
            Ok(())
        };
        match pass() {
            Ok(()) => Promise::ok(()),
            Err(error) => Promise::err(error),
        }
    })
}

#[test]
fn an_answer_that_leads_back_to_what_it_was_promised_as() {
    served_by(passes_on, async |on| {
        on.call_with(1, method::ECHO, [Cap::Hosted(5)]).await;
        let asked = on.peer.called().await.question;
        assert_eq!(
            on.peer.returned(1).await.caps(),
            [Cap::Answer(asked, vec![0])]
        );
        on.peer.say(returns(asked, [Cap::Answer(1, vec![0])])).await;
        // Whoever calls what was promised is told so.
        on.peer
            .say(call(2, BOOTSTRAP, method::ECHO).with([Cap::Hosted(6)]))
            .await;
        on.peer.called().await;
        crate::harness::only(&on.guard, Breach::ReturnCycle, 1);
    });
}

#[test]
fn an_answer_that_leads_to_what_was_answered_otherwise() {
    served_by(passes_on, async |on| {
        on.call_with(1, method::ECHO, [Cap::Hosted(5)]).await;
        let asked = on.peer.called().await.question;
        on.peer.returned(1).await;
        on.peer.say(returns(asked, [Cap::Answer(0, vec![])])).await;
        on.call_with(2, method::ECHO, [Cap::Hosted(6)]).await;
        on.peer.called().await;
        assert_eq!(on.guard.refused(), 0);
    });
}

/// They stay here, are refused where they are taken, and what the peer has given stays its own to be let go of.
#[test]
fn results_of_another_call_that_are_not_what_was_pipelined_on() {
    connected(async |on| {
        let (asked, promised, heard) = on.asks_and_pipelines().await;
        // Gives what it gets, in a list.
        let lists = object(|_, params, mut results| {
            let mut gives = || {
                let content: thing::swap_params::Reader<'_> = params.get()?.get_as()?;
                let thing = content.get_thing()?.into_client_hook();
                let list = results.get()?;
                let list = list.initn_as::<capnp::any_pointer_list::Builder<'_>>(1);
                list.get(0).set_as_capability(thing);
                Ok(())
            };
            gives().map_or_else(Promise::err, Promise::ok)
        });
        let (gives, given) = on.asks(Some(lists)).await;
        let [Cap::Hosted(id)] = given.params.caps[..] else {
            panic!("no object: {given:?}");
        };
        let stays = call(1, Target::Cap(id), 0).with([Cap::Hosted(5)]);
        let taken = returns(heard.question, []).outcome(Outcome::TakeFromOtherQuestion(1));
        on.peer
            .say_all([Message::from(stays.to_yourself()), taken.into()])
            .await;
        assert!(why(asked).await.extra.contains("pipelined on"));
        on.peer
            .say_all([finish(1), returns(given.question, []).into()])
            .await;
        drop((promised, gives));
        on.peer.expect(release(5, 1)).await;
        on.is_refused(Breach::ReturnContent).await;
    });
}
