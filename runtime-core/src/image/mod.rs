//! Images: what a name leads to, what the file says of itself, and whether the
//! kernel may parse it.
//!
//! [`source`] opens and reads with the user's rights and never with root's;
//! [`sif`] and [`squashfs`] read bytes; [`trust`] looks at owners and modes only.

pub mod keyring;
pub mod layout;
pub mod oci;
pub mod policy;
pub mod sif;
pub mod source;
pub mod squashfs;
pub mod trust;
