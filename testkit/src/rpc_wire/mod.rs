//! A hostile peer: a script of RPC messages, most of them legal, faults mixed in, against our side of a connection.
//!
//! The peer keeps the four tables that a peer keeps, by what it sends and what it reads, so that it can go deep:
//! calls on answers that are not there, promises that resolve, capabilities that come back. Its client or its server
//! is a service of ours that does with capabilities all that can be done. After each run nothing is left of it, and
//! a connection between honest sides on the same event loop still works.

mod action;
mod faults;
mod hooks;
mod messages;
mod peer;
mod pipe;
mod scene;
mod script;
mod service;
mod tables;
mod turns;

pub use scene::{Log, Report, run, run_and_tell};
pub use script::{STEPS, Script};
