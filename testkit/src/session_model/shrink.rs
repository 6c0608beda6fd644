//! Makes a failing sequence short.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::check::check;
use super::ops::{Sequence, Step};
use crate::membrane::model::shrink::fewer;

/// Does a sequence fail, or panic?
pub fn fails(sequence: &Sequence) -> bool {
    !matches!(
        catch_unwind(AssertUnwindSafe(|| check(sequence))),
        Ok(Ok(_))
    )
}

/// A sequence for which `fails` holds still, of which no operation can be left out; as much of it as can be
/// comes to rest.
pub fn shrink(sequence: Sequence, fails: impl Fn(&Sequence) -> bool) -> Sequence {
    let with = |steps: &[Step]| Sequence {
        layout: sequence.layout.clone(),
        steps: steps.to_vec(),
    };
    let mut steps = fewer(sequence.steps.clone(), |steps| fails(&with(steps)));
    for at in 0..steps.len() {
        let before = std::mem::replace(&mut steps[at].rests, true);
        if !before && !fails(&with(&steps)) {
            steps[at].rests = false;
        }
    }
    with(&steps)
}
