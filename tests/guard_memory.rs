//! What the guard takes for each capability that is alive: of this side's, and of the peer's.
//!
//! In a process of its own: the global allocator counts for all threads.

use capspan::guard::Connection;
use capspan_testkit::link::{End, direct, plain_server};
use capspan_testkit::membrane::run;
use capspan_testkit::memory::{COUNTING, Counting, alive};
use capspan_testkit::wire_peer::{Cap, Message, Peer, Service, Target, call, method};
use tokio::task::spawn_local;

#[global_allocator]
static ALLOCATOR: Counting = COUNTING;

const MANY: u32 = 10_000;

/// At most. Tables double when they grow, so less than that is what they keep on average.
const BYTES_EACH: usize = 96;

/// As many as a message may bring.
const A_MESSAGE: u32 = 1_000;

#[derive(Clone, Copy, Debug)]
enum Whose {
    Ours,
    Theirs,
}

/// How many bytes more are alive when the peer has `MANY` of ours, or we have as many of its.
fn kept(whose: Whose, serve: fn(End, &Service)) -> usize {
    let mut kept = 0;
    run(async {
        let (client, server) = direct();
        let service = Service::new();
        serve(server, &service);
        let mut peer = Peer::new(client);
        let bootstrap = Target::Cap(peer.bootstrap().await);
        let before = alive();
        match whose {
            Whose::Ours => {
                for at in 1..=MANY {
                    peer.say(call(1, bootstrap.clone(), method::MAKE)).await;
                    let ids = peer.returned(1).await;
                    assert_eq!(ids.caps().len(), 1, "object {at}");
                    peer.say(Message::Finish {
                        question: 1,
                        release_result_caps: false,
                    })
                    .await;
                }
            }
            Whose::Theirs => {
                for at in 1..=MANY / A_MESSAGE {
                    let ids = at * A_MESSAGE..(at + 1) * A_MESSAGE;
                    let passes = call(at, bootstrap.clone(), method::NEVER);
                    peer.say(passes.with(ids.map(Cap::Hosted))).await;
                }
            }
        }
        // What was said last has arrived when this is answered.
        peer.say(call(0x1000, bootstrap, method::TEXT)).await;
        peer.returned(0x1000).await;
        kept = alive() - before;
    });
    kept
}

fn plain(end: End, service: &Service) {
    plain_server(end, service.object());
}

fn guarded(end: End, service: &Service) {
    let (_, driver) = Connection::serve(end.0, end.1, |_| service.object());
    spawn_local(driver);
}

#[test]
fn a_live_capability_takes_little() {
    for whose in [Whose::Ours, Whose::Theirs] {
        let [without, with] = [plain, guarded].map(|serve| kept(whose, serve));
        let each = with.saturating_sub(without) / MANY as usize;
        println!(
            "{whose:?}: {each} bytes a capability; {} without",
            without / MANY as usize
        );
        assert!(each <= BYTES_EACH, "{whose:?}: {each} bytes a capability");
        assert!(with > without, "{whose:?}: the ledger keeps something");
    }
}
