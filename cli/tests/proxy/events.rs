//! A service that takes events.
