//! What all tests do: run a program, check bytes.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use squashfs_check::{Limits, Malformed, Report, check};

/// Checks bytes as an image.
pub(crate) fn look(bytes: &[u8]) -> Result<Report, Malformed> {
    check(bytes, 0, bytes.len() as u64, &Limits::default())
}

/// Runs a program with `input` and demands that it succeeds.
pub(crate) fn run(program: &str, args: &[&str], input: &[u8]) {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}; install squashfs-tools"));
    let mut stdin = child.stdin.take().expect("stdin is piped");
    // A program that ends early is told by its status below.
    let _ = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().expect("the program ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
}

/// Makes an image of a directory and reads it.
pub(crate) fn mksquashfs(tree: &Path, image: &Path, options: &[&str]) -> Vec<u8> {
    let _ = std::fs::remove_file(image);
    let mut args = vec![
        tree.to_str().expect("temporary paths are UTF-8"),
        image.to_str().expect("temporary paths are UTF-8"),
        "-quiet",
        "-no-progress",
    ];
    args.extend(options);
    run("mksquashfs", &args, &[]);
    std::fs::read(image).expect("the image is there")
}

/// Makes an image of a tar archive and reads it.
pub(crate) fn sqfstar(archive: &[u8], image: &Path, options: &[&str]) -> Vec<u8> {
    let _ = std::fs::remove_file(image);
    let mut args = vec!["-quiet", "-no-progress"];
    args.extend(options);
    args.push(image.to_str().expect("temporary paths are UTF-8"));
    run("sqfstar", &args, archive);
    std::fs::read(image).expect("the image is there")
}
