//! Makes a failing plan short.

use super::plan::{End, Limits, Plan};
use crate::membrane::model::shrink::fewer;

/// A plan for which `fails` holds still, of which no step can be left out; and the rest of it as plain as can be.
pub fn shrink(mut plan: Plan, fails: impl Fn(&Plan) -> bool) -> Plan {
    let plainer: [fn(&mut Plan); 6] = [
        |plan| plan.limits[0] = Limits::default(),
        |plan| plan.limits[1] = Limits::default(),
        |plan| plan.has_call_spans[0] = false,
        |plan| plan.has_call_spans[1] = false,
        |plan| plan.end = End::LetGo,
        |plan| plan.drops_at_once = true,
    ];
    for change in plainer {
        let mut changed = plan.clone();
        change(&mut changed);
        if fails(&changed) {
            plan = changed;
        }
    }
    let with = |steps: &[_]| Plan {
        steps: steps.to_vec(),
        ..plan.clone()
    };
    let steps = fewer(plan.steps.clone(), |steps| fails(&with(steps)));
    with(&steps)
}
