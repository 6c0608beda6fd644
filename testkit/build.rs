//! Turns the schema into Rust without a `capnp` program, as the build script of `capspan` does:
//! `capnp compile -o- --src-prefix=schema schema/testkit.capnp > schema/testkit.cgr` made the request.

use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let request = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("schema/testkit.cgr");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", request.display());
    capnpc::codegen::CodeGenerationCommand::new()
        .output_directory(env::var("OUT_DIR")?)
        .run(fs::File::open(request)?)?;
    Ok(())
}
