//! Random programs, each run once by a client that is connected to the service, and once through a relay. Both give the
//! same, wherever the streams break.

use std::collections::BTreeMap;

use capspan::trace::Outcome;
use capspan_testkit::legal::{Told, run_program};
use capspan_testkit::run::{run, until_idle};

use super::setting::{Direct, Made, Setting, Side};

/// All that a client and a service know of a program that has run.
#[derive(Debug, PartialEq, Eq)]
struct Transcript {
    /// What each call has given, or how it has failed.
    calls: Vec<String>,
    /// How many objects of the client and of the service are alive when the program has let go of all.
    alive: (usize, usize),
    /// What became of the calls that are never answered, if somebody was told.
    unanswered: Vec<String>,
    /// What the client's objects were told, and the service's.
    told: (Told, Told),
}

impl Transcript {
    /// `capnp-rpc` says of an error that it was remote once for each connection that it came over, and forth and back. The
    /// relay takes back what it has added itself, and what others have.
    fn forget_how_remote(&mut self) {
        for outcome in self.calls.iter_mut().chain(&mut self.unanswered) {
            *outcome = outcome.replace("remote exception: ", "");
        }
    }
}

/// How the calls that are never answered end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    GivenUp,
    ClientLeaves,
    ServiceLeaves,
}

/// Runs a program. In the end the client or the service has left.
async fn transcript(seed: u64, end: End, client: &Side, service: &Side) -> Transcript {
    let (calls, unanswered) = run_program(client.served.clone(), &client.objects, seed).await;
    until_idle().await;
    client.assert_nothing_refused();
    service.assert_nothing_refused();
    let alive = (client.objects.live(), service.objects.live());
    let unanswered = match end {
        End::GivenUp => {
            unanswered.give_up();
            until_idle().await;
            client.driver.abort();
            Vec::new()
        }
        End::ClientLeaves => {
            client.driver.abort();
            until_idle().await;
            unanswered.outcomes().await
        }
        End::ServiceLeaves => {
            service.driver.abort();
            unanswered.outcomes().await
        }
    };
    until_idle().await;
    Transcript {
        calls,
        alive,
        unanswered,
        told: (client.objects.told(), service.objects.told()),
    }
}

async fn directly(made: Made, seed: u64, end: End, splits: u64) -> Transcript {
    let direct = Direct::of(made, splits);
    let transcript = transcript(seed, end, &direct.client, &direct.service).await;
    direct.finish().await;
    transcript
}

async fn through_a_relay(made: Made, seed: u64, end: End, splits: u64) -> (Transcript, Outcome) {
    let setting = Setting::of(made, splits);
    let transcript = transcript(seed, end, &setting.client, &setting.service).await;
    (transcript, setting.finish().await)
}

/// Runs each program both ways. Their transcripts are the same, and it is told how the session ended.
fn compare(made: Made, end: End) {
    let (mut programs, mut calls) = (0, 0);
    let mut failed = BTreeMap::<_, usize>::new();
    for seed in super::seeds(0..334) {
        // The three tests have programs of their own; and the streams of a program's two runs break at different places.
        let seed = 3 * seed + end as u64;
        let mut direct = run(directly(made, seed, end, 2 * seed));
        let (mut relayed, outcome) = run(through_a_relay(made, seed, end, 2 * seed + 1));
        if made == Made::Plain {
            direct.forget_how_remote();
            relayed.forget_how_remote();
        }
        assert_eq!(direct, relayed, "seed {}, {end:?}, {made:?}", seed / 3);
        let in_flight = match end {
            End::GivenUp => false,
            End::ClientLeaves => !direct.unanswered.is_empty(),
            End::ServiceLeaves => true,
        };
        let ended = match in_flight {
            false => Outcome::Ok,
            true => Outcome::Disconnected,
        };
        assert_eq!(outcome, ended, "seed {}, {end:?}, {made:?}", seed / 3);
        programs += 1;
        calls += direct.calls.len();
        for call in direct.calls.iter().chain(&direct.unanswered) {
            let kinds = ["Failed", "Overloaded", "Disconnected", "Unimplemented"];
            let is_of = |kind: &&str| call.contains(&format!("{kind}, "));
            if let Some(kind) = kinds.into_iter().find(is_of) {
                *failed.entry(kind).or_default() += 1;
            }
        }
    }
    println!("{programs} programs, {calls} calls, of which failed: {failed:?}");
    // The programs do something, most of that goes well, and there are errors of each kind.
    assert!(calls >= 12 * programs && failed.values().sum::<usize>() < calls / 3);
    assert!(programs < 100 || failed.len() == 4);
}

#[test]
fn a_program_that_gives_up_its_calls_gives_the_same_directly_and_through_a_relay() {
    compare(Made::Guarded, End::GivenUp);
}

#[test]
fn a_program_whose_client_leaves_gives_the_same_directly_and_through_a_relay() {
    compare(Made::Guarded, End::ClientLeaves);
}

#[test]
fn a_program_whose_service_leaves_gives_the_same_directly_and_through_a_relay() {
    compare(Made::Guarded, End::ServiceLeaves);
}

#[test]
fn a_plain_program_that_gives_up_its_calls_gives_the_same_directly_and_through_a_relay() {
    compare(Made::Plain, End::GivenUp);
}

#[test]
fn a_plain_program_whose_client_leaves_gives_the_same_directly_and_through_a_relay() {
    compare(Made::Plain, End::ClientLeaves);
}

#[test]
fn a_plain_program_whose_service_leaves_gives_the_same_directly_and_through_a_relay() {
    compare(Made::Plain, End::ServiceLeaves);
}
