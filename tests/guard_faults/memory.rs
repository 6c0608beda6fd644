//! Messages that cost more than they weigh.

use capspan_testkit::membrane::idle;
use capspan_testkit::memory::alive;
use capspan_testkit::wire_peer::{
    Cap, Content, Message, Target, call, echo, method, returns, swollen, unknown_and_alike,
};

use crate::harness::{Shows, Stage, fault};

const BOOTSTRAP: Target = Target::Cap(0);
const MANY: u32 = 8_000_000;
const MIB: usize = 1024 * 1024;

fault!(
    a_flood_of_calls_that_never_return,
    Shows::Wrong("all 200000"),
    async |stage| {
        let (mut peer, service) = stage.serve().await;
        let floods = (1..=200_000).map(|question| call(question, BOOTSTRAP, method::NEVER));
        let floods: Vec<Message> = floods.map(Message::from).collect();
        for part in floods.chunks(1000) {
            peer.say_all(part.iter().cloned()).await;
        }
        idle().await;
        if service.calls() == 200_000 {
            stage.wrong("all 200000 calls were taken");
        }
    }
);

/// How much more is alive than before when the peer has said this.
async fn weighs(stage: &Stage, target: Target, message: impl Fn(u32) -> Message) {
    let (mut peer, _) = stage.serve().await;
    peer.say(call(1, target, method::NEVER)).await;
    idle().await;
    let before = alive();
    for question in 2..6 {
        peer.say(message(question)).await;
    }
    idle().await;
    let more = alive().saturating_sub(before) / MIB;
    if more > 16 {
        stage.wrong(&format!("{more} MiB"));
    }
}

fault!(
    a_transform_of_8_million_steps,
    Shows::Wrong("MiB"),
    async |stage| {
        weighs(stage, BOOTSTRAP, |question| {
            let pipelined = Target::Answer(1, vec![0]);
            swollen(call(question, pipelined, method::ECHO), MANY)
        })
        .await;
    }
);

fault!(
    a_table_of_8_million_capabilities,
    Shows::Wrong("MiB"),
    async |stage| {
        weighs(stage, BOOTSTRAP, |question| {
            let many = call(question, BOOTSTRAP, method::NEVER).with([Cap::Hosted(1)]);
            swollen(many, MANY)
        })
        .await;
    }
);

fault!(
    a_return_with_a_table_of_8_million_capabilities,
    Shows::Wrong("MiB"),
    async |stage| {
        let (mut peer, theirs) = stage.connect().await;
        let promise = echo(&*theirs.hook, None);
        let asked = peer.called().await;
        let before = alive();
        peer.say(swollen(returns(asked.question, [Cap::Hosted(1)]), MANY))
            .await;
        let response = promise.promise.await;
        let more = alive().saturating_sub(before) / MIB;
        if more > 16 {
            stage.wrong(&format!("{more} MiB"));
        }
        drop(response);
    }
);

// 72 KiB, in which one text of 64 KiB is 1,000 times: what is not understood is sent back, with 1,000 texts.
fault!(
    an_unknown_message_that_is_sent_back,
    Shows::Wrong("MiB"),
    async |stage| {
        let (mut peer, _) = stage.serve().await;
        let mut content = vec![Content::Null; 1000];
        content[0] = Content::Text("x".repeat(64 * 1024));
        let call = call(1, BOOTSTRAP, method::ECHO).content(Content::List(content));
        let before = alive();
        peer.say(unknown_and_alike(call)).await;
        idle().await;
        let more = alive().saturating_sub(before) / MIB;
        if more > 16 {
            stage.wrong(&format!("{more} MiB"));
        }
    }
);
