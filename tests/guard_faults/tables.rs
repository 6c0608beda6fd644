//! Messages that lie about what is in the tables.

use capspan_testkit::membrane::idle;
use capspan_testkit::wire_peer::{
    Cap, Context, Message, Outcome, Target, call, disembargo, echo, finish, method, release,
    resolve, returns, unimplemented,
};

use crate::harness::{Shows, fault};

const BOOTSTRAP: Target = Target::Cap(0);

// That a resolution is not known releases what it led to, also if there never was one: as a release does, which
// the peer may say as well, and no more often than it has references.
fault!(
    a_resolution_not_known_that_never_was,
    Shows::Nothing,
    async |stage| {
        let (mut peer, service) = stage.serve().await;
        peer.say(call(1, BOOTSTRAP, method::MAKE)).await;
        let [Cap::Hosted(object)] = peer.returned(1).await.caps()[..] else {
            panic!("no object");
        };
        let not_known = unimplemented(resolve(77, Cap::Hosted(object)));
        peer.say(not_known.clone()).await;
        idle().await;
        peer.say(not_known).await;
        peer.aborted().await;
        peer.ended().await;
        assert_eq!(service.live(), 0);
    }
);

fault!(a_return_that_comes_twice, Shows::Nothing, async |stage| {
    let (mut peer, theirs) = stage.connect().await;
    let promise = echo(&*theirs.hook, None);
    let asked = peer.called().await;
    let returned = returns(asked.question, [Cap::Hosted(7), Cap::Hosted(8)]);
    peer.say(returned.clone()).await;
    peer.say(returned).await;
    idle().await;
    drop(promise);
});

fault!(
    a_return_whose_table_can_not_be_read_to_its_end,
    Shows::Nothing,
    async |stage| {
        let (mut peer, theirs) = stage.connect().await;
        let promise = echo(&*theirs.hook, None);
        let pipelined = promise.pipeline.get_pointer_field(0).as_cap();
        let asked = peer.called().await;
        let caps = [Cap::Promise(7), Cap::Answer(0, vec![]), Cap::ThirdParty(8)];
        peer.say(returns(asked.question, caps)).await;
        idle().await;
        drop((promise, pipelined));
    }
);

fault!(
    a_return_to_a_call_that_was_canceled_comes_twice,
    Shows::Nothing,
    async |stage| {
        let (mut peer, theirs) = stage.connect().await;
        drop(echo(&*theirs.hook, None));
        let asked = peer.called().await;
        peer.say(returns(asked.question, [Cap::Hosted(7)])).await;
        peer.say(returns(asked.question, []).outcome(Outcome::TakeFromOtherQuestion(3)))
            .await;
        idle().await;
    }
);

fault!(
    disembargoes_that_nobody_asked_for,
    Shows::Nothing,
    async |stage| {
        let contexts = [
            Context::SenderLoopback(3),
            Context::ReceiverLoopback(3),
            Context::Accept,
            Context::Provide(3),
        ];
        let targets = [
            BOOTSTRAP,
            Target::Cap(9),
            Target::Answer(0, vec![]),
            Target::Answer(5, vec![1]),
        ];
        for context in contexts {
            for target in &targets {
                let (mut peer, _) = stage.serve().await;
                peer.say(disembargo(target.clone(), context)).await;
                idle().await;
            }
        }
    }
);

// The promise that it is for has two references, of which one came as an object's.
fault!(
    a_disembargo_for_a_promise_that_is_an_object_too,
    Shows::Nothing,
    async |stage| {
        for caps in [
            [Cap::Promise(1), Cap::Hosted(1)],
            [Cap::Hosted(1), Cap::Promise(1)],
        ] {
            for dropped in [false, true] {
                let (mut peer, _) = stage.serve().await;
                peer.say(call(1, BOOTSTRAP, method::ECHO).with(caps.clone()))
                    .await;
                peer.say(call(2, BOOTSTRAP, method::ECHO).with(caps[1..].to_vec()))
                    .await;
                if dropped {
                    peer.say(finish(2)).await;
                }
                for at in [0, 1] {
                    let target = Target::Answer(1, vec![at]);
                    peer.say(disembargo(target, Context::SenderLoopback(3)))
                        .await;
                    peer.say(disembargo(
                        Target::Answer(2, vec![0]),
                        Context::SenderLoopback(4),
                    ))
                    .await;
                }
                idle().await;
            }
        }
    }
);

fault!(
    messages_of_levels_that_are_not_there,
    Shows::Nothing,
    async |stage| {
        let messages = [
            Message::Provide {
                question: 1,
                target: BOOTSTRAP,
            },
            Message::Accept { question: 1 },
            Message::Join {
                question: 1,
                target: BOOTSTRAP,
            },
            Message::ObsoleteSave,
            Message::ObsoleteDelete,
        ];
        for message in messages {
            let (mut peer, _) = stage.serve().await;
            peer.say(message.clone()).await;
            peer.expect(unimplemented(message)).await;
        }
    }
);

fault!(ids_that_nobody_has, Shows::Nothing, async |stage| {
    let messages: Vec<Message> = vec![
        call(1, Target::Cap(7), method::ECHO).into(),
        call(1, Target::Answer(7, vec![]), method::ECHO).into(),
        call(1, BOOTSTRAP, method::ECHO)
            .with([Cap::Yours(7)])
            .into(),
        call(1, BOOTSTRAP, method::ECHO)
            .with([Cap::Answer(7, vec![0])])
            .into(),
        call(1, BOOTSTRAP, method::ECHO)
            .with([Cap::ThirdParty(7)])
            .into(),
        call(0, BOOTSTRAP, method::ECHO).into(),
        returns(7, []).into(),
        finish(7),
        resolve(7, Cap::Hosted(7)),
        resolve(7, Cap::None),
        release(7, 1),
        release(0, 2),
        release(0, u32::MAX),
        unimplemented(resolve(7, Cap::Hosted(7))),
        unimplemented(call(7, BOOTSTRAP, method::ECHO)),
    ];
    for message in messages {
        let (mut peer, _) = stage.serve().await;
        peer.say(message).await;
        idle().await;
    }
});
