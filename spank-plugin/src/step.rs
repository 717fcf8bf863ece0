//! What Slurm says of this step, as a request to `oarlock-prepare`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use runtime_core::cgroup::own::Step;
use runtime_core::entry::Entry;
use runtime_core::environment::Change;
use runtime_core::guard;
use runtime_core::path::HostPath;
use runtime_core::request::{Granted, Identity, Options, Request};
use runtime_core::sys::stand_in::PassOn;

use crate::failure::Failure;
use crate::ffi::{self, Refused, Spank, context};
use crate::options::{KNOWN, Side, handed_on};
use crate::plugstack::Plugstack;
use crate::state::state;

/// Slurm's numbers of special steps, slurm.h.
const EXTERN_STEP: u32 = 0xffff_fffc;
const BATCH_STEP: u32 = 0xffff_fffb;
const INTERACTIVE_STEP: u32 = 0xffff_fffa;

/// Variables that name the directories in which an MPI library meets Slurm's
/// PMIx server.
const MPI_DIRECTORIES: [&str; 3] = ["PMIX_SERVER_TMPDIR", "PMIX_SYSTEM_TMPDIR", "PALS_SPOOL_DIR"];

fn ask<T>(what: &str, answer: Result<T, Refused>) -> Result<T, Failure> {
    answer.map_err(|refused| Failure::new(what, refused.0))
}

/// Whether the task is a batch job's script.
pub(crate) fn is_batch_script(spank: Spank) -> bool {
    spank.step_id() == Ok(BATCH_STEP)
}

/// The job's environment.
pub(crate) fn environment(spank: Spank) -> Result<Vec<OsString>, Failure> {
    ask("environment", spank.environment())
}

/// Job and step in Slurm's own notation.
fn label(job: u32, step: u32) -> String {
    match step {
        BATCH_STEP => format!("{job}.batch"),
        INTERACTIVE_STEP => format!("{job}.interactive"),
        EXTERN_STEP => format!("{job}.extern"),
        number => format!("{job}.{number}"),
    }
}

/// Whether this is sbatch or salloc, or what they start on a node.
pub(crate) fn is_of_sbatch(spank: Spank) -> bool {
    match ffi::where_am_i() {
        context::S_CTX_ALLOCATOR => true,
        context::S_CTX_REMOTE => spank
            .step_id()
            .is_ok_and(|step| matches!(step, BATCH_STEP | INTERACTIVE_STEP)),
        _ => false,
    }
}

/// Takes away what the client sent for nodes that have no plugin, and the options
/// where they came with that alone: `sbatch --export=NONE` of Slurm up to 23.02
/// loses what it hands to the batch step itself.
///
/// # Errors
/// Where a client asked for a container and nothing says for which.
pub(crate) fn take_guard(spank: Spank) -> Result<(), Failure> {
    let environment = ask("environment", spank.environment())?;
    let Some(changes) = guard::disarm(&environment) else {
        return Ok(());
    };
    for change in &changes {
        match change {
            Change::Set(name, value) => ask("environment", spank.set_variable(name, value))?,
            Change::Unset(name) => spank.remove_variable(name),
        }
    }
    let mut state = state();
    if state.asked {
        return Ok(());
    }
    // From here on the step has a container or fails.
    state.asked = true;
    for (number, known) in (0..).zip(&KNOWN) {
        let names = handed_on(known);
        let mut values = names
            .iter()
            .filter_map(|n| variable(&environment, OsStr::new(n)));
        if let Some(value) = values.next() {
            let value = OsStr::from_bytes(value);
            let taken = state.given.take(number, value, Side::Node);
            taken.map_err(|e| Failure(e.to_string()))?;
        }
    }
    match state.given.resolve() {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Failure(
            "a container was asked for, but no option says which: Slurm lost them on the way; are client and node of one version of Oarlock?".to_owned(),
        )),
        Err(error) => Err(Failure(error.to_string())),
    }
}

/// Collects the request.
pub(crate) fn request(
    spank: Spank,
    mut options: Options,
    plugstack: &Plugstack,
) -> Result<Request, Failure> {
    // One file, written by one node.
    if options.save.is_some() && ask("node's number", spank.node())? != 0 {
        options.save = None;
    }
    let (job, step) = (
        ask("job id", spank.job_id())?,
        ask("step id", spank.step_id())?,
    );
    let program = ask("command", spank.arguments())?.into_iter().next();
    let script = match (step, &program) {
        (BATCH_STEP, Some(path)) => HostPath::new(path).ok(),
        _ => None,
    };
    let socket = own_socket(job, step);
    let socket = socket.as_deref();
    Ok(Request {
        options,
        identity: Identity {
            uid: ask("user id", spank.uid())?,
            gid: ask("group id", spank.gid())?,
            groups: ask("supplementary groups", spank.groups())?,
        },
        environment: ask("environment", spank.environment())?,
        program,
        script,
        mpi: socket.and_then(|socket| expected_mpi_directory(socket, job, step)),
        scope: plugstack.scope,
        execute_entrypoint: plugstack.execute_entrypoint,
        ranks: ask("number of tasks", spank.local_tasks())?,
        granted: granted(spank),
        job,
        node: socket
            .and_then(|socket| node_name(socket, job, step))
            .unwrap_or_default(),
        slurm_conf: slurm_conf(),
        label: label(job, step),
        entry: Entry::Hook,
    })
}

/// slurmd tells its children which file it has read, whatever option, variable or
/// compiled-in place it had that from (`setenv("SLURM_CONF", …)` in slurmd.c).
fn slurm_conf() -> Option<HostPath> {
    HostPath::new(std::env::var_os("SLURM_CONF")?).ok()
}

/// What Slurm counts as the step's. What it does not tell, nobody is held to.
fn granted(spank: Spank) -> Granted {
    let (cores, job_cores) = spank.cores();
    let (memory, job_memory) = spank.memory();
    Granted {
        cores,
        job_cores,
        memory,
        job_memory,
    }
}

/// The name of the step's control groups, where it has some of ours.
pub(crate) fn own_group(spank: Spank) -> Option<Step> {
    let (job, step) = (spank.job_id().ok()?, spank.step_id().ok()?);
    let socket = own_socket(job, step);
    let node = socket.and_then(|socket| node_name(&socket, job, step));
    Some(Step::new(&node.unwrap_or_default(), job, &label(job, step)))
}

/// Which of slurmstepd's signals a process that stands in for its rank passes on. A
/// batch script is signalled by its number alone, whatever tracks it.
pub(crate) fn pass_on(spank: Spank) -> PassOn {
    if spank.step_id().ok() == Some(BATCH_STEP) {
        return PassOn::All;
    }
    PassOn::by_groups(&std::fs::read("/proc/self/cgroup").unwrap_or_default())
}

/// slurmstepd's own socket, which lies in SlurmdSpoolDir and is named for the node and
/// the step (stepd_api.c).
fn own_socket(job: u32, step: u32) -> Option<PathBuf> {
    ffi::own_socket_paths()
        .into_iter()
        .find(|path| node_name(path, job, step).is_some())
}

/// The node, as Slurm calls it: the environment tells it to tasks only. Behind the step
/// of a component of a heterogeneous job is the component's number.
fn node_name(socket: &Path, job: u32, step: u32) -> Option<String> {
    let name = socket.file_name()?.to_str()?;
    let (node, rest) = name.rsplit_once(&format!("_{job}.{step}"))?;
    let is_component = |rest: &str| {
        rest.strip_prefix('.')
            .is_some_and(|number| number.parse::<u32>().is_ok())
    };
    (rest.is_empty() || is_component(rest)).then(|| node.to_owned())
}

/// Where Slurm's PMIx server will meet its clients (mpi/pmix, pmixp_info.c): a
/// directory beside slurmstepd's own socket. A wrong guess costs time only.
fn expected_mpi_directory(socket: &Path, job: u32, step: u32) -> Option<HostPath> {
    HostPath::new(socket.parent()?.join(format!("pmix.{job}.{step}"))).ok()
}

/// What `srun --bcast` calls a program in a directory: slurmstepd's task.c puts it
/// behind a name that ends with `/`.
pub(crate) fn broadcast_name(spank: Spank, environment: &[OsString]) -> OsString {
    let (Ok(job), Ok(step)) = (spank.job_id(), spank.step_id()) else {
        return OsString::new();
    };
    let mut name = OsString::from(format!("slurm_bcast_{job}.{step}_"));
    let node = variable(environment, OsStr::new("SLURMD_NODENAME")).unwrap_or_default();
    name.push(OsStr::from_bytes(node));
    name
}

/// The directories of the task's MPI server, from the task's own environment.
pub(crate) fn mpi_directories(environment: &[OsString]) -> Vec<HostPath> {
    MPI_DIRECTORIES
        .iter()
        .filter_map(|name| {
            let value = variable(environment, OsStr::new(name))?;
            HostPath::new(OsStr::from_bytes(value)).ok()
        })
        .collect()
}

/// A variable's value in a list of `NAME=value`.
pub(crate) fn variable<'a>(environment: &'a [OsString], name: &OsStr) -> Option<&'a [u8]> {
    environment.iter().find_map(|entry| {
        entry
            .as_bytes()
            .strip_prefix(name.as_bytes())?
            .strip_prefix(b"=")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_names_its_node() {
        for (path, expected) in [
            ("/spool/node1_7.0", Some("node1")),
            ("/spool/rack_1_7.0", Some("rack_1")),
            ("/spool/node1_7.0.1", Some("node1")),
            ("/spool/node1_7.01", None),
            ("/spool/node1_17.0", None),
            ("/spool/node1_7.0.x", None),
            ("/spool/7.0", None),
        ] {
            let found = node_name(Path::new(path), 7, 0);
            assert_eq!(found.as_deref(), expected, "{path}");
        }
    }
}
