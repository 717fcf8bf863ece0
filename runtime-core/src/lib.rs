//! Oarlock's runtime core: from a request to a process inside a container.
//!
//! Data goes one way:
//! [`request`] → [`image`] → [`plan`] → [`apply`] → [`enter`].
//! The crate calls nothing of Slurm's and knows no terminal: of Slurm it reads the
//! configuration files ([`slurm`]). The SPANK plugin and the
//! command line are its two front ends, and [`prepare`] is the process that the
//! plugin starts to do the work of [`image`], [`plan`] and [`apply`] once for
//! all ranks of a node.
//!
//! Architecture invariant: only [`sys`] may contain `unsafe` or a raw system
//! call; only [`apply`] changes the machine; [`plan`] never touches it.
#![deny(unsafe_code)]

#[cfg(feature = "construct")]
pub mod allocation;
#[cfg(feature = "construct")]
pub mod apply;
pub mod cgroup;
#[cfg(feature = "construct")]
pub mod config;
pub mod containers;
pub mod enter;
pub mod entry;
pub mod environment;
pub mod guard;
#[cfg(feature = "construct")]
pub mod host;
#[cfg(feature = "construct")]
pub mod image;
pub mod kept;
#[cfg(feature = "construct")]
pub mod limits;
pub mod message;
pub mod path;
#[cfg(feature = "construct")]
pub mod plan;
pub mod prepare;
#[cfg(feature = "profiles")]
pub mod profile;
pub mod prolog;
pub mod request;
pub mod runtime_directory;
#[cfg(feature = "construct")]
pub mod slurm;
pub mod startable;
#[cfg(feature = "construct")]
pub mod store;
pub mod sys;
#[cfg(feature = "construct")]
pub mod unprivileged;
pub mod visible;
pub mod way;

/// Where the site's file lies unless plugstack.conf says otherwise.
pub const CONFIG_PATH: &str = "/etc/oarlock/oarlock.toml";
