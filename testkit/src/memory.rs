//! How much a piece of work allocates.

use stats_alloc::{Region, StatsAlloc};
use std::alloc::System;

/// To be made the global allocator of a test or bench that counts:
/// `#[global_allocator] static ALLOCATOR: Counting = COUNTING;`
pub type Counting = &'static StatsAlloc<System>;

/// The counting allocator.
pub const COUNTING: Counting = &stats_alloc::INSTRUMENTED_SYSTEM;

/// What was allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocated {
    /// How often.
    pub times: usize,
    /// How many bytes, those that were freed again included.
    pub bytes: usize,
    /// How many bytes more than before are not freed.
    pub kept: isize,
}

/// Counts what `work` allocates on all threads: other tests must not run beside it.
pub fn allocated<T>(work: impl FnOnce() -> T) -> (T, Allocated) {
    let region = Region::new(COUNTING);
    let result = work();
    let change = region.change();
    // What a block grows or shrinks by is in the bytes already.
    let allocated = Allocated {
        times: change.allocations + change.reallocations,
        bytes: change.bytes_allocated,
        kept: change.bytes_allocated as isize - change.bytes_deallocated as isize,
    };
    (result, allocated)
}

/// How many bytes are allocated and not freed, by all threads.
pub fn alive() -> usize {
    let so_far = COUNTING.stats();
    so_far.bytes_allocated - so_far.bytes_deallocated
}
