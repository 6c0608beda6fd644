//! A thousand hostile connections on one thread, and one honest one: that has its turn as often as if it were
//! alone, and what all of them take together is bounded.
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

const MIB: usize = 1 << 20;

/// How many turns of the event loop a call takes: the most of a hundred.
async fn turns_of_a_call(object: &Client, turns: &Rc<Cell<u64>>) -> u64 {
    let (object, turns) = (object.clone(), turns.clone());
    // A task as all others are, so that it has its turn as they have theirs.
    let calls = spawn_local(async move {
        let mut most = 0;
        for _ in 0..100 {
            let before = turns.get();
            let call = object.hook.new_call(0, method::ECHO, None).send();
            call.promise.await.expect("an answer");
            most = most.max(turns.get() - before);
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
        let alone = turns_of_a_call(&honest, &turns).await;
        let before = alive();
        let options = GuardOptions::default()
            .budget(&Budget::new())
            .timer(PausedTime);
        let crowd = Crowd::new(MANY, ROUNDS, &options);
        let peak = Rc::new(Cell::new(0));
        let highest = peak.clone();
        spawn_local(poll_fn(move |cx| {
            highest.set(highest.get().max(alive() - before));
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
        let among = turns_of_a_call(&honest, &turns).await;
        let peak = peak.get();
        println!(
            "{alone} turns alone, {among} among {MANY}; {} MiB",
            peak / MIB
        );
        println!("{} ended; {:?}", crowd.ended(), crowd.refused());
        assert!(among <= 2 * alone, "{among} turns, and {alone} alone");
        assert!(peak <= 512 * MIB, "{} MiB", peak / MIB);
        assert_eq!(client.guard().refused(), 0);
    });
}
