//! Arbitrary operations on membranes, each held against a plain model: who can call whom and with what
//! result, what is complete, what is alive. See `capspan_testkit::membrane::model`.

#![no_main]

use capspan_testkit::membrane::model::{Sequence, Stage, check};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&stage, input)) = input.split_first() else {
        return;
    };
    let stage = Stage::ALL[stage as usize % Stage::ALL.len()];
    let sequence = Sequence::decode(input, stage);
    if let Err(fault) = check(&sequence) {
        panic!("{fault}: {sequence:#?}");
    }
});
