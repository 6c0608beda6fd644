//! Tracks on which no two spans overlap unless one lies in the other.

use std::collections::BTreeSet;

/// How a slice lies in time; `end` is none where it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) start: u64,
    pub(super) end: Option<u64>,
}

/// The tracks of one process.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    /// From when on each is free; those that never are again are not here.
    free: BTreeSet<(u64, usize)>,
}

/// One track, by what stands on it from outside to inside where it goes on.
#[derive(Debug, Default)]
struct Lane {
    /// The slices in which the last one lies, that one too, each with the end of what lies in it.
    nest: Vec<(Slice, Option<u64>)>,
}

impl Lanes {
    /// The lane for `slice`: that of `below`, which came before, if it can lie in that one there; else one
    /// that is free by then; else a new one. Whatever the order in which slices come, what stands on a
    /// lane is side by side or one in the other.
    pub(super) fn place(&mut self, slice: Slice, below: Option<(usize, Slice)>) -> usize {
        if let Some((index, parent)) = below
            && let Some(lane) = self.lanes.get_mut(index)
            && lane.nest(slice, parent)
        {
            return index;
        }
        let first = self.free.first().copied();
        let index = match first.filter(|(free, _)| *free <= slice.start) {
            Some(free) => {
                self.free.remove(&free);
                free.1
            }
            None => {
                self.lanes.push(Lane::default());
                self.lanes.len() - 1
            }
        };
        self.lanes[index].nest = vec![(slice, Some(slice.start))];
        self.free.extend(slice.end.map(|end| (end, index)));
        index
    }

    pub(super) fn len(&self) -> usize {
        self.lanes.len()
    }
}

impl Lane {
    /// Puts `slice` into `parent`, if that is still there and has room for it.
    fn nest(&mut self, slice: Slice, parent: Slice) -> bool {
        let Some(level) = self.nest.iter().rposition(|(found, _)| *found == parent) else {
            return false;
        };
        let fits = match (slice.end, parent.end) {
            _ if slice.start < parent.start => false,
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(end), Some(parent_end)) => end <= parent_end,
        };
        let is_behind = self.nest[level].1.is_some_and(|free| free <= slice.start);
        if !(fits && is_behind) {
            return false;
        }
        self.nest.truncate(level + 1);
        self.nest[level].1 = slice.end;
        self.nest.push((slice, Some(slice.start)));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(start: u64, end: u64) -> Slice {
        Slice {
            start,
            end: Some(end),
        }
    }

    #[test]
    fn what_overlaps_gets_lanes_of_its_own_and_what_does_not_shares_one() {
        let mut lanes = Lanes::default();
        let mut place = |start, end| lanes.place(slice(start, end), None);
        assert_eq!(
            [place(0, 10), place(5, 15), place(10, 20), place(15, 16)],
            [0, 1, 0, 1]
        );
        assert_eq!(place(0, 1), 2);
    }

    #[test]
    fn children_lie_in_their_parent_where_they_can() {
        let mut lanes = Lanes::default();
        let parent = slice(0, 100);
        assert_eq!(lanes.place(parent, None), 0);
        let mut child = |start, end| lanes.place(slice(start, end), Some((0, parent)));
        assert_eq!(child(10, 20), 0);
        assert_eq!(child(15, 30), 1, "overlaps its brother");
        assert_eq!(child(20, 100), 0);
        assert_eq!(child(100, 101), 1, "behind its parent");
        assert_eq!(child(50, 101), 2, "longer than its parent");
    }

    #[test]
    fn what_is_open_keeps_its_lane() {
        let mut lanes = Lanes::default();
        let open = Slice {
            start: 5,
            end: None,
        };
        assert_eq!(lanes.place(open, None), 0);
        assert_eq!(lanes.place(slice(10, 20), Some((0, open))), 0);
        assert_eq!(lanes.place(slice(30, 40), None), 1);
    }

    /// Nothing on a lane crosses anything else, whatever comes in whatever order.
    #[test]
    fn random_slices_nest() {
        let mut state = 11_u32;
        let mut random = |below: u64| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            u64::from(state >> 8) % below
        };
        for _ in 0..500 {
            let mut lanes = Lanes::default();
            let mut placed: Vec<(usize, Slice)> = Vec::new();
            for _ in 0..40 {
                let start = random(30);
                let end = (random(9) > 0).then(|| start + random(12));
                let below = (!placed.is_empty() && random(3) > 0)
                    .then(|| placed[random(placed.len() as u64) as usize]);
                let new = Slice { start, end };
                placed.push((lanes.place(new, below), new));
            }
            for (index, (lane, one)) in placed.iter().enumerate() {
                for (other_lane, other) in &placed[..index] {
                    assert!(
                        lane != other_lane || !cross(*one, *other),
                        "{one:?} {other:?}"
                    );
                }
            }
        }
    }

    fn cross(a: Slice, b: Slice) -> bool {
        let end = |slice: Slice| slice.end.unwrap_or(u64::MAX);
        let apart = end(a) <= b.start || end(b) <= a.start;
        let lies_in =
            |inner: Slice, outer: Slice| inner.start >= outer.start && end(inner) <= end(outer);
        !apart && !lies_in(a, b) && !lies_in(b, a)
    }
}
