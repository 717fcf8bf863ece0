//! What `oarlock-enter` is told, and by whom.
//!
//! It is started by a rank, after Slurm's prologs, with two memory files. The
//! *ticket* is root's: it says which namespaces this user may enter, and is all
//! that counts as long as there is a capability. The *order* is the plugin's,
//! written with the user's rights: the working directory and the environment. It is
//! read when every capability is gone.
//!
//! Pure: no system call, no memory of its own. Shared with `runtime-core`, which
//! writes both.

#![no_std]
#![forbid(unsafe_code)]

pub mod lookup;
pub mod order;
pub mod ticket;
