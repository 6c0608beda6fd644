//! Numbers that look random and are the same everywhere.

use crate::legal::MODULUS;

/// The generator splitmix64.
pub struct Random(u64);

impl Random {
    /// One that begins as `seed` says.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// All 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    /// One of the first `count` numbers.
    pub fn below(&mut self, count: u8) -> u8 {
        (self.next() % u64::from(count)) as u8
    }

    /// A value of a number.
    pub fn value(&mut self) -> u32 {
        (self.next() % u64::from(MODULUS)) as u32
    }

    /// Mostly a few turns, sometimes none, seldom many.
    pub fn turns(&mut self) -> u8 {
        match self.below(8) {
            0 | 1 => 0,
            2 => self.below(40),
            _ => self.below(6),
        }
    }
}
