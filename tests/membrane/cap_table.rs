//! The property that the fuzz target of the same name looks for, over inputs that are the same each time.

use capnp::any_pointer;
use capnp::message::{AllocationStrategy, Builder, HeapAllocator};
use capnp::traits::ImbueMut;
use capspan_testkit::membrane::cap_table::cap_table;
use capspan_testkit::membrane::{World, bundle};

/// Enough for a test, and the same each time (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }
}

/// A bundle, as `cap_table` takes it, in segments of `segment` words: the smaller, the more far pointers.
fn honest(segment: u32) -> Vec<u8> {
    let allocator = HeapAllocator::new()
        .first_segment_words(segment)
        .allocation_strategy(AllocationStrategy::FixedSize);
    let mut message = Builder::new(allocator);
    let mut table = Vec::new();
    let mut root: any_pointer::Builder<'_> = message.init_root();
    root.imbue_mut(&mut table);
    let cap = World::new().probe("one of them");
    bundle::fill(root.init_as(), |_place| cap.clone()).unwrap();
    let segments = message.get_segments_for_output();
    input(0, table.len() as u8, &segments)
}

/// What `cap_table` takes.
fn input(options: u8, caps: u8, segments: &[&[u8]]) -> Vec<u8> {
    let mut input = vec![options, caps, segments.len() as u8 - 1];
    for segment in &segments[..segments.len() - 1] {
        input.extend((segment.len() as u16 / 8).to_le_bytes());
    }
    input.extend(segments.concat());
    input
}

#[test]
fn honest_messages_cross() {
    for segment in 5..100 {
        assert!(
            cap_table(&honest(segment)),
            "in segments of {segment} words"
        );
    }
}

#[test]
fn damaged_messages_cross_or_are_refused() {
    let mut random = Random(1);
    for round in 0..4_000 {
        let mut data = honest(1 + round % 80);
        for _ in 0..1 + random.below(6) {
            damage(&mut data, &mut random);
        }
        cap_table(&data);
    }
}

#[test]
fn noise_that_looks_like_pointers_crosses_or_is_refused() {
    let mut random = Random(2);
    for _ in 0..10_000 {
        let words = 1 + random.below(40);
        let mut data = vec![random.next() as u8, 3, random.below(3) as u8];
        data.extend([(words / 4) as u8, 0].repeat(data[2] as usize));
        for _ in 0..words {
            data.extend(pointer(&mut random).to_le_bytes());
        }
        cap_table(&data);
    }
}

/// Changes a byte or a word behind the header, or the options.
fn damage(data: &mut [u8], random: &mut Random) {
    let header = 3 + data[2] as usize * 2;
    let words = (data.len() - header) / 8;
    let at = header + random.below(words) * 8;
    match random.below(8) {
        0 => data[0] = random.next() as u8,
        1 => data[1] = random.next() as u8,
        2 => data[at + random.below(8)] = random.next() as u8,
        3 => data[at + random.below(8)] ^= 1 << random.below(8),
        4 => {
            let end = at + 8 * random.below(words);
            let to = header + random.below(words) * 8;
            let length = (end.min(data.len()) - at).min(data.len() - to);
            data.copy_within(at..at + length, to);
        }
        5 => {
            let from = header + random.below(words) * 8;
            data.copy_within(from..from + 8, at);
        }
        _ => data[at..at + 8].copy_from_slice(&pointer(random).to_le_bytes()),
    }
}

/// A word that may well be a pointer to something near.
fn pointer(random: &mut Random) -> u64 {
    let offset = random.below(24) as u64;
    let offset = if random.below(4) == 0 {
        offset.wrapping_sub(12)
    } else {
        offset
    };
    match random.below(8) {
        // A struct with few words and few pointers.
        0 | 1 => {
            let (data, pointers) = (random.below(3) as u64, random.below(5) as u64);
            (offset << 2) & 0xffff_fffc | data << 32 | pointers << 48
        }
        // A list, of pointers or structs more often than of others.
        2 | 3 => {
            let size = [6, 7, 6, 7, 6, 7, 0, 1, 2, 5][random.below(10)];
            1 | (offset << 2) & 0xffff_fffc | size << 32 | (random.below(12) as u64) << 35
        }
        // A far pointer, single or double.
        4 => {
            2 | (random.below(2) as u64) << 2
                | offset << 3 & 0xffff_ffff
                | (random.below(3) as u64) << 32
        }
        5 | 6 => 3 | (random.below(5) as u64) << 32,
        _ => random.next() >> random.below(64),
    }
}

/// A capability `depth` lists of pointers deep.
fn nested_lists(depth: u64) -> Vec<u8> {
    let mut words = vec![0x0000_000e_0000_0001_u64; depth as usize];
    words.push(3);
    let bytes: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
    // Option 1: the reader allows sixteen levels.
    input(1, 1, &[&bytes])
}

#[test]
fn lists_of_lists_cross_as_deep_as_they_can_be_read() {
    for depth in 1..=16 {
        assert!(cap_table(&nested_lists(depth)), "{depth} levels");
    }
    assert!(!cap_table(&nested_lists(17)));
}
