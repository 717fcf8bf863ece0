//! Where things lie in the workspace, and which Slurm comes from which Debian.
//!
//! Only names places; it never makes them, but for the log folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;

/// A version of Slurm that the cluster can be built with.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum Slurm {
    /// Debian 12
    #[value(name = "22.05")]
    V22_05,
    /// Debian 13
    #[default]
    #[value(name = "24.11")]
    V24_11,
    /// Debian unstable
    #[value(name = "26.05")]
    V26_05,
}

impl Slurm {
    /// The version as people write it.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Slurm::V22_05 => "22.05",
            Slurm::V24_11 => "24.11",
            Slurm::V26_05 => "26.05",
        }
    }

    /// The Debian suite that ships this version.
    pub(crate) fn suite(self) -> &'static str {
        match self {
            Slurm::V22_05 => "bookworm",
            Slurm::V24_11 => "trixie",
            Slurm::V26_05 => "sid",
        }
    }

    /// An image whose MPI finds this version's server, and the server's name
    /// as `--mpi` has it. Debian builds 26.05 without PMIx.
    pub(crate) fn mpi(self) -> (&'static str, &'static str) {
        match self {
            Slurm::V22_05 | Slurm::V24_11 => ("demo", "pmix"),
            Slurm::V26_05 => ("mpich", "pmi2"),
        }
    }

    /// The tag of the cluster's container image.
    pub(crate) fn image(self) -> String {
        format!("oarlock-cluster:{}", self.suite())
    }
}

/// The workspace's folders.
pub(crate) struct Layout {
    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
}

impl Layout {
    /// Finds the workspace that this program was built from.
    pub(crate) fn of_this_workspace() -> Result<Self> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest
            .parent()
            .context("xtask: its Cargo.toml lies in no workspace; run it as `cargo xtask`")?;
        Ok(Self { root: root.into() })
    }

    /// Everything that the cluster makes on the host.
    pub(crate) fn cluster(&self) -> PathBuf {
        self.root.join("target/cluster")
    }

    /// What all machines of the cluster see as /shared.
    pub(crate) fn shared(&self) -> PathBuf {
        self.cluster().join("shared")
    }

    /// The staged tree that the machines install Oarlock from.
    pub(crate) fn install(&self) -> PathBuf {
        self.cluster().join("install")
    }

    /// The folder that holds `slurm/spank.h` of this version.
    pub(crate) fn slurm_include(&self, slurm: Slurm) -> PathBuf {
        self.cluster()
            .join(format!("slurm-{}/include", slurm.version()))
    }

    /// Where cargo puts what it builds.
    pub(crate) fn cargo_target(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| self.root.join("target"), |dir| self.root.join(dir))
    }

    /// The log file of a step; its folder exists afterwards.
    pub(crate) fn log(&self, name: &str) -> Result<PathBuf> {
        let dir = self.cluster().join("log");
        make_dir(&dir)?;
        Ok(dir.join(format!("{name}.log")))
    }
}

/// Makes a folder and those above it.
pub(crate) fn make_dir(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir)
        .with_context(|| format!("cannot make the folder {}", dir.display()))
}
