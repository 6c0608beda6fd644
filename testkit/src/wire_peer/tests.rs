//! What is written is read as the same.

use capnp::message::ReaderOptions;
use capnp::serialize;

use super::*;

fn read(message: &Message) -> Message {
    let bytes = message.to_bytes();
    let reader = serialize::read_message(&bytes[..], ReaderOptions::new());
    Message::read(&reader.expect("a message"))
}

#[test]
fn each_message_is_heard_as_it_was_said() {
    let all_caps = [
        Cap::None,
        Cap::Hosted(1),
        Cap::Promise(2),
        Cap::Yours(3),
        Cap::Answer(4, vec![5, 0]),
        Cap::ThirdParty(6),
    ];
    let content = Content::Struct(vec![
        Content::Text("text".into()),
        Content::List(vec![Content::Cap(5), Content::Null, Content::Cap(0)]),
        Content::Struct(vec![]),
    ]);
    let answer = Target::Answer(1, vec![2, 3]);
    let messages: Vec<Message> = vec![
        bootstrap(3),
        call(1, Target::Cap(2), method::ECHO)
            .with(all_caps.clone())
            .into(),
        call(1, answer.clone(), 7)
            .with(all_caps.clone())
            .content(content.clone())
            .to_yourself()
            .into(),
        returns(1, []).content(Content::Null).into(),
        returns(1, all_caps).content(Content::Cap(1)).into(),
        fails(1, "why").into(),
        returns(1, []).outcome(Outcome::Canceled).into(),
        returns(1, []).outcome(Outcome::ResultsSentElsewhere).into(),
        returns(1, [])
            .outcome(Outcome::TakeFromOtherQuestion(9))
            .into(),
        returns(1, []).outcome(Outcome::AcceptFromThirdParty).into(),
        finish(4),
        resolve(1, Cap::Promise(1)),
        resolve_to_error(1, "why"),
        release(1, 2),
        disembargo(answer.clone(), Context::SenderLoopback(1)),
        disembargo(Target::Cap(0), Context::ReceiverLoopback(1)),
        disembargo(Target::Cap(0), Context::Accept),
        disembargo(Target::Cap(0), Context::Provide(1)),
        Message::Provide {
            question: 1,
            target: answer,
        },
        Message::Accept { question: 1 },
        Message::Join {
            question: 1,
            target: Target::Cap(0),
        },
        Message::ObsoleteSave,
        Message::ObsoleteDelete,
        unimplemented(resolve(1, Cap::Hosted(1))),
        abort("why"),
    ];
    for message in messages {
        assert_eq!(read(&message), message);
    }
}

#[test]
fn a_swollen_list_takes_no_room() {
    let plain = call(1, Target::Answer(0, vec![1]), method::ECHO);
    let swollen = swollen(plain.clone(), 8_000_000);
    assert_eq!(
        swollen.to_bytes().len(),
        Message::from(plain).to_bytes().len()
    );
    let bytes = swollen.to_bytes();
    let reader = serialize::read_message(&bytes[..], ReaderOptions::new()).expect("a message");
    let message: capnp_rpc::rpc_capnp::message::Reader<'_> = reader.get_root().expect("a root");
    let Ok(capnp_rpc::rpc_capnp::message::Call(Ok(call))) = message.which() else {
        panic!("no call");
    };
    let Ok(capnp_rpc::rpc_capnp::message_target::PromisedAnswer(Ok(answer))) =
        call.get_target().expect("a target").which()
    else {
        panic!("no answer");
    };
    assert_eq!(answer.get_transform().expect("a list").len(), 8_000_000);
}
