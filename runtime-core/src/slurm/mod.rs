//! Slurm's files on a node, as text: `slurm.conf` and its kin, `gres.conf`,
//! `plugstack.conf`, and lists of host names.
//!
//! Read for what they say, never written. What decides something must be root's (see
//! [`crate::host`]); what is only shown need not. Nothing here asks a daemon, so that nothing here waits for one.

pub mod conf;
pub mod gres;
pub mod hostlist;
pub mod library;
pub mod place;
pub mod plugstack;
