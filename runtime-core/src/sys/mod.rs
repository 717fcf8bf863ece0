//! Every unsafe line and every system call that no library wraps, one file a
//! subject. Each function names its man page. Nothing here decides anything.
#![allow(unsafe_code)]

#[cfg(feature = "construct")]
pub mod bpf;
#[cfg(feature = "construct")]
pub mod clock;
pub mod credentials;
#[cfg(feature = "construct")]
pub mod file;
pub mod file_capabilities;
pub mod idle;
#[cfg(feature = "construct")]
pub mod idmap;
pub mod ipc;
pub mod lock;
pub mod loopdev;
pub mod mount;
pub mod namespace;
pub mod namespaces;
#[cfg(feature = "construct")]
pub mod network;
pub mod pretend;
#[cfg(feature = "construct")]
pub mod probe;
pub mod process;
#[cfg(feature = "construct")]
pub mod sandbox;
pub mod stand_in;
#[cfg(feature = "construct")]
pub mod verity;
