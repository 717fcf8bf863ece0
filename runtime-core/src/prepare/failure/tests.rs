//! The text of messages that no test on a cluster brings about: what a kernel, a
//! node or a race would have to do wrong.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;

use super::*;
use crate::apply::{PlaceProblem, TargetProblem};
use crate::image::layout::FilesystemKind;
use crate::path::PathError;
use crate::prepare::checker::CheckError;
use crate::profile::ProfileError;
use crate::profile::environment::EnvironmentError;
use crate::profile::expand::{FillError, TemplateError};
use crate::profile::file::FileProblem;
use crate::request::MountProblem;
use crate::store::StoreError;
use crate::sys::file_capabilities::Unable;

/// Each error has exactly this text, in the form of all messages: one line, that
/// neither ends with a full stop nor shows how the error is written in Rust.
#[track_caller]
fn holds<E: Display>(table: impl IntoIterator<Item = (E, &'static str)>) {
    for (error, text) in table {
        let said = error.to_string();
        assert_eq!(said, text);
        assert!(!said.contains('\n') && !said.ends_with('.'), "{said}");
        assert!(
            !said.contains("Error {") && !said.contains("Some("),
            "{said}"
        );
    }
}

fn image() -> ImageName {
    ImageName::parse("app.sif".as_ref()).unwrap()
}

fn profile() -> ProfileName {
    ProfileName::parse("mine".as_ref()).unwrap()
}

fn denied() -> io::Error {
    io::ErrorKind::PermissionDenied.into()
}

#[test]
fn of_processes_that_become_the_user() {
    let subject = || "image app.sif".to_owned();
    holds([
        (
            Unanswered::Timeout {
                subject: subject(),
                seconds: 60,
            },
            "image app.sif: no answer within 60 s; is the file system it lies on alive?",
        ),
        (
            Unanswered::Died(subject()),
            "image app.sif: the process that opens it ended unexpectedly; see the node's journal",
        ),
        (
            Unanswered::Unwanted(subject()),
            "the step ended before image app.sif was opened",
        ),
        (
            Unanswered::Start {
                subject: subject(),
                error: denied(),
            },
            "image app.sif: starting the process that opens it: permission denied",
        ),
    ]);
}

#[test]
fn of_the_builder() {
    holds([
        (
            BuildError::Timeout {
                image: image(),
                seconds: 60,
            },
            "image app.sif: the container was not built within 60 s; is every mounted file system alive?",
        ),
        (
            BuildError::Died(image()),
            "image app.sif: the process that builds the container ended unexpectedly; see the node's journal",
        ),
        (
            BuildError::Unwanted,
            "the step ended before its container was built",
        ),
        (
            BuildError::Start {
                image: image(),
                error: denied(),
            },
            "image app.sif: starting the process that builds the container: permission denied",
        ),
    ]);
}

#[test]
fn of_containers_with_names() {
    let name = || "work".to_owned();
    holds([
        (
            NamedError::Served { name: name() },
            "container work: another step writes to it through FUSE, and two cannot; join it (:exec), or wait for that step's end",
        ),
        (
            NamedError::Busy {
                name: name(),
                seconds: 60,
            },
            "container work: another step holds it for more than 60 s; try again",
        ),
        (
            NamedError::Step {
                name: name(),
                what: "reading its record",
                error: denied(),
            },
            "container work: reading its record: permission denied",
        ),
    ]);
}

#[test]
fn of_saving() {
    let path = || "/home/a/new.sif".to_owned();
    holds([
        (
            SaveError::NoProgram { path: path() },
            "--container-save=/home/a/new.sif: mksquashfs is not on this node; install squashfs-tools",
        ),
        (
            SaveError::Step {
                path: path(),
                what: "waiting for it",
                error: denied(),
            },
            "--container-save=/home/a/new.sif: not saved: waiting for it: permission denied",
        ),
        (
            SaveError::Failed {
                path: path(),
                why: "No space left on device".to_owned(),
            },
            "--container-save=/home/a/new.sif: not saved: No space left on device",
        ),
    ]);
}

#[test]
fn of_the_node() {
    holds([
        (
            Failure::PrologInside,
            "the container that is joined has process ids or root of its own, and the step has a task prolog; use its files without joining it: --container-name=NAME:no_exec",
        ),
        (
            Failure::TaskGone,
            "the first task of the node was ended before its container was there",
        ),
        (
            Failure::Identity(IdentityError::Namespace(denied())),
            "--container-remap-root: making a user namespace: permission denied; ask your admin whether this node allows them (sysctl user.max_user_namespaces)",
        ),
        (
            Failure::Identity(IdentityError::Map(denied())),
            "--container-remap-root: the user namespace's ids: permission denied; ask your admin to look at /etc/subuid and /etc/subgid",
        ),
        (
            Failure::Request("unexpected end".to_owned()),
            "the plugin's request cannot be read (unexpected end); are plugin and oarlock-prepare of one version?",
        ),
    ]);
    holds([
        (
            Unable::NotRoots,
            "it is not a program of root's that only root can write",
        ),
        (Unable::Nosuid, "its file system is mounted nosuid"),
        (Unable::NoNewPrivileges, "slurmstepd runs with no_new_privs"),
        (Unable::None, "it lacks its file capabilities"),
    ]);
    holds([
        (
            CheckError::NoAccount("oarlock".to_owned()),
            "there is no account \"oarlock\" to check images with; create it (sysusers.d/oarlock.conf) or set images.untrusted = \"fuse\"",
        ),
        (
            CheckError::Died {
                program: PathBuf::from("/usr/libexec/oarlock/oarlock-check"),
                code: 137,
            },
            "/usr/libexec/oarlock/oarlock-check ended with code 137 and without an answer",
        ),
    ]);
    holds([
        (
            ChoiceError::Look(denied()),
            "looking at the opened file: permission denied",
        ),
        (
            ChoiceError::Store(StoreError::Changed),
            "its signature cannot be verified: the image was changed while it was copied",
        ),
    ]);
}

#[test]
fn of_mounts_and_images() {
    holds([
        (
            ApplyError::Loop(denied()),
            "loop device: permission denied; is the loop module loaded and /dev/loop-control there?",
        ),
        (
            ApplyError::NoFuse(denied()),
            "/dev/fuse: permission denied; is the fuse module loaded, and may you open it?",
        ),
        (
            ApplyError::Owners {
                kind: FilesystemKind::Squashfs,
                error: denied(),
            },
            "the kernel cannot show the files of its squashfs file system as the user's own, which a writable container needs: permission denied; use squashfs with Linux 6.2 or newer, or squashfuse 0.5 or newer",
        ),
        (
            ApplyError::ServerEnded,
            "the FUSE server ended before it answered; is the image damaged? try unsquashfs -s on it",
        ),
        (
            ApplyError::Survey,
            "the process that reads the image's passwd and group ended early; is the image damaged?",
        ),
        (
            ApplyError::Scripts,
            "the image's environment scripts (/.singularity.d/env/*.sh) failed in its own /bin/sh; try them one by one in a copy of the image",
        ),
        (
            ApplyError::MountTarget {
                mount: "/data".to_owned(),
                target: crate::path::ContainerPath::new("/etc/hosts").unwrap(),
                problem: TargetProblem::Kernel(denied()),
            },
            "mount /data:/etc/hosts: target: permission denied",
        ),
        (
            ApplyError::Place {
                path: "/etc/passwd",
                problem: PlaceProblem::Covered,
            },
            "/etc/passwd: leads into another mount through the image's links; correct the image",
        ),
    ]);
}

#[test]
fn of_requests() {
    holds([
        (
            RequestError::Control("image"),
            "image: the value holds a control character",
        ),
        (
            RequestError::NameUse("later".to_owned()),
            "--container-name: \"later\" is none of auto, create, exec, no_exec and remove",
        ),
        (
            RequestError::Overlay {
                entry: ":ro".to_owned(),
                error: PathError::Empty,
            },
            "overlay \":ro\": the path is empty; the form is PATH[:ro|:rw]",
        ),
        (
            RequestError::EmptyProfile,
            "no profile is named; give a name or a path",
        ),
    ]);
    holds([
        (
            MountProblem::Unfitting("size=1g".to_owned()),
            "flag \"size=1g\" does not go with this source",
        ),
        (
            MountProblem::Value("size=much".to_owned()),
            "flag \"size=much\": its value is wrong",
        ),
    ]);
}

#[test]
fn of_profiles() {
    holds([
        (
            TemplateError::Dollar,
            "a \"$\" stands alone; write ${NAME} for a variable, $$ for a dollar sign",
        ),
        (
            TemplateError::Open,
            "\"${\" without \"}\"; the forms are ${NAME} and ${NAME:-text}",
        ),
        (
            TemplateError::Name("1A".to_owned()),
            "\"${1A}\" names no variable; the forms are ${NAME} and ${NAME:-text}",
        ),
        (
            TemplateError::Default("A:-$B".to_owned()),
            "\"${A:-$B}\": a default may not hold a \"$\"",
        ),
    ]);
    holds([(
        FillError::Unset("DATA".to_owned()),
        "the variable DATA is not set; export it, or write ${DATA:-} where it may be missing",
    )]);
    holds([(
        FileProblem::Annotation("com.site.x".to_owned()),
        "annotations.com.site.x: give a string, a number, true or false",
    )]);
    holds([(
        EnvironmentError::TooLong,
        "profile: [env] is longer than 2 MiB with its variables",
    )]);
    holds([
        (
            ProfileError::NoText(PathBuf::from("/home/a/mine.toml")),
            "profile /home/a/mine.toml: not UTF-8 text",
        ),
        (
            ProfileError::Nowhere(profile()),
            "profile mine: the working directory is not known, and the path is relative to it",
        ),
        (
            ProfileError::Large { name: profile() },
            "profile mine: with its base_environment and its variables it is longer than 12 KiB, or has more than 100 mounts",
        ),
    ]);
}
