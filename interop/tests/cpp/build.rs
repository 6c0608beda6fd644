//! Builds the program in C++.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use capspan_interop::cpp;

/// The program, built once for all tests of this process.
pub(crate) fn peer() -> &'static Path {
    static PEER: LazyLock<PathBuf> = LazyLock::new(|| {
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cpp");
        cpp::build("peer", "testkit/schema/legal.capnp", &out)
    });
    &PEER
}
