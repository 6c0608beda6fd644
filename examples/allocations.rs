//! Counts how often each row of `ratios` allocates more than the same exchange without us, and how many
//! bytes: exactly, and as JSON. It is a program of its own because counting makes each allocation slower.

use capnp::Error;
use capspan_testkit::exchange::{Exchange, Row, allocations};
use capspan_testkit::memory::{COUNTING, Counting};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: Counting = COUNTING;

fn main() -> Result<(), Error> {
    let (mut times, mut bytes) = (json!({}), json!({}));
    for row in Row::ALL {
        let bare = allocations(row, Exchange::bare)?;
        let ours = allocations(row, Exchange::ours)?;
        put(&mut times, row, ours.0 - bare.0);
        put(&mut bytes, row, ours.1 - bare.1);
    }
    println!(
        "{}",
        json!({"allocations_added": times, "bytes_added": bytes})
    );
    Ok(())
}

fn put(report: &mut Value, row: Row, number: i64) {
    let mut place = report;
    for name in row.path() {
        place = &mut place[*name];
    }
    *place = json!(number);
}
