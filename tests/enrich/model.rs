//! Random enrichment of a span, against a plain model: E1, E3, E5, E6. The fuzz target `enrich_ops` does the
//! same with what it finds.

/// Numbers that look random and are the same each time (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[test]
fn a_span_is_as_the_model_has_it_whatever_is_written_by_whom() {
    let mut numbers = Numbers(4);
    for _ in 0..10_000 {
        let length = numbers.next() % 200;
        let mut input: Vec<u8> = (0..length).map(|_| numbers.next() as u8).collect();
        if let Some(rules) = input.first_mut()
            && numbers.next().is_multiple_of(2)
        {
            // By the default rules.
            *rules = 0;
        }
        capspan_testkit::enrichment::run(&input);
    }
}
