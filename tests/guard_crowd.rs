//! A thousand hostile connections on one thread, and one honest one: that has its turn as often as if it were
//! alone, hardly a message of theirs in it, and what all of them take together is bounded.
//!
//! In a process of its own: the global allocator counts for all threads.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use capnp::capability::Client;
use capspan::guard::{Budget, GuardOptions};
use capspan_testkit::crowd::Crowd;
use capspan_testkit::link::direct;
use capspan_testkit::memory::{COUNTING, Counting, alive};
use capspan_testkit::run::{PausedTime, run};
use capspan_testkit::wire_peer::{Service, method};
use tokio::task::spawn_local;

#[global_allocator]
static ALLOCATOR: Counting = COUNTING;

const MANY: usize = 1_000;

/// What each of them does, it does so often.
const ROUNDS: u32 = 1_100;

/// How many calls of theirs are begun or refused in the time of an honest one, all in all, when they are known to
/// be always behind.
const MAX_OF_OTHERS: u64 = 1;

const MIB: usize = 1 << 20;

/// How many calls are made.
const CALLS: u64 = 100;

/// How many turns of the event loop a call takes, the most of all; and by how much `others` grows meanwhile.
async fn of_a_call(
    object: &Client,
    turns: &Rc<Cell<u64>>,
    others: impl Fn() -> u64 + 'static,
) -> (u64, u64) {
    let (object, turns) = (object.clone(), turns.clone());
    // A task as all others are, so that it has its turn as they have theirs.
    let calls = spawn_local(async move {
        let mut most = (0, 0);
        for _ in 0..CALLS {
            let before = (turns.get(), others());
            let call = object.hook.new_call(0, method::ECHO, None).send();
            call.promise.await.expect("an answer");
            most.0 = most.0.max(turns.get() - before.0);
            most.1 += others() - before.1;
        }
        most
    });
    calls.await.expect("no panic")
}

#[test]
fn an_honest_call_among_a_thousand_hostile_connections() {
    run(async {
        let turns = Rc::new(Cell::new(0));
        let counted = turns.clone();
        // It has its turn again when all others that have something to do have had theirs.
        spawn_local(poll_fn(move |cx| {
            counted.set(counted.get() + 1);
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
        let (client, server) = direct();
        let (client, _server) =
            capspan_testkit::link::watched((client, server), |_| Service::new().object());
        let honest: Client = client.bootstrap();
        let (alone, _) = of_a_call(&honest, &turns, || 0).await;
        let before = alive();
        let options = GuardOptions::default()
            .budget(&Budget::new())
            .timer(PausedTime);
        let crowd = Rc::new(Crowd::new(MANY, ROUNDS, &options));
        let peak = Rc::new(Cell::new(0));
        let highest = peak.clone();
        spawn_local(poll_fn(move |cx| {
            highest.set(highest.get().max(alive() - before));
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
        let calls = crowd.clone();
        let (among, _) = of_a_call(&honest, &turns, move || calls.calls()).await;
        let calls = crowd.clone();
        let (later, of_others) = of_a_call(&honest, &turns, move || calls.calls()).await;
        let peak = peak.get();
        println!(
            "{alone} turns alone, {among} and {later} among {MANY}, {of_others} calls of theirs in {CALLS}; {} MiB",
            peak / MIB
        );
        println!("{} ended; {:?}", crowd.ended(), crowd.refused());
        let among = among.max(later);
        assert!(among <= 2 * alone, "{among} turns, and {alone} alone");
        assert!(
            of_others <= MAX_OF_OTHERS * CALLS,
            "{of_others} calls of others"
        );
        assert!(peak <= 512 * MIB, "{} MiB", peak / MIB);
        assert_eq!(client.guard().refused(), 0);
    });
}
