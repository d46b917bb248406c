//! The wire: the messages and services of `holdfast.v1`, and nothing else.
//!
//! What comes in is parsed into the domain's types at the door of each process; no rule
//! is decided on a wire type.

/// Version 1 of the wire, generated from `holdfast/v1/holdfast.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v1 {
    tonic::include_proto!("holdfast.v1");
}

/// The most bytes one chunk of an upload or download carries.
pub const CHUNK: usize = 1 << 20;
