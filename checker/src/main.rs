//! `oarlock-check`: tells what is in a copy of an image. `oarlock-prepare` starts
//! it, as an account without rights; it is of no use to anybody else.
//!
//! It reads the site's keys, gives up everything but the copy and the pipe for its
//! answer, and only then looks at the first byte of the copy. The FUSE servers have
//! the same account, and must not reach it: what it says of a copy is believed.
#![forbid(unsafe_code)]

mod look;

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use runtime_core::prepare::checker::{ANSWER_FD, COPY_FD, VALIDATE};
use runtime_core::sys::process::{be_private, inherited};
use runtime_core::sys::sandbox::{Profile, confine};
use sif_signature::Keyring;

/// The site's answer to what could not be done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("is started by oarlock-prepare, not by hand; try: oarlock inspect IMAGE")]
    ByHand,
    #[error("keeping other processes of this account out: {0}")]
    Private(std::io::Error),
    #[error("writing the answer: {0}")]
    Answer(String),
}

fn main() -> ExitCode {
    // Before all else: until here only the program's mode, 0711, has kept them out.
    let private = be_private().map_err(Failure::Private);
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == "--version")
    {
        println!("oarlock-check {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    match private.and_then(|()| run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("oarlock-check: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let (Ok(copy), Ok(answer)) = (inherited(COPY_FD), inherited(ANSWER_FD)) else {
        return Err(Failure::ByHand);
    };
    let mut arguments = std::env::args_os().skip(1);
    let keyring = PathBuf::from(arguments.next().ok_or(Failure::ByHand)?);
    let validate = arguments.next().is_some_and(|word| word == VALIDATE);
    // A keyring that cannot be read verifies nothing; why is a part of the answer.
    let keys = Keyring::load(&keyring).map_err(|error| error.to_string());
    let found = match confine(Profile::Compute) {
        Ok(()) => look::look(&File::from(copy), keys.as_ref(), validate),
        // Not a byte is looked at.
        Err(error) => look::nothing(&format!("oarlock-check: giving up rights: {error}")),
    };
    let bytes = postcard::to_stdvec(&found).map_err(|e| Failure::Answer(e.to_string()))?;
    File::from(answer)
        .write_all(&bytes)
        .map_err(|e| Failure::Answer(e.to_string()))
}
