//! Generates the wire's Rust from the .proto files, in pure Rust: no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=holdfast");
    let files = protox::compile(["holdfast/v1/holdfast.proto"], ["."])?;
    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(files)?;
    Ok(())
}
