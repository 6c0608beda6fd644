//! Sessions, from the call that opens one to its end, in whatever way it comes.

mod alone;
mod callee_ends;
mod canceled_calls;
mod chaos;
mod chaos_sessions;
mod disconnect;
mod drain;
mod life;
mod limits;
mod limits_spans;
mod model;
mod odd_callees;
mod one_provider;
mod random_calls;
mod round_trips;
mod spans;
mod wait_until;
