//! What a service does is told to another while it goes on.

mod faults;
mod replay;
mod setting;
mod stream;
mod told;
