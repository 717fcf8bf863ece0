//! Finds out what a node offers of GPUs and RDMA hardware, and which driver files a container needs for them, for
//! nodes where no CDI specification says so.
//!
//! Pure discovery: it changes nothing, executes nothing, loads no library, and opens no device. What it reads is
//! root's: /proc, /sys, ldconfig's cache, the driver's files. Each read has a bound, each list an order, and a
//! search always comes to an end with what it found: what is missing or wrong is a [`Problem`], one line each.
//!
//! All of it takes a [`Host`], the one way to the node's files, which are looked up below a root directory:
//!
//! ```no_run
//! # fn main() -> Result<(), host_devices::Problem> {
//! use std::path::{Path, PathBuf};
//! use host_devices::Host;
//! use host_devices::gpu::{Gpus, Vendor, nvidia::capabilities::Capabilities, nvidia::driver::Driver};
//! use host_devices::libraries::{Libraries, judge};
//! # let image = host_devices::libraries::versions::defined(|_| None::<std::fs::File>);
//!
//! let host = Host::at(Path::new("/"))?;
//! let gpus = Gpus::find(&host);
//! // What a grant of this device brings along of the same GPU.
//! let nodes = gpus.nodes_for(&[PathBuf::from("/dev/nvidia1")]);
//!
//! let libraries = Libraries::find(&host);
//! let driver = Driver::find(&host, &libraries, nodes.first().map(PathBuf::as_path));
//! let wanted = driver.libraries_for(Capabilities::DEFAULT);
//! // `image` was found by a process with the user's rights: `libraries::versions::defined`.
//! for refusal in judge::refusals(wanted.map(|library| &library.demands), &image) {
//!     println!("{refusal}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - [`libraries`]: ldconfig's cache, what a library says of itself, and whether an image can load it. An image's
//!   own files are parsed nowhere but in [`libraries::versions::defined`], which is not for root.
//! - [`gpu`]: GPUs of NVIDIA, AMD and Intel, what belongs to each, and NVIDIA's driver. The user-space drivers of
//!   AMD and Intel are the image's own.
//! - [`rdma`]: adapters, and what MPI libraries use beside them.
//! - [`report`]: all of it, for `oarlock doctor gpu`.
#![forbid(unsafe_code)]

pub mod gpu;
mod host;
pub mod libraries;
mod problem;
pub mod rdma;
pub mod report;

pub use host::Host;
pub use problem::Problem;

#[cfg(test)]
mod testing;
