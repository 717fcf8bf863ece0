//! `spank_oarlock.so`: Slurm's way into Oarlock's containers.
//!
//! Loaded by srun, sbatch, salloc, slurmd and slurmstepd. It takes options,
//! starts `oarlock-prepare` once a node and step, and takes each rank into the
//! container that comes back.
//!
//! Architecture invariants: `hooks` holds every exported function, each behind
//! `catch_unwind`; `unsafe` is in `ffi` and at the hooks' borders alone; no thread is started, no thread-local
//! with a destructor is used (the library is dlclosed), and no path that a user
//! named is opened, but for the profile in the user's own clients.
#![deny(unsafe_code)]

mod client;
mod failure;
// What is `pub` in these two is for Slurm, not for Rust.
#[allow(unsafe_code, unreachable_pub)]
mod ffi;
mod frameworks;
mod groups;
mod handoff;
#[allow(unsafe_code, unreachable_pub)]
mod hooks;
mod lacking;
mod options;
mod plugstack;
mod profile;
mod prologs;
mod state;
mod step;
mod task;
