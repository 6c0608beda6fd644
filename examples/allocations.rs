//! Counts how often each row of `ratios` allocates more than the same exchange without us, and how many
//! bytes: exactly, and as JSON. It is a program of its own because counting makes each allocation slower.

use capnp::Error;
use capspan_testkit::exchange::{Exchange, Loop, Row};
use capspan_testkit::memory::{Allocated, COUNTING, Counting, allocated};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: Counting = COUNTING;

const TIMES: usize = 64;

fn main() -> Result<(), Error> {
    let (mut times, mut bytes) = (json!({}), json!({}));
    for row in Row::ALL {
        let bare = count(row, Exchange::bare)?;
        let ours = count(row, Exchange::ours)?;
        put(&mut times, row, ours.0 - bare.0);
        put(&mut bytes, row, ours.1 - bare.1);
    }
    println!(
        "{}",
        json!({"allocations_added": times, "bytes_added": bytes})
    );
    Ok(())
}

/// How often one exchange allocates, and how many bytes. What happens now and then, as a table that
/// grows, is left out by rounding.
fn count(row: Row, set_up: fn(Row) -> Exchange) -> Result<(i64, i64), Error> {
    let event_loop = Loop::new();
    let exchange = event_loop.run(async { set_up(row) });
    event_loop.run(exchange.run(TIMES))?;
    let (result, once) = allocated(|| event_loop.run(exchange.run(TIMES)));
    result?;
    let (result, thrice) = allocated(|| event_loop.run(exchange.run(3 * TIMES)));
    result?;
    let per_exchange = |of: fn(&Allocated) -> usize| {
        ((of(&thrice) as f64 - of(&once) as f64) / (2 * TIMES) as f64).round() as i64
    };
    Ok((per_exchange(|a| a.times), per_exchange(|a| a.bytes)))
}

fn put(report: &mut Value, row: Row, number: i64) {
    let mut place = report;
    for name in row.path() {
        place = &mut place[*name];
    }
    *place = json!(number);
}
