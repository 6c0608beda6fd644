//! A hostile peer: RPC messages that a script makes up as it goes, most of them legal, against a service, or as the
//! server of a client of ours. See `capspan_testkit::rpc_wire`.
//!
//! Nothing panics, the event loop comes to rest, a correct peer is refused nothing, nothing is left when the
//! connection is over, neither objects nor memory, and a connection between honest sides still works.

#![no_main]

use std::sync::Once;

use capspan_testkit::memory::{self, COUNTING, Counting};
use capspan_testkit::rpc_wire::{Script, run};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static ALLOCATOR: Counting = COUNTING;

/// Whatever is made once and kept is made before anything is counted.
static FIRST: Once = Once::new();

fuzz_target!(|input: &[u8]| {
    let Some(script) = Script::decode(input) else {
        return;
    };
    FIRST.call_once(|| drop(run(&script)));
    let kept = || {
        let before = memory::alive();
        drop(run(&script));
        memory::alive() as isize - before as isize
    };
    // What is made once and kept may be made by any run. One that leaks does so each time.
    if kept() != 0 {
        assert_eq!(kept(), 0, "memory that is left");
    }
});
