//! A user's own container, by a step on its node: srun takes this process' place.
//!
//! Everything is done with the user's rights, by the srun of his PATH.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::ContainerError;

/// Removes it; returns only where srun cannot be run.
pub(super) fn remove(node: Option<&str>, name: &str) -> Result<(), ContainerError> {
    run(node, name, &[format!("--container-name={name}:remove")])
}

/// Writes it to a file; returns only where srun cannot be run.
pub(super) fn export(node: Option<&str>, name: &str, file: &str) -> Result<(), ContainerError> {
    let options = [
        format!("--container-name={name}:no_exec"),
        format!("--container-save={file}"),
    ];
    run(node, name, &options)
}

fn run(node: Option<&str>, name: &str, options: &[String]) -> Result<(), ContainerError> {
    let mut srun = Command::new("srun");
    srun.args(arguments(node, std::env::var_os("SLURM_JOB_ID").is_some()));
    srun.args(options).arg("true").stdin(Stdio::null());
    // They are meant for other containers: an image would make one.
    for (variable, _) in std::env::vars_os() {
        let text = variable.as_encoded_bytes();
        if text.starts_with(b"OARLOCK_CONTAINER_") || text.starts_with(b"PYXIS_CONTAINER_") {
            srun.env_remove(variable);
        }
    }
    Err(ContainerError::Srun(name.to_owned(), srun.exec()))
}

/// One task; inside a job beside its other steps.
fn arguments(node: Option<&str>, in_job: bool) -> Vec<String> {
    let mut arguments: Vec<String> = ["--quiet", "-N1", "-n1"].map(str::to_owned).into();
    if in_job {
        arguments.push("--overlap".to_owned());
    }
    // One word: a name is never taken for an option.
    arguments.extend(node.map(|node| format!("--nodelist={node}")));
    arguments
}

#[cfg(test)]
mod tests {
    use super::arguments;

    #[test]
    fn a_node_is_one_word_and_a_job_is_shared() {
        assert_eq!(arguments(None, false), ["--quiet", "-N1", "-n1"]);
        assert_eq!(
            arguments(Some("-x"), true),
            ["--quiet", "-N1", "-n1", "--overlap", "--nodelist=-x"]
        );
    }
}
