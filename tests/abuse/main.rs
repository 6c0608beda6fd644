//! What a hostile peer does, each with its line in `docs/security.md`.

mod callee;
mod combined;
mod enrich;
mod events;
