//! M7 *No copy*: with no capability in a request, nothing is walked.
//!
//! In a process of its own: the global allocator counts for all threads.

use capspan::membrane::Membrane;
use capspan_testkit::membrane::World;
use capspan_testkit::memory::{COUNTING, Counting, allocated};

#[global_allocator]
static ALLOCATOR: Counting = COUNTING;

/// What sending a request allocates, with pointers in it but for capabilities.
fn sending(depth: u32) -> usize {
    let wrapper = Membrane::new().export(World::new().probe("inner"));
    let mut request = wrapper.bundle_request();
    let mut holder = request.get().init_bundle().init_nested();
    for _ in 0..depth {
        holder = holder.init_inner();
    }
    allocated(|| drop(request.send())).1.bytes
}

#[test]
fn m7_without_a_capability_a_request_is_not_walked() {
    // A walk would need a stack as deep as the message.
    assert_eq!(sending(1), sending(1000));
}
