//! Turns the schemas into Rust, as the root package's build script does.

use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let schema = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("schema");
    for name in ["testkit.cgr", "greeter.cgr", "probe.cgr", "legal.cgr"] {
        let request = schema.join(name);
        println!("cargo::rerun-if-changed={}", request.display());
        capnpc::codegen::CodeGenerationCommand::new()
            .output_directory(env::var("OUT_DIR")?)
            .run(fs::File::open(request)?)?;
    }
    Ok(())
}
