//! The known faults of `capnp-rpc` 0.27.3: each is shown on the bare library, and then that it is not there
//! behind the guard. `docs/upstream.md` says of each where it is and how it could be mended.
//!
//! Each exchange is played in a process of its own, as some end the process or keep it busy for ever.

mod circles;
mod hangs;
mod harness;
mod leaks;
mod memory;
mod pipelines;
mod queues;
mod spins;
mod stacks;
mod tables;

use capspan_testkit::memory::{COUNTING, Counting};

/// How much memory an exchange takes is asked in the child, where there is nothing else.
#[global_allocator]
static ALLOCATOR: Counting = COUNTING;
