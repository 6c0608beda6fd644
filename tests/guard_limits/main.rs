//! How much a peer may have, and how fast: for each limit what goes past it, and what is next to it and does
//! not.

mod budget;
#[cfg(feature = "tracing")]
mod events;
mod queue;
mod rates;
mod setting;
mod told;
mod too_late;
