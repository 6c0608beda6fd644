//! Random legal exchanges between two peers, one of which may be a program in another language.
//!
//! `schema/legal.capnp` says what they are made of. Here are both sides in Rust: a [`Vat`] of numbers, which any caller
//! may call; and a [`Caller`] that makes exchanges, many at a time, and knows what each must give. What it leaves out is
//! what `capnp-rpc` 0.27.3 can't do, whatever is in front of it (docs/architecture.md, "Known limits").
//!
//! [`run_program`] runs a whole program of calls, of which it knows nothing but that they give the same each time: so the
//! same program may be run in two places, and what it gave, and what the objects were [`Told`], be compared.

/// A call that is under way: its future and what is pipelined on it.
macro_rules! send {
    ($on:expr, $method:ident $(, $set:ident($value:expr))*) => {{
        #[allow(unused_mut)]
        let mut request = $on.$method();
        $(request.get().$set($value);)*
        request.send()
    }};
}

mod caller;
mod kinds;
mod number;
mod program;
mod steps;
mod told;

use capspan::guard::{Breach, Connection};

pub use caller::Caller;
pub use number::{Vat, forwarded};
pub use program::{Unanswered, run_program};
pub use told::Told;

/// What all is counted modulo.
pub const MODULUS: u32 = 1_000_003;

/// How many exchanges are under way at a time.
pub const LANES: usize = 32;

/// No legal message is refused.
///
/// # Panics
///
/// Where one was.
pub fn assert_nothing_refused(connection: &Connection) {
    let guard = connection.guard();
    let counts = Breach::ALL
        .iter()
        .map(|breach| (breach.name(), guard.count(*breach)));
    let refused: Vec<_> = counts.filter(|(_, count)| *count > 0).collect();
    assert!(refused.is_empty(), "{refused:?}, {:?}", connection.ending());
    assert_eq!(guard.refused(), 0);
}

/// Lets others go on, so often.
async fn turns(count: u8) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}
