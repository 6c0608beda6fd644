//! Programs in C++, built with the Cap'n Proto of the system.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What to do where something is missing.
const NEEDS: &str =
    "the tests with C++ need `apt-get install capnproto libcapnp-dev g++` (Debian bookworm: 0.9.2)";

/// Builds `interop/cpp/NAME.c++` and `schema`, a path from the root of the sources, in the folder `out`.
///
/// # Panics
///
/// Where that can't be done, with what to do.
pub fn build(name: &str, schema: &str, out: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::fs::create_dir_all(out).expect("a folder for the program");
    let schema = root.join(schema);
    let folder = schema.parent().expect("it is in a folder");
    let mut capnp = Command::new("capnp");
    capnp.arg("compile");
    capnp.arg(format!("-oc++:{}", out.display()));
    capnp.arg(format!("--src-prefix={}", folder.display()));
    succeed(capnp.arg(&schema));

    let program = out.join(name);
    let compiled = schema.with_extension("capnp.c++");
    let compiled = compiled.file_name().expect("it has a name");
    let mut compiler = Command::new("c++");
    compiler.args(["-std=c++14", "-O1", "-Wall", "-Werror", "-pthread", "-I"]);
    compiler
        .arg(out)
        .arg(root.join(format!("interop/cpp/{name}.c++")));
    compiler.arg(out.join(compiled));
    compiler.arg("-o").arg(&program);
    succeed(compiler.args(["-lcapnp-rpc", "-lcapnp", "-lkj-async", "-lkj"]));
    program
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
