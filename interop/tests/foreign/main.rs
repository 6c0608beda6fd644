//! `capspan proxy` between programs that know nothing of it: a calculator's server and client in C++, with the Cap'n Proto
//! of Debian, and in Python, with that of pycapnp. What they say is the same as without it.
//!
//! The program in C++ is built here; `.ci/interop` makes the rest of what they need, and runs these.

mod proxy;
mod setting;
mod transcripts;
