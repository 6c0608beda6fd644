//! What is written in which colour.

pub use anstyle::Style as Ink;
use anstyle::{AnsiColor, Effects};

/// Text of no special meaning.
pub const PLAIN: Ink = Ink::new();
/// What holds the picture together: branches, keys, words in between.
pub const FAINT: Ink = PLAIN.effects(Effects::DIMMED);
/// What a line is about.
pub const STRONG: Ink = PLAIN.effects(Effects::BOLD);
/// A span's kind.
pub const KIND: Ink = AnsiColor::Cyan.on_default();
/// Which process a span belongs to.
pub const SERVICE: Ink = AnsiColor::Magenta.on_default();
/// It went well.
pub const GOOD: Ink = AnsiColor::Green.on_default();
/// It did not go well, because somebody wanted it so; or it is not over.
pub const STOPPED: Ink = AnsiColor::Yellow.on_default();
/// It went wrong.
pub const BAD: Ink = AnsiColor::Red.on_default();
/// Written by the callee.
pub const CALLEE: Ink = AnsiColor::Blue.on_default().effects(Effects::BOLD);
