//! Ids of traces and spans, and where they come from.

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU64;
use std::rc::Rc;
use std::str::FromStr;

use crate::{Error, Result};

/// Names one trace: 128 bits, never zero.
///
/// Prints as 32 lower-case hexadecimal digits, and parses from exactly that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId {
    // In halves, because a `u128` wants to lie at multiples of 16, and wherever there is a trace id there
    // are smaller things beside it. Not both are zero.
    high: u64,
    low: u64,
}

impl TraceId {
    /// The id with this number; `None` for zero.
    pub const fn from_u128(id: u128) -> Option<Self> {
        Self::from_halves((id >> 64) as u64, id as u64)
    }

    /// The id whose first eight bytes are `high` and whose last are `low`; `None` for zero.
    pub const fn from_halves(high: u64, low: u64) -> Option<Self> {
        match (high, low) {
            (0, 0) => None,
            (high, low) => Some(Self { high, low }),
        }
    }

    /// The id as a number, never zero.
    pub const fn to_u128(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }

    /// The first eight bytes, as a big-endian number.
    pub const fn high(self) -> u64 {
        self.high
    }

    /// The last eight bytes, as a big-endian number.
    pub const fn low(self) -> u64 {
        self.low
    }
}

/// Names one span in a trace: 64 bits, never zero.
///
/// Prints as 16 lower-case hexadecimal digits, and parses from exactly that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(NonZeroU64);

impl SpanId {
    /// The id with this number; `None` for zero.
    pub const fn from_u64(id: u64) -> Option<Self> {
        match NonZeroU64::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The id as a number, never zero.
    pub const fn to_u64(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.to_u128())
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpanId({self})")
    }
}

impl FromStr for TraceId {
    type Err = Error;

    /// # Errors
    /// A peer's fault unless `text` is 32 lower-case hexadecimal digits, not all zero.
    fn from_str(text: &str) -> Result<Self> {
        hex(text.as_bytes(), 32)
            .and_then(Self::from_u128)
            .ok_or_else(|| Error::malformed("trace id: not 32 lower-case hex digits, or all zero"))
    }
}

impl FromStr for SpanId {
    type Err = Error;

    /// # Errors
    /// A peer's fault unless `text` is 16 lower-case hexadecimal digits, not all zero.
    fn from_str(text: &str) -> Result<Self> {
        hex(text.as_bytes(), 16)
            .and_then(|id| Self::from_u64(id as u64))
            .ok_or_else(|| Error::malformed("span id: not 16 lower-case hex digits, or all zero"))
    }
}

/// Where new ids come from.
///
/// Every id that it gives must be new; two processes that write to one trace must not draw the
/// same ones. It is called at the opening of each observed span and must not start spans itself.
pub trait IdGenerator {
    /// The id of a new trace.
    fn trace_id(&self) -> TraceId;

    /// The id of a new span.
    fn span_id(&self) -> SpanId;
}

impl<G: IdGenerator + ?Sized> IdGenerator for Rc<G> {
    fn trace_id(&self) -> TraceId {
        (**self).trace_id()
    }

    fn span_id(&self) -> SpanId {
        (**self).span_id()
    }
}

/// Random ids (xoshiro256**), seeded from the operating system by way of [`RandomState`].
///
/// Unique, and not to be guessed by chance; but no secrets: who sees enough of them can compute
/// the next.
#[derive(Debug)]
pub struct RandomIds {
    state: Cell<[u64; 4]>,
}

impl RandomIds {
    /// A generator with a seed of its own.
    pub fn new() -> Self {
        let seed = std::array::from_fn(|part| RandomState::new().hash_one(part));
        Self {
            // All zero is the one state which xoshiro never leaves.
            state: Cell::new(if seed == [0; 4] { [1; 4] } else { seed }),
        }
    }

    fn next(&self) -> u64 {
        let [mut a, mut b, mut c, mut d] = self.state.get();
        let drawn = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = b << 17;
        c ^= a;
        d ^= b;
        b ^= c;
        a ^= d;
        c ^= shifted;
        d = d.rotate_left(45);
        self.state.set([a, b, c, d]);
        drawn
    }
}

impl Default for RandomIds {
    fn default() -> Self {
        Self::new()
    }
}

impl IdGenerator for RandomIds {
    fn trace_id(&self) -> TraceId {
        loop {
            if let Some(id) = TraceId::from_halves(self.next(), self.next()) {
                return id;
            }
        }
    }

    fn span_id(&self) -> SpanId {
        loop {
            if let Some(id) = SpanId::from_u64(self.next()) {
                return id;
            }
        }
    }
}

/// Ids that count from 1, traces and spans apart; for tests. Clones go on with one count.
#[derive(Clone, Debug, Default)]
pub struct SequentialIds {
    traces: Rc<Cell<u64>>,
    spans: Rc<Cell<u64>>,
}

impl SequentialIds {
    /// A generator whose first ids are 1.
    pub fn new() -> Self {
        Self::default()
    }
}

impl IdGenerator for SequentialIds {
    fn trace_id(&self) -> TraceId {
        TraceId {
            high: 0,
            low: count(&self.traces).get(),
        }
    }

    fn span_id(&self) -> SpanId {
        SpanId(count(&self.spans))
    }
}

fn count(cell: &Cell<u64>) -> NonZeroU64 {
    let next = NonZeroU64::MIN.saturating_add(cell.get());
    cell.set(next.get());
    next
}

/// The number that exactly `digits` (at most 32) lower-case hexadecimal digits stand for.
pub(super) fn hex(text: &[u8], digits: usize) -> Option<u128> {
    if text.len() != digits {
        return None;
    }
    text.iter().try_fold(0, |number, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn zero_is_no_id() {
        assert_eq!(TraceId::from_u128(0), None);
        assert_eq!(TraceId::from_halves(0, 0), None);
        assert_eq!(SpanId::from_u64(0), None);
        assert!("0".repeat(32).parse::<TraceId>().is_err());
        assert!("0".repeat(16).parse::<SpanId>().is_err());
    }

    #[test]
    fn halves_are_big_endian() {
        let id = TraceId::from_halves(1, 2).unwrap();
        assert_eq!(id.to_string(), "00000000000000010000000000000002");
        assert_eq!((id.high(), id.low()), (1, 2));
    }

    #[test]
    fn text_survives_the_way_there_and_back() {
        let text = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(text.parse::<TraceId>().unwrap().to_string(), text);
        let text = "00f067aa0ba902b7";
        assert_eq!(text.parse::<SpanId>().unwrap().to_string(), text);
    }

    #[test]
    fn what_is_not_exactly_lower_case_hex_is_a_peers_fault() {
        for text in [
            "",
            "1",
            "00F067AA0BA902B7",
            "00f067aa0ba902b70",
            "+0f067aa0ba902b7",
            "é0f067aa0ba902b",
        ] {
            assert!(
                text.parse::<SpanId>().unwrap_err().is_peer_fault(),
                "{text}"
            );
            assert!(
                text.parse::<TraceId>().unwrap_err().is_peer_fault(),
                "{text}"
            );
        }
    }

    #[test]
    fn random_ids_do_not_repeat() {
        let (one, other) = (RandomIds::new(), RandomIds::new());
        let drawn: HashSet<_> = (0..10_000)
            .flat_map(|_| [one.span_id(), other.span_id()])
            .collect();
        assert_eq!(drawn.len(), 20_000);
        assert_ne!(one.trace_id(), other.trace_id());
    }

    #[test]
    fn sequential_ids_count_traces_and_spans_apart() {
        let ids = SequentialIds::new();
        let handle = ids.clone();
        assert_eq!(
            (ids.trace_id().to_u128(), handle.trace_id().to_u128()),
            (1, 2)
        );
        assert_eq!(ids.span_id().to_u64(), 1);
    }
}
