//! Messages that can't be read, or that not everybody has to understand.

use capspan::guard::Breach;
use capspan_testkit::wire_peer::{
    Cap, Fail, Message, call, disembargo, finish, method, release, resolve, unimplemented,
};

use crate::harness::{BOOTSTRAP, served};

/// A frame of one segment.
fn framed(words: &[u64]) -> Message {
    let mut bytes = vec![0; 4];
    bytes.extend((words.len() as u32).to_le_bytes());
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    Message::Raw(bytes)
}

/// A pointer to a struct of one word of data and one pointer, right behind it.
const MESSAGE: u64 = 1 << 32 | 1 << 48;

#[test]
fn a_message_whose_root_is_no_struct() {
    served(async |on| {
        on.peer.say(framed(&[0xffff_ffff_ffff_ffff])).await;
        on.is_cut(Breach::Malformed, 0).await;
    });
}

#[test]
fn a_message_whose_content_is_out_of_bounds() {
    // `Call`, and a pointer to a struct far beyond the end.
    served(async |on| {
        on.peer
            .say(framed(&[MESSAGE, 2, 1000 << 2 | 1 << 32]))
            .await;
        on.is_cut(Breach::Malformed, 0).await;
    });
}

#[test]
fn a_message_of_a_kind_that_is_newer() {
    served(async |on| {
        on.peer.say(framed(&[MESSAGE, 999, 0])).await;
        on.peer
            .find(|message| matches!(message, Message::Strange(_)))
            .await;
        on.is_legal().await;
    });
}

#[test]
fn a_call_with_an_answer_down_a_way_of_a_newer_kind() {
    // The kind of a step is the first half word of its data.
    served(async |on| {
        let swollen = capspan_testkit::wire_peer::swollen(
            call(
                1,
                capspan_testkit::wire_peer::Target::Answer(0, vec![1]),
                method::ECHO,
            ),
            8_000_000,
        );
        on.peer.say(swollen).await;
        on.is_cut(Breach::PipelineDepth, 0).await;
    });
}

#[test]
fn messages_between_three_parties_are_not_understood() {
    served(async |on| {
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
            on.peer.say(message.clone()).await;
            on.peer.expect(unimplemented(message)).await;
        }
        on.is_legal().await;
    });
}

#[test]
fn a_call_that_the_peer_does_not_understand() {
    served(async |on| {
        on.peer
            .say(unimplemented(call(1, BOOTSTRAP, method::ECHO)))
            .await;
        on.is_cut(Breach::Unimplemented, 0).await;
    });
}

#[test]
fn other_messages_that_the_peer_does_not_understand() {
    for message in [
        finish(1),
        release(1, 1),
        disembargo(BOOTSTRAP, capspan_testkit::wire_peer::Context::Accept),
        unimplemented(finish(1)),
    ] {
        served(async |on| {
            on.peer.say(unimplemented(message)).await;
            on.is_cut(Breach::Unimplemented, 0).await;
        });
    }
}

#[test]
fn a_resolution_that_the_peer_does_not_understand() {
    served(async |on| {
        let promise = on.get(1, method::PROMISE).await;
        on.call_with(2, method::FULFIL, [Cap::Yours(0)]).await;
        let resolved = on
            .peer
            .find(|message| matches!(message, Message::Resolve { .. }))
            .await;
        assert_eq!(resolved, resolve(promise, Cap::Hosted(0)));
        on.peer.say(unimplemented(resolved)).await;
        on.is_legal().await;
    });
}

#[test]
fn a_resolution_that_the_peer_does_not_understand_of_what_it_has_not_got() {
    served(async |on| {
        on.peer.say(unimplemented(resolve(9, Cap::Hosted(9)))).await;
        on.is_cut(Breach::ReleaseBelowZero, 0).await;
    });
}

#[test]
fn the_peer_gives_up() {
    served(async |on| {
        on.peer.say(Message::Abort(Fail::new("it is late"))).await;
        on.peer.ended().await;
        assert_eq!(on.guard.refused(), 0);
        let reason = on.guard.ending().reason().expect("it has ended");
        assert!(reason.to_string().contains("it is late"), "{reason}");
    });
}
