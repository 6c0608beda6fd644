//! Makes a failing sequence short.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::check::check;
use super::ops::Sequence;

/// Does a sequence fail, or panic?
pub fn fails(sequence: &Sequence) -> bool {
    !matches!(
        catch_unwind(AssertUnwindSafe(|| check(sequence))),
        Ok(Ok(_))
    )
}

/// A sequence for which `fails` holds still, of which no operation and no edge can be left out.
pub fn shrink(mut sequence: Sequence, fails: impl Fn(&Sequence) -> bool) -> Sequence {
    loop {
        sequence = fewer_ops(sequence, &fails);
        // The operations then choose among less, and so may mean something else: it is tried.
        let smaller = (0..sequence.layout.edges.len()).find_map(|edge| {
            let layout = sequence.layout.without(edge)?;
            let ops = sequence.ops.clone();
            Some(Sequence { layout, ops }).filter(&fails)
        });
        match smaller {
            Some(smaller) => sequence = smaller,
            None => return sequence,
        }
    }
}

fn fewer_ops(mut sequence: Sequence, fails: impl Fn(&Sequence) -> bool) -> Sequence {
    let layout = sequence.layout.clone();
    sequence.ops = fewer(sequence.ops, |ops| {
        let (layout, ops) = (layout.clone(), ops.to_vec());
        fails(&Sequence { layout, ops })
    });
    sequence
}

/// Delta debugging: leaves out pieces, first half of it, then smaller ones.
pub fn fewer<T: Clone>(mut ops: Vec<T>, fails: impl Fn(&[T]) -> bool) -> Vec<T> {
    let mut piece = ops.len().div_ceil(2);
    while piece > 0 {
        let mut left_out = false;
        let mut at = 0;
        while at < ops.len() {
            let mut shorter = ops.clone();
            let end = (at + piece).min(shorter.len());
            shorter.drain(at..end);
            if fails(&shorter) {
                ops = shorter;
                left_out = true;
            } else {
                at = end;
            }
        }
        // With single operations, until nothing more goes.
        piece = match (piece, left_out) {
            (1, true) => 1,
            _ => piece / 2,
        };
    }
    ops
}
