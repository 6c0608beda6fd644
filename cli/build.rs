//! Turns the demo's schema into Rust without a `capnp` program: `schema/analysis.cgr` is what
//! `capnp compile` said about it, checked in beside it.

use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let request = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("schema/analysis.cgr");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", request.display());
    capnpc::codegen::CodeGenerationCommand::new()
        .output_directory(env::var("OUT_DIR")?)
        .run(fs::File::open(request)?)?;
    Ok(())
}
