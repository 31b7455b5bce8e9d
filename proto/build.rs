//! Compiles petctl.v1 with protox, so that building needs no protoc.
use std::error::Error;

const FILES: [&str; 3] = [
    "petctl/v1/worker.proto",
    "petctl/v1/job.proto",
    "petctl/v1/place.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
