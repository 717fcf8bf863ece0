//! `oarlock sign`: adds signatures to an image. The key is read from a file and never kept.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use sif_signature::{SignError, SigningKey, SigningKeyError, sign};
use zeroize::Zeroizing;

use crate::passphrase;
use crate::sif::{now, open_for_change};

/// Sign an image, so that its users can verify who made it
///
/// A locked PGP key takes its passphrase from OARLOCK_KEY_PASSPHRASE, or asks for it on the terminal.
#[derive(Debug, clap::Args)]
pub(crate) struct SignArgs {
    /// The key: a PGP secret key (gpg --export-secret-keys), or a private key as PEM (openssl genpkey)
    #[arg(short, long, value_name = "FILE")]
    key: PathBuf,
    /// Sign this group only [default: every group]
    #[arg(short, long, value_name = "GROUP")]
    group_id: Option<u32>,
    /// The image, to which the signatures are added
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
}

/// Why an image was not signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("key {}: {source}", .path.display())]
    ReadKey { path: PathBuf, source: io::Error },
    #[error("key {}: {source}", .path.display())]
    Key {
        path: PathBuf,
        source: SigningKeyError,
    },
    #[error(transparent)]
    Open(#[from] crate::sif::Error),
    #[error("image {}: {source}", .path.display())]
    Sign { path: PathBuf, source: SignError },
}

/// Signs and says what was added.
pub(crate) fn run(args: &SignArgs) -> Result<(), Error> {
    let bytes = fs::read(&args.key).map_err(|source| Error::ReadKey {
        path: args.key.clone(),
        source,
    })?;
    let bytes = Zeroizing::new(bytes);
    let image = open_for_change(&args.image)?;
    let key = SigningKey::parse(&bytes, passphrase::ask).map_err(|source| Error::Key {
        path: args.key.clone(),
        source,
    })?;
    let signed = sign(&image, &key, args.group_id, now()).map_err(|source| Error::Sign {
        path: args.image.clone(),
        source,
    })?;
    for signature in signed {
        // A reader that went away is no failure: the image is signed.
        let _ = writeln!(
            io::stdout(),
            "{}: signed group {} with key {} (object {})",
            args.image.display(),
            signature.group,
            key.fingerprint(),
            signature.id
        );
    }
    Ok(())
}
