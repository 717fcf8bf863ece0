//! Debian's base image: from the engine, from a registry, or made here.
//!
//! Where no registry can be reached, debootstrap makes it and it is imported
//! under the same tag, so that the Dockerfiles need not know.

use anyhow::Result;

use crate::engine::Engine;
use crate::job::{Job, say};
use crate::layout::{Layout, make_dir};
use crate::packages;

/// Makes sure that the engine has `debian:SUITE`.
pub(crate) fn ensure(layout: &Layout, engine: &Engine, suite: &str) -> Result<()> {
    let tag = format!("debian:{suite}");
    if engine.has_image(&tag) {
        return Ok(());
    }
    say(&format!("pulling the base image {tag}"));
    let pull = engine
        .docker("pull the base image", ["pull", &tag])
        .limit(300);
    if pull.log_to(&layout.log("pull")?).is_ok() {
        return Ok(());
    }
    say(&format!(
        "{tag} cannot be pulled: making it with debootstrap"
    ));
    packages::ensure(layout, packages::DEBOOTSTRAP)?;
    make_dir(&layout.cluster())?;
    let tree = layout.cluster().join(format!("debootstrap-{suite}"));
    let archive = layout.cluster().join(format!("debootstrap-{suite}.tar"));
    remove(&tree)?;
    let mut bootstrap = Job::new(
        "make a base system",
        ["debootstrap", "--variant=minbase", suite],
    )
    .args([&tree])
    .root_if(true)
    .limit(900);
    if let Some(mirror) = mirror() {
        bootstrap = bootstrap.args([mirror]);
    }
    bootstrap.log_to(&layout.log(&format!("debootstrap-{suite}"))?)?;
    // Manuals and package archives are not for a throw-away machine.
    Job::new("pack the base system", ["tar", "-c", "-f"])
        .args([&archive])
        .args(["-C"])
        .args([&tree])
        .args([
            "--exclude=./var/cache/apt/*",
            "--exclude=./var/lib/apt/lists/*",
            "--exclude=./usr/share/doc/*",
            "--exclude=./usr/share/man/*",
            "--exclude=./usr/share/locale/*",
            "--exclude=./var/log/*",
            ".",
        ])
        .root_if(true)
        .limit(300)
        .capture()?;
    engine
        .docker(
            "import the base image",
            ["import", "--change", "CMD [\"bash\"]"],
        )
        .args([&archive])
        .args([&tag])
        .limit(300)
        .capture()?;
    remove(&tree)?;
    remove(&archive)
}

fn remove(path: &std::path::Path) -> Result<()> {
    Job::new(
        "clear away the base system",
        ["rm", "-rf", "--one-file-system"],
    )
    .args([path])
    .root_if(true)
    .limit(120)
    .capture()
    .map(drop)
}

/// The mirror that this machine's own apt reads Debian from, where it has one.
fn mirror() -> Option<String> {
    Job::new(
        "ask apt for its mirror",
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(ORIGIN) $(COMPONENT) $(REPO_URI)",
            "Created-By: Packages",
        ],
    )
    .capture()
    .ok()?
    .lines()
    .filter_map(|line| line.strip_prefix("Debian main "))
    // The security archive has no base system.
    .find(|uri| !uri.contains("security"))
    .map(|uri| uri.trim_end_matches('/').to_owned())
}
