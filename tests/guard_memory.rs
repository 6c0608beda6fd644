//! What the guard takes for each capability that is alive, of this side's and of the peer's; and that a peer has no
//! more memory of this side's than is counted.
//!
//! In a process of its own: the global allocator counts for all threads.

use std::cell::RefCell;
use std::sync::{Mutex, MutexGuard, PoisonError};

use capnp::capability::{Client, FromClientHook, Promise};
use capspan::guard::{Breach, Connection, Guard};
use capspan_testkit::link::{End, direct, plain_server};
use capspan_testkit::membrane::raw::object;
use capspan_testkit::membrane::{idle, run};
use capspan_testkit::memory::{COUNTING, Counting, alive};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::wire_peer::{
    Cap, Content, Message, Peer, Service, Target, call, echo, finish, method, release, resolve,
};
use tokio::task::{spawn_local, yield_now};

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

/// One test at a time: what they take is counted together.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_live_capability_takes_little() {
    let _alone = alone();
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

const BOOTSTRAP: Target = Target::Cap(0);

/// A guarded service, and its peer, which has its bootstrap object.
async fn served(object: Client) -> (Peer, Guard) {
    let (client, server) = direct();
    let (connection, driver) = Connection::serve(server.0, server.1, |_| object);
    spawn_local(driver);
    let guard = connection.guard().clone();
    let mut peer = Peer::new(client);
    assert_eq!(peer.bootstrap().await, 0);
    (peer, guard)
}

/// A call whose results stay here, with so many pointers to its one capability: `capnp-rpc` gets a copy, whose table has
/// a place for each.
fn many_pointers(count: usize) -> Message {
    let message = call(2, BOOTSTRAP, method::NEVER)
        .with([Cap::Hosted(5)])
        .content(Content::List(vec![Content::Cap(0); count]))
        .to_yourself();
    Message::Raw(Message::from(message).to_bytes())
}

#[test]
fn a_message_with_many_pointers_to_one_capability_takes_what_it_counts() {
    let _alone = alone();
    run(async {
        let service = Service::new();
        let (mut peer, guard) = served(service.object()).await;
        let message = many_pointers(16_000);
        idle().await;
        let (before, of_others) = (alive(), guard.usage().call_bytes);
        peer.say(message).await;
        idle().await;
        let counted = (guard.usage().call_bytes - of_others) as usize;
        let after = alive() - before;
        println!("{counted} bytes counted, {after} for as long as it runs");
        assert_eq!((guard.refused(), guard.usage().calls), (0, 1));
        assert!(after < counted);
        peer.say(finish(2)).await;
        idle().await;
        assert_eq!(guard.usage().call_bytes, of_others);
    });
}

#[test]
fn a_message_with_far_too_many_pointers_to_one_capability_is_the_end() {
    let _alone = alone();
    run(async {
        let service = Service::new();
        let (mut peer, guard) = served(service.object()).await;
        peer.say(many_pointers(100_000)).await;
        idle().await;
        assert_eq!(guard.count(Breach::CapabilitiesInMessage), 1);
        assert!(guard.ending().reason().is_some());
    });
}

/// A call gives back what another will bring, by a thousand ways. Something stands for each.
#[test]
fn a_message_that_gives_back_much_takes_what_it_counts() {
    let _alone = alone();
    run(async {
        let service = Service::new();
        let (mut peer, guard) = served(service.object()).await;
        peer.say(call(1, BOOTSTRAP, method::WAIT)).await;
        idle().await;
        let before = alive();
        let ways = (0..1_000).map(|field| Cap::Answer(1, vec![field]));
        peer.say(call(2, BOOTSTRAP, method::NEVER).with(ways)).await;
        let mut most = 0;
        for _ in 0..10_000 {
            most = most.max(alive() - before);
            yield_now().await;
        }
        let (after, counted) = (alive() - before, guard.usage().call_bytes as usize);
        println!("{counted} bytes counted, at most {most}, {after} for as long as it runs");
        // For a moment there are the messages that ask for them, too.
        assert!(2 * most < 3 * counted && after < counted);
        assert_eq!(guard.refused(), 0);
    });
}

/// Calls bring promises, which resolve to what is this side's own, so that they are no more among what this side has of
/// the peer's.
fn resolved(is_lost: bool) {
    run(async {
        let service = Service::new();
        let (mut peer, guard) = served(service.object()).await;
        let mut to = Cap::Yours(0);
        if is_lost {
            peer.say(call(1, BOOTSTRAP, method::PROMISE)).await;
            let [Cap::Promise(id)] = peer.returned(1).await.caps()[..] else {
                panic!("no promise");
            };
            peer.say(release(id, 1)).await;
            to = Cap::Answer(1, vec![0]);
        }
        idle().await;
        let before = alive();
        for question in 2..12 {
            let ids = question * A_MESSAGE..(question + 1) * A_MESSAGE;
            let promises = ids.clone().map(Cap::Promise);
            peer.say(call(question, BOOTSTRAP, method::NEVER).with(promises))
                .await;
            peer.say_all(ids.map(|id| resolve(id, to.clone()))).await;
            idle().await;
            peer.rest().await;
        }
        let (kept, usage) = (alive() - before, guard.usage());
        println!("{kept} bytes kept, {usage:?}");
        assert!(kept < usage.call_bytes as usize, "{kept} of {usage:?}");
        assert_eq!((usage.imports, guard.refused()), (0, 0));
    });
}

#[test]
fn promises_in_calls_that_resolve_take_what_they_count() {
    let _alone = alone();
    resolved(false);
    resolved(true);
}

/// A service returns over and over what a call of its own will bring, which the peer does not answer.
#[test]
fn what_a_call_will_bring_and_is_returned_takes_nothing_once_the_peer_has_done_with_it() {
    let _alone = alone();
    let kept = RefCell::new(None);
    let object = object(move |method, params, mut results| {
        let mut answer = || {
            if method == method::STORE {
                let content: thing::swap_params::Reader<'_> = params.get()?.get_as()?;
                let asked = echo(&*content.get_thing()?.into_client_hook(), None);
                let promised = asked.pipeline.get_pointer_field(0).as_cap();
                kept.replace(Some((asked, promised)));
                return Ok(());
            }
            let kept = kept.borrow();
            let promised = kept.as_ref().expect("it was called").1.add_ref();
            let mut content: thing::swap_results::Builder<'_> = results.get()?.init_as();
            content.set_thing(thing::Client::new(promised));
            Ok(())
        };
        answer().map_or_else(Promise::err, Promise::ok)
    });
    run(async {
        let (mut peer, guard) = served(object).await;
        let stores = call(1, BOOTSTRAP, method::STORE).with([Cap::Hosted(7)]);
        peer.say(stores).await;
        peer.returned(1).await;
        let mut before = 0;
        for round in 0..10_000 {
            if round == 1_000 {
                before = alive();
            }
            peer.say(call(2, BOOTSTRAP, method::STORED)).await;
            assert!(matches!(peer.returned(2).await.caps(), [Cap::Answer(..)]));
            peer.say(finish(2)).await;
        }
        let more = alive() - before;
        assert!(more < 10_000, "{more} bytes more");
        assert_eq!(guard.refused(), 0);
    });
}
