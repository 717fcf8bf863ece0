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
