//! Arbitrary operations on membranes, each held against a plain model: who can call whom and with what
//! result, what is complete, what is alive. See `capspan_testkit::membrane::model`.

#![no_main]

use capspan_testkit::membrane::model::{Sequence, Stage, check};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let sequence = Sequence::decode(input, Stage::ALL);
    if let Err(fault) = check(&sequence) {
        panic!("{fault}: {sequence:#?}");
    }
});
