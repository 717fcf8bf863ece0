//! What is checked without running anything of Oarlock: format, lints,
//! documentation, file lengths, dependencies, spelling.
//!
//! Never changes a file.

use anyhow::{Context, Result, bail};

use crate::artifacts::cargo;
use crate::job::{Job, find_program, say};
use crate::layout::Layout;
use crate::packages;

/// The most lines that a source file may have.
const MAX_LINES: usize = 500;

/// Endings of what counts as a source file.
const SOURCES: [&str; 5] = [".rs", ".c", ".h", ".sh", "Dockerfile"];

/// A checker that not every machine has: its program, how to get it, and what
/// to run.
struct Extra {
    program: &'static str,
    get: &'static str,
    argv: &'static [&'static str],
}

const EXTRAS: [Extra; 3] = [
    Extra {
        program: "cargo-deny",
        get: "cargo install cargo-deny --locked",
        argv: &["cargo", "deny", "check", "licenses", "bans", "sources"],
    },
    Extra {
        program: "cargo-machete",
        get: "cargo install cargo-machete --locked",
        argv: &["cargo", "machete"],
    },
    Extra {
        program: "typos",
        get: "cargo install typos-cli --locked",
        argv: &["typos"],
    },
];

/// Crates whose code runs as root, in slurmstepd or in `oarlock-prepare`.
const PRIVILEGED: [&str; 2] = ["spank-plugin", "runtime-core"];

/// What must not be among their dependencies: what parses images and signatures
/// to the last byte, with some 130 crates.
const UNPRIVILEGED: [&str; 2] = ["sif-signature", "squashfs-check"];

/// Runs every check and reports the first that fails.
pub(crate) fn run(layout: &Layout) -> Result<()> {
    packages::ensure(layout, packages::BUILD)?;
    say("format");
    cargo(layout, ["fmt", "--all", "--check"]).show()?;
    cargo(
        layout,
        ["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"],
    )
    .show()?;
    say("lints");
    cargo(
        layout,
        [
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    )
    .show()?;
    // Without a standard library, these two are programs in their own profile only.
    cargo(
        layout,
        [
            "clippy",
            "--quiet",
            "--profile",
            "enter",
            "-p",
            "oarlock-enter",
            "--bins",
            "--features",
            "program",
        ],
    )
    .args(["--", "-D", "warnings"])
    .show()?;
    // A workspace of its own; nothing is linked here, so libFuzzer is not built.
    cargo(
        layout,
        [
            "clippy",
            "--quiet",
            "--manifest-path",
            "fuzz/Cargo.toml",
            "--target-dir",
        ],
    )
    .args([layout.cargo_target().join("fuzz")])
    .args(["--", "-D", "warnings"])
    .env("CUSTOM_LIBFUZZER_PATH", "not-linked/libFuzzer.a")
    .show()?;
    say("documentation");
    cargo(
        layout,
        [
            "doc",
            "--quiet",
            "--workspace",
            "--no-deps",
            "--document-private-items",
        ],
    )
    .env("RUSTDOCFLAGS", "-D warnings")
    .show()?;
    say("file lengths");
    lengths(layout)?;
    say("dependencies of what runs as root");
    trees(layout)?;
    for extra in &EXTRAS {
        if find_program(extra.program).is_none() {
            say(&format!(
                "skipped: {}; get it with: {}",
                extra.program, extra.get
            ));
            continue;
        }
        say(extra.program);
        Job::new(format!("run {}", extra.program), extra.argv.iter().copied())
            .dir(&layout.root)
            .limit(600)
            .show()?;
    }
    Ok(())
}

/// Demands that nothing of [`UNPRIVILEGED`] is in the trees of [`PRIVILEGED`],
/// whatever features are chosen.
fn trees(layout: &Layout) -> Result<()> {
    for root in PRIVILEGED {
        let tree = cargo(layout, ["tree", "--quiet", "--locked", "--package", root])
            .args(["--all-features", "--edges", "normal", "--prefix", "none"])
            .capture()?;
        if let Some(found) = unprivileged(&tree) {
            bail!(
                "{root} depends on {found}, which must not run as root; see: cargo tree -p {root} -e normal -i {found}"
            );
        }
    }
    Ok(())
}

/// The first of [`UNPRIVILEGED`] in what `cargo tree --prefix none` prints:
/// `NAME vVERSION ...`, a line a crate.
fn unprivileged(tree: &str) -> Option<&str> {
    tree.lines()
        .filter_map(|line| line.split_whitespace().next())
        .find(|name| UNPRIVILEGED.contains(name))
}

/// Demands that no source file has more than [`MAX_LINES`] lines.
fn lengths(layout: &Layout) -> Result<()> {
    let files = Job::new(
        "list the source files",
        [
            "git",
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
        ],
    )
    .dir(&layout.root)
    .capture()?;
    let mut long = Vec::new();
    for name in files.lines() {
        if !SOURCES.iter().any(|ending| name.ends_with(ending)) {
            continue;
        }
        let path = layout.root.join(name);
        // A file that was deleted and not yet committed is still listed.
        if !path.exists() {
            continue;
        }
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let lines = text.lines().count();
        if lines > MAX_LINES {
            long.push(format!("{name}: {lines} lines"));
        }
    }
    if long.is_empty() {
        return Ok(());
    }
    bail!(
        "files with more than {MAX_LINES} lines; split them by subject:\n{}",
        long.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::unprivileged;

    #[test]
    fn a_crate_is_found_in_a_tree_by_its_whole_name() {
        let tree = "runtime-core v0.1.0 (/r/runtime-core)\nserde v1.0.228\n";
        assert_eq!(unprivileged(tree), None);
        assert_eq!(unprivileged("sif-signatures v1.0.0\n"), None);
        let with = format!("{tree}squashfs-check v0.1.0 (/r/squashfs-check)\nserde v1 (*)\n");
        assert_eq!(unprivileged(&with), Some("squashfs-check"));
    }
}
