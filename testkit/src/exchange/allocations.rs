//! How much an exchange allocates.

use capnp::Error;

use super::{Exchange, Loop, Row};
use crate::memory::{Allocated, allocated};

const TIMES: usize = 64;

/// How often an exchange allocates, and how many bytes, where the counting allocator is the global one. What
/// happens now and then, as a table that grows, is left out by rounding.
///
/// # Errors
/// Those of the exchange.
pub fn allocations(row: Row, set_up: fn(Row) -> Exchange) -> Result<(i64, i64), Error> {
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
