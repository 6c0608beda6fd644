//! HTTP requests as events: what callers, services and peers do that is odd, and what comes of it.

mod bodies;
mod ends;
mod kept;
mod limits;
mod old_peers;
mod responses;
mod setting;
mod substreams;
mod values;
