//! Builds the program in C++.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// What to do where something is missing.
const NEEDS: &str =
    "the tests with C++ need `apt-get install capnproto libcapnp-dev g++` (Debian bookworm: 0.9.2)";

/// The program, built once for all tests of this process.
pub(crate) fn peer() -> &'static Path {
    static PEER: LazyLock<PathBuf> = LazyLock::new(build);
    &PEER
}

fn build() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cpp");
    std::fs::create_dir_all(&out).expect("a folder for the program");
    let schemas = root.join("testkit/schema");
    let mut capnp = Command::new("capnp");
    capnp.arg("compile");
    capnp.arg(format!("-oc++:{}", out.display()));
    capnp.arg(format!("--src-prefix={}", schemas.display()));
    succeed(capnp.arg(schemas.join("legal.capnp")));

    let peer = out.join("peer");
    let mut compiler = Command::new("c++");
    compiler.args(["-std=c++14", "-O1", "-Wall", "-Werror", "-pthread", "-I"]);
    compiler.arg(&out).arg(root.join("interop/cpp/peer.c++"));
    compiler.arg(out.join("legal.capnp.c++"));
    compiler.arg("-o").arg(&peer);
    succeed(compiler.args(["-lcapnp-rpc", "-lcapnp", "-lkj-async", "-lkj"]));
    peer
}

fn succeed(command: &mut Command) {
    match command.output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            panic!("{command:?} failed: {}\n{said}\n{NEEDS}", output.status);
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let program = command.get_program().display();
            panic!("there is no `{program}`: {NEEDS}");
        }
        Err(error) => panic!("{command:?}: {error}"),
    }
}
