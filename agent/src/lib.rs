//! The storage-server agent: holds what it is told to hold, proves it, captures evidence and
//! packs releases. It trusts the coordinator for what to do and nobody for what a customer's
//! tree contains: as root it touches files only through descriptors, never by path.

pub mod capture;
pub mod durable;
