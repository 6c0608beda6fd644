//! What an observer is told: whose peer it was, and nothing that the peer wrote.

use capspan::guard::{Breach, GuardLimits, GuardOptions};
use capspan_testkit::run::run;
use capspan_testkit::wire_peer::{
    Content, Fail, Message, Target, call, fails, method, resolve_to_error,
};

use super::setting::{NAME, Once, Scene};

const SECRET: &str = "a secret";

#[test]
fn a_refused_call_is_told_without_its_content() {
    run(async {
        let mut scene = Scene::new(GuardLimits::default().max_calls(1));
        scene.peer.bootstrap().await;
        for question in 1..3 {
            let call = call(question, Target::Cap(0), method::NEVER);
            scene
                .peer
                .say(call.content(Content::Text(SECRET.into())))
                .await;
        }
        let told_to_the_peer = scene.peer.returned(2).await;
        let told = scene.told.0.take();
        let [once] = &told[..] else {
            panic!("told {told:?}");
        };
        let text = "1 calls are in flight, which is the limit";
        assert_eq!(
            once,
            &Once {
                peer: NAME.into(),
                breach: Breach::CallsInFlight,
                text: text.into(),
                ends: false,
            }
        );
        assert_eq!(told_to_the_peer.exception().reason, text);
    });
}

#[test]
fn what_ends_a_connection_is_told_without_its_content() {
    let said: [(Message, Breach); 4] = [
        (
            call(1, Target::Cap(7), 0)
                .content(Content::Text(SECRET.into()))
                .into(),
            Breach::UnknownExport,
        ),
        (fails(7, SECRET).into(), Breach::ReturnNotOpen),
        (resolve_to_error(7, SECRET), Breach::ResolveNotOpen),
        (
            Message::Raw([b"\0\0\0\0\x02\0\0\0", &SECRET.as_bytes().repeat(2)[..]].concat()),
            Breach::Malformed,
        ),
    ];
    for (message, breach) in said {
        run(async move {
            let mut scene = Scene::new(GuardOptions::default());
            scene.peer.bootstrap().await;
            scene.peer.say(message).await;
            let text = scene.assert_cut(breach).await;
            assert!(!text.contains(SECRET), "{text}");
            let Fail { reason, .. } = scene.peer.aborted().await;
            assert!(reason.contains(&text), "{reason}");
        });
    }
}
