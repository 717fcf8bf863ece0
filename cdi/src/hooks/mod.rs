//! Hooks that a container runtime can do itself.
//!
//! NVIDIA's generator writes hooks into each spec, nearly all of which prepare the
//! container's files before anything runs in it. What they do is known, so nothing
//! of a host has to be run as root on a container's mounts. Every option has to be
//! known: a hook with one that is not is foreign, and so is every other program.
//! What becomes of foreign hooks is the site's policy, and the caller's to know.
//!
//! The commands and their options are those of `nvidia-cdi-hook` and of
//! `nvidia-ctk hook` in NVIDIA's container toolkit, versions 1.13 to 1.19.
//!
//! Nothing is run, looked up or made here.

use std::path::{Path, PathBuf};

use crate::edits::{Hook, Stage};
use crate::error::{quoted, shown};
use crate::path;

mod options;

use options::Options;

/// What a hook does, for a runtime that does it itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Native {
    /// `create-symlinks`: links to make in the container, in this order, with the
    /// directories to them. What is at a link's place goes.
    Symlinks(Vec<Symlink>),
    /// `update-ldcache`: have ldconfig look into these directories of the container as
    /// well, and write its cache anew. It also makes the links by SONAME there.
    LdConfig {
        /// In the container; none where only the cache is to be made.
        folders: Vec<PathBuf>,
    },
    /// `create-soname-symlinks`: the links by SONAME in these directories of the
    /// container, as `ldconfig -n` makes them.
    SonameLinks {
        /// In the container.
        folders: Vec<PathBuf>,
    },
    /// `chmod`: the mode of directories above device nodes. A workaround for old
    /// versions of crun; whoever makes them with a sensible mode has nothing to do.
    Chmod {
        /// The permission bits.
        mode: u32,
        /// In the container.
        paths: Vec<PathBuf>,
    },
    /// `enable-cuda-compat`: where the image has newer CUDA compatibility libraries
    /// than the host's driver, the hook puts their directory before the driver's.
    /// Nothing has to be done for a container to work, and a runtime that leaves it
    /// out should say so where the image has `/usr/local/cuda/compat`.
    CudaCompat {
        /// The driver's version: `570.86.15`.
        host_driver: Option<String>,
    },
    /// There is nothing to do for it where a container has a /dev of its own and
    /// cannot make nodes.
    NotNeeded {
        /// The hook's command.
        command: &'static str,
    },
}

/// A link in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symlink {
    /// What the link says. It may be relative and may go up: it means something in the
    /// container only.
    pub target: PathBuf,
    /// Where it is: absolute, without `..`.
    pub link: PathBuf,
}

/// A hook that would have to be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} hook {}: {why}", stage.name(), shown(path))]
pub struct Foreign {
    /// When.
    pub stage: Stage,
    /// The program.
    pub path: PathBuf,
    /// Why it cannot be done without running it.
    pub why: String,
}

/// What a hook does.
///
/// # Errors
/// Where it would have to be run to know.
pub fn classify(hook: &Hook) -> Result<Native, Foreign> {
    native(hook).map_err(|why| Foreign {
        stage: hook.stage,
        path: hook.path.clone(),
        why,
    })
}

fn native(hook: &Hook) -> Result<Native, String> {
    if matches!(hook.stage, Stage::Poststart | Stage::Poststop) {
        return Err(String::from("it runs after the container is made"));
    }
    let (command, rest) = command(hook)?;
    let options = |known: &[&'static str]| Options::parse(command, rest, known);
    match command {
        "create-symlinks" => {
            let links = options(&["link"])?.take("link");
            let links = links.iter().map(|link| symlink(link));
            links.collect::<Result<_, _>>().map(Native::Symlinks)
        }
        // Which ldconfig is used does not change what is asked for.
        "update-ldcache" => Ok(Native::LdConfig {
            folders: options(&["folder", "ldconfig-path"])?.paths("folder")?,
        }),
        "create-soname-symlinks" => Ok(Native::SonameLinks {
            folders: options(&["folder", "ldconfig-path"])?.paths("folder")?,
        }),
        "chmod" => {
            let mut options = options(&["mode", "path"])?;
            let mode = options.take("mode").pop().unwrap_or_default();
            Ok(Native::Chmod {
                mode: permissions(&mode).ok_or_else(|| format!("chmod: mode {}", quoted(&mode)))?,
                paths: options.paths("path")?,
            })
        }
        "enable-cuda-compat" => {
            let known = [
                "host-driver-version",
                "host-cuda-version",
                "cuda-compat-container-root",
            ];
            Ok(Native::CudaCompat {
                host_driver: options(&known)?.take("host-driver-version").pop(),
            })
        }
        // It hides from the driver's library that it may make nodes.
        "disable-device-node-modification" => {
            options(&[])?;
            Ok(Native::NotNeeded {
                command: "disable-device-node-modification",
            })
        }
        // It has EGL and Vulkan look at no other GPUs than those that are there.
        "update-application-profile" => Ok(Native::NotNeeded {
            command: "update-application-profile",
        }),
        other => Err(format!("its command {} is not known", quoted(other))),
    }
}

/// Octal digits, of the nine permission bits only.
fn permissions(text: &str) -> Option<u32> {
    // from_str_radix() would take a sign.
    let digits = Some(text).filter(|text| text.chars().all(|c| c.is_digit(8)))?;
    u32::from_str_radix(digits, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
}

/// The command and what follows it: `nvidia-cdi-hook COMMAND …`, or
/// `nvidia-ctk hook COMMAND …`. The installer for Kubernetes has the programs behind
/// scripts, with `.real` in their names.
fn command(hook: &Hook) -> Result<(&str, &[String]), String> {
    let program = hook.path.file_name().and_then(|name| name.to_str());
    let program = program.map(|name| name.strip_suffix(".real").unwrap_or(name));
    // The first is the program's own name.
    let mut rest = hook.args.get(1..).unwrap_or_default();
    loop {
        match rest {
            [flag, others @ ..] if matches!(flag.as_str(), "--debug" | "-d" | "--quiet" | "-q") => {
                rest = others;
            }
            [word, others @ ..] if word == "hook" && program == Some("nvidia-ctk") => {
                let [command, others @ ..] = others else {
                    return Err(String::from("it has no command"));
                };
                return Ok((command, others));
            }
            [command, others @ ..] if program == Some("nvidia-cdi-hook") => {
                return Ok((command, others));
            }
            [] if matches!(program, Some("nvidia-ctk" | "nvidia-cdi-hook")) => {
                return Err(String::from("it has no command"));
            }
            _ => return Err(String::from("what this program does is not known")),
        }
    }
}

/// `TARGET::LINK`
fn symlink(text: &str) -> Result<Symlink, String> {
    let (target, link) = text
        .split_once("::")
        .filter(|(target, _)| !target.is_empty())
        .ok_or_else(|| format!("link {} is not of the form TARGET::LINK", quoted(text)))?;
    if target.chars().any(char::is_control) {
        return Err(format!("link {} has control characters", quoted(text)));
    }
    Ok(Symlink {
        target: Path::new(target).to_owned(),
        link: path::inside(link)?,
    })
}

#[cfg(test)]
mod tests;
