//! What is run side by side, as commands of a shell in the cluster.

/// The image of the demonstration.
pub(crate) const DEMO: &str = "demo";

/// The image with many Python modules.
pub(crate) const MODULES: &str = "modules";

/// The image with much that cannot be compressed.
pub(crate) const BULK: &str = "bulk";

/// The image with this name where the kernel mounts it: a file of root on a
/// path that only root can change.
pub(crate) fn kernel_sif(image: &str) -> String {
    format!("/opt/images/{image}.sif")
}

/// The same file on a path that belongs to everybody: a FUSE server serves it.
pub(crate) fn fuse_sif(image: &str) -> String {
    format!("/shared/images/{image}.sif")
}

/// The same root file system, unpacked.
pub(crate) fn tree(image: &str) -> String {
    format!("/shared/bench/{image}")
}

/// The same root file system as a bare squashfs.
pub(crate) fn squashfs(image: &str) -> String {
    format!("/shared/bench/{image}.squashfs")
}

/// A command that is measured; `$1` in it is the number of ranks.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// How it is called in the script: letters only.
    pub(crate) key: &'static str,
    /// How people read it.
    pub(crate) name: String,
    /// The command.
    pub(crate) command: String,
}

/// A way to run a program: what goes before it, and what srun is told.
struct Way {
    key: &'static str,
    name: &'static str,
    option: String,
    wrapper: String,
}

/// The key of the candidate that all others are compared with.
pub(crate) const BARE: &str = "bare";

/// The key of Oarlock with an image that the kernel mounts.
pub(crate) const KERNEL: &str = "kernel";

/// The key of Oarlock with an image that a FUSE server serves.
pub(crate) const FUSE: &str = "fuse";

/// The key of Oarlock with the node's own, checked copy of the same image.
pub(crate) const STAGED: &str = "staged";

/// The key of Apptainer with a SIF.
pub(crate) const APPTAINER: &str = "apptainer";

/// The ways to run a program in an image; each part of the benchmark takes
/// all of them, or picks some by their keys.
fn ways(image: &str) -> Vec<Way> {
    let way = |key, name, option: &str, wrapper: &str| Way {
        key,
        name,
        option: option.into(),
        wrapper: wrapper.into(),
    };
    let oarlock = |sif: &str| format!("--container-image={sif} ");
    vec![
        way(BARE, "no container", "", ""),
        way(
            KERNEL,
            "Oarlock, kernel mount",
            &oarlock(&kernel_sif(image)),
            "",
        ),
        // Else the node would make a copy of it, and mount that the next time.
        way(
            FUSE,
            "Oarlock, FUSE",
            &format!("--container-stage=off {}", oarlock(&fuse_sif(image))),
            "",
        ),
        way(
            STAGED,
            "Oarlock, staged copy",
            &format!("--container-stage=node {}", oarlock(&fuse_sif(image))),
            "",
        ),
        way(
            APPTAINER,
            "Apptainer, SIF",
            "",
            &format!("apptainer exec {} ", fuse_sif(image)),
        ),
        way(
            "charliecloud",
            "Charliecloud, directory",
            "",
            &format!("ch-run {} -- ", tree(image)),
        ),
    ]
}

/// `program` in the demonstration's image, as [`steps_in`] has it.
pub(crate) fn steps(program: &str, has: impl Fn(&str) -> bool) -> Vec<Candidate> {
    steps_in(DEMO, program, has)
}

/// Steps: `program` on `$1` ranks of one node, in each way to run this image
/// that is available.
pub(crate) fn steps_in(image: &str, program: &str, has: impl Fn(&str) -> bool) -> Vec<Candidate> {
    let srun = r#"srun -N1 -w node1 -n"$1" --overcommit"#;
    ways(image)
        .into_iter()
        .filter(|way| available(&way.wrapper, &has))
        .map(|way| Candidate {
            key: way.key,
            name: way.name.into(),
            command: format!("{srun} {}{}{program}", way.option, way.wrapper),
        })
        .collect()
}

/// A step over both nodes in the demonstration's image, in Oarlock's ways:
/// `program` on `$1` ranks.
pub(crate) fn wide(program: &str) -> Vec<Candidate> {
    ways(DEMO)
        .into_iter()
        .filter(|way| [KERNEL, FUSE].contains(&way.key))
        .map(|way| Candidate {
            key: way.key,
            name: way.name.into(),
            command: format!(r#"srun -N2 -n"$1" {}{program}"#, way.option),
        })
        .collect()
}

/// The same measurement as the bare step, under another name: how far the two
/// differ is how far the noise goes.
pub(crate) fn bare_again(steps: &[Candidate]) -> Option<Candidate> {
    let bare = steps.iter().find(|candidate| candidate.key == BARE)?;
    Some(Candidate {
        key: "again",
        name: "no container, once more".into(),
        command: bare.command.clone(),
    })
}

/// `true` from a shell, without Slurm.
pub(crate) fn shell(has: impl Fn(&str) -> bool) -> Vec<Candidate> {
    let (sif, tree) = (fuse_sif(DEMO), tree(DEMO));
    let candidate = |key, name: &str, wrapper: String| Candidate {
        key,
        name: name.into(),
        command: format!("{wrapper}/bin/true"),
    };
    [
        candidate(BARE, "no container", String::new()),
        candidate(FUSE, "oarlock exec, SIF", format!("oarlock exec {sif} ")),
        candidate(
            "directory",
            "oarlock exec, directory",
            format!("oarlock exec {tree} "),
        ),
        candidate(
            APPTAINER,
            "apptainer exec, SIF",
            format!("apptainer exec {sif} "),
        ),
        candidate(
            "charliecloud",
            "ch-run, directory",
            format!("ch-run {tree} -- "),
        ),
    ]
    .into_iter()
    .filter(|candidate| available(&candidate.command, &has))
    .collect()
}

/// Whether a command's program is there; one that only Slurm runs always is.
fn available(command: &str, has: &impl Fn(&str) -> bool) -> bool {
    match command.split_whitespace().next() {
        Some(program) if !program.starts_with('/') => has(program),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::{bare_again, shell, steps};

    #[test]
    fn a_peer_that_is_missing_is_left_out() {
        let keys = |has: &dyn Fn(&str) -> bool| -> Vec<&str> {
            steps("true", has).iter().map(|step| step.key).collect()
        };
        assert_eq!(
            keys(&|_| true),
            [
                "bare",
                "kernel",
                "fuse",
                "staged",
                "apptainer",
                "charliecloud"
            ]
        );
        assert_eq!(keys(&|program| program != "apptainer").len(), 5);
        assert_eq!(keys(&|_| false), ["bare", "kernel", "fuse", "staged"]);
        assert_eq!(shell(|program| program != "apptainer").len(), 4);
    }

    #[test]
    fn commands_are_what_a_user_types() {
        let steps = steps("true", |_| true);
        let command = |key| {
            let step = steps.iter().find(|step| step.key == key).unwrap();
            step.command.as_str()
        };
        assert_eq!(
            command("kernel"),
            r#"srun -N1 -w node1 -n"$1" --overcommit --container-image=/opt/images/demo.sif true"#
        );
        assert_eq!(
            command("charliecloud"),
            r#"srun -N1 -w node1 -n"$1" --overcommit ch-run /shared/bench/demo -- true"#
        );
        let again = bare_again(&steps).unwrap();
        assert_eq!(again.command, command("bare"));
    }
}
