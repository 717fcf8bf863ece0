//! What is run side by side, as commands of a shell in the cluster.

/// An image that the kernel mounts: a file of root on a path that only root
/// can change.
pub(crate) const KERNEL_SIF: &str = "/opt/images/demo.sif";

/// The same file on a path that belongs to everybody: a FUSE server serves it.
pub(crate) const FUSE_SIF: &str = "/shared/images/demo.sif";

/// The same root file system, unpacked.
pub(crate) const TREE: &str = "/shared/bench/demo";

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

fn ways() -> Vec<Way> {
    let way = |key, name, option: &str, wrapper: &str| Way {
        key,
        name,
        option: option.into(),
        wrapper: wrapper.into(),
    };
    let oarlock = |sif: &str| format!("--container-image={sif} ");
    vec![
        way(BARE, "no container", "", ""),
        way(KERNEL, "Oarlock, kernel mount", &oarlock(KERNEL_SIF), ""),
        way(FUSE, "Oarlock, FUSE", &oarlock(FUSE_SIF), ""),
        way(
            "apptainer",
            "Apptainer, SIF",
            "",
            &format!("apptainer exec {FUSE_SIF} "),
        ),
        way(
            "charliecloud",
            "Charliecloud, directory",
            "",
            &format!("ch-run {TREE} -- "),
        ),
    ]
}

/// Steps that do nothing: `program` on `$1` ranks of one node, in each way that
/// is available.
pub(crate) fn steps(program: &str, has: impl Fn(&str) -> bool) -> Vec<Candidate> {
    ways()
        .into_iter()
        .filter(|way| available(&way.wrapper, &has))
        .map(|way| Candidate {
            key: way.key,
            name: way.name.into(),
            command: format!(
                r#"srun -N1 -w node1 -n"$1" --overcommit {}{}{program}"#,
                way.option, way.wrapper
            ),
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
    let candidate = |key, name: &str, wrapper: String| Candidate {
        key,
        name: name.into(),
        command: format!("{wrapper}/bin/true"),
    };
    [
        candidate(BARE, "no container", String::new()),
        candidate(
            FUSE,
            "oarlock exec, SIF",
            format!("oarlock exec {FUSE_SIF} "),
        ),
        candidate(
            "directory",
            "oarlock exec, directory",
            format!("oarlock exec {TREE} "),
        ),
        candidate(
            "apptainer",
            "apptainer exec, SIF",
            format!("apptainer exec {FUSE_SIF} "),
        ),
        candidate(
            "charliecloud",
            "ch-run, directory",
            format!("ch-run {TREE} -- "),
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
            ["bare", "kernel", "fuse", "apptainer", "charliecloud"]
        );
        assert_eq!(keys(&|program| program != "apptainer").len(), 4);
        assert_eq!(keys(&|_| false), ["bare", "kernel", "fuse"]);
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
