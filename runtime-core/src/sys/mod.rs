//! Every unsafe line and every system call that no library wraps, one file a
//! subject. Each function names its man page. Nothing here decides anything.
#![allow(unsafe_code)]

#[cfg(feature = "construct")]
pub mod cgroup;
pub mod credentials;
pub mod ipc;
pub mod loopdev;
pub mod mount;
pub mod process;
