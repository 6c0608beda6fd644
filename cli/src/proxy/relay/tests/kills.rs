//! A client, a service or the proxy itself that goes at any moment, with calls of all kinds on their way.

use std::collections::BTreeMap;

use capspan::trace::Outcome;
use capspan_testkit::random::Random;
use capspan_testkit::run::run;
use tokio::task::{spawn_local, yield_now};

use super::setting::Setting;
use crate::proxy::event_loop::Phase;

/// Who goes, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kill {
    Client,
    Service,
    /// The connection, of which neither end has gone.
    Above,
    Below,
    /// The proxy is told to end, and again.
    Proxy,
}

/// How many exchanges the client makes, and about how many turns of the event loop they take.
const EXCHANGES: u64 = 100;
const TURNS: u32 = 150;

async fn kill(seed: u64) -> (Kill, Outcome) {
    let mut random = Random::new(seed);
    let setting = Setting::new(seed);
    let caller = setting.caller();
    let exchanges = spawn_local(async move {
        caller
            .attempts(seed * 1_000..seed * 1_000 + EXCHANGES)
            .await
    });
    let turns = random.value() % TURNS;
    for _ in 0..turns {
        yield_now().await;
    }
    let kill = match random.below(5) {
        0 => Kill::Client,
        1 => Kill::Service,
        2 => Kill::Above,
        3 => Kill::Below,
        _ => Kill::Proxy,
    };
    match kill {
        Kill::Client => setting.client.driver.abort(),
        Kill::Service => setting.service.driver.abort(),
        Kill::Above => setting.cutters[0].cut(),
        Kill::Below => setting.cutters[1].cut(),
        Kill::Proxy => {
            setting.phase.send(Phase::Ending).expect("it is there");
            setting.phase.send(Phase::Over).expect("it is there");
        }
    }
    if kill == Kill::Client {
        // What it waits for goes with it.
        exchanges.abort();
    } else {
        // Each call has an end.
        exchanges.await.expect("it does not panic");
    }
    (kill, setting.finish().await)
}

#[test]
fn whoever_is_killed_at_any_moment_leaves_no_span_and_no_object() {
    let mut seen = BTreeMap::<_, usize>::new();
    for seed in super::seeds(0..120) {
        eprintln!("seed {seed}");
        let (kill, outcome) = run(kill(seed));
        *seen.entry((kill, outcome.as_str())).or_default() += 1;
    }
    println!("{seen:?}");
    // Most come while something is on its way.
    let cut = seen.iter().filter(|((_, end), _)| *end != "ok");
    assert!(cut.map(|(_, count)| count).sum::<usize>() > 60);
}
