//! Turns the schemas into Rust without a `capnp` program: `schema/schema.cgr` is what `capnp compile`
//! said about them, checked in beside them; CI makes it anew and fails where it differs.

use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let schema = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("schema");
    let request = schema.join("schema.cgr");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", request.display());
    // Dependents' build scripts read this as DEP_CAPSPAN_SCHEMA, to import our files.
    println!("cargo::metadata=SCHEMA={}", schema.display());
    capnpc::codegen::CodeGenerationCommand::new()
        .output_directory(env::var("OUT_DIR")?)
        .run(fs::File::open(request)?)?;
    Ok(())
}
