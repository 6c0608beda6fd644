//! Random legal exchanges between two vats, both guarded: 100,000. None is refused, each gives what it must, and nothing is
//! left. A failure names its seed.

use std::time::Duration;

use capspan::guard::Connection;
use capspan_testkit::legal::{Caller, Vat, assert_nothing_refused};
use capspan_testkit::link::{End, direct, link};
use capspan_testkit::run::run;
use tokio::task::spawn_local;

/// Exchanges over one connection.
const EACH: u64 = 1_000;

async fn exchanges(ends: (End, End), first: u64) {
    let (callers, callees) = (Vat::new(), Vat::new());
    let (server, driver) = Connection::serve(ends.1.0, ends.1.1, |_| callees.number(7).client);
    let server_driver = spawn_local(driver);
    let (client, client_driver) = Connection::connect(ends.0.0, ends.0.1);
    let client_driver = spawn_local(client_driver);
    let caller = Caller::new(client.bootstrap(), 7, callers.clone());
    caller.exchanges(first..first + EACH).await;
    assert_nothing_refused(&client);
    assert_nothing_refused(&server);
    drop((caller, client, server));
    // Calls that are never answered keep what they were given until the end.
    client_driver.abort();
    server_driver.await.expect("it does not panic").ok();
    assert_eq!(
        (callers.live(), callees.live()),
        (0, 0),
        "from seed {first}"
    );
}

#[test]
fn h1_legal_exchanges_are_not_refused() {
    for connection in 0..50 {
        run(exchanges(direct(), connection * EACH));
    }
}

#[test]
fn h1_legal_exchanges_over_a_distance_are_not_refused() {
    for connection in 50..100 {
        let latency = Duration::from_millis(connection % 7);
        run(async {
            let link = link(latency);
            exchanges((link.client, link.server), connection * EACH).await;
        });
    }
}
