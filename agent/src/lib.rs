//! The storage-server agent: holds what it is told to hold, proves it, captures evidence and
//! packs releases. It trusts the coordinator for what to do and nobody for what a customer's
//! tree contains: as root it touches files only through descriptors, never by path.
//!
//! In the order things happen: the configuration is read ([`config`]), the agent's own record
//! is opened ([`journal`]), what it held is checked ([`enforce`]), the coordinator is dialled
//! ([`link`]), and tasks are done ([`work`]): holding ([`enforce`]), capturing ([`capture`])
//! and packing for owners ([`release`]). [`app`] puts it all together, and [`status`] says
//! how it stands.

pub mod app;
pub mod capture;
pub mod clock;
pub mod config;
pub mod disks;
pub mod durable;
pub mod edge;
pub mod enforce;
pub mod exit;
pub mod fixity;
pub mod gate;
pub mod guest;
pub mod host;
pub mod journal;
pub mod link;
pub mod release;
pub mod status;
pub mod watch;
pub mod work;
