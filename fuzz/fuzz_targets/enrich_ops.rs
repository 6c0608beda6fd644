//! Arbitrary enrichment of one span: by updates made of the input and by messages that are the input, in the
//! process and by way of somebody else's object, while its owner writes, ends it, and lets go of it; under
//! arbitrary rules for callees, with a redactor that enriches.
//!
//! The span is as a plain model has it after each step: what is on it, whose it is, every count, what came
//! late, what a flush says; and it is closed once.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if input.len() <= 2048 {
        capspan_testkit::enrichment::run(input);
    }
});
