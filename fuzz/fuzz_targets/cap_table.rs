//! Arbitrary messages through a membrane: what the other side reads is what a plain deep copy has, with
//! a wrapper in the place of each capability, or both refuse. See `capspan_testkit::membrane::cap_table`.

#![no_main]

use capspan_testkit::membrane::cap_table::cap_table;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    cap_table(input);
});
