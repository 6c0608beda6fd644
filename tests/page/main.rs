//! The live page, as who looks at it sees it.

#![cfg(feature = "page")]

mod boards;
mod held;
mod kept;
mod stage;
mod text;
mod who;
