//! Hooks that misbehave.
