//! Finds out what a node offers of GPUs and RDMA hardware, and which driver files a container needs for them, for
//! nodes where no CDI specification says so.
//!
//! Pure discovery: it changes nothing, executes nothing and loads no library.
#![forbid(unsafe_code)]

pub mod gpu;
mod host;
pub mod libraries;
mod problem;
pub mod rdma;

pub use host::Host;
pub use problem::Problem;

#[cfg(test)]
mod testing;
