//! One test: it runs on the cluster, and afterwards the machines must be as they
//! were.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use libtest_mimic::{Completion, Failed, Trial};

use crate::cluster::Cluster;
use crate::leftovers::Snapshot;

/// A named test.
pub struct Case {
    name: String,
    run: Box<dyn FnOnce(&Cluster) + Send>,
    needs: &'static str,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case").field("name", &self.name).finish()
    }
}

impl Case {
    /// A test by its module's path and its own name.
    pub fn new(module: &str, name: &str, run: impl FnOnce(&Cluster) + Send + 'static) -> Self {
        let module = module.strip_prefix("cluster::").unwrap_or(module);
        Self {
            name: format!("{module}::{name}"),
            run: Box::new(run),
            needs: "",
        }
    }

    /// Is ignored where the cluster has no such program.
    #[must_use]
    pub fn needs(mut self, program: &'static str) -> Self {
        self.needs = program;
        self
    }

    /// For the harness; ignored where there is no cluster.
    #[must_use]
    pub fn trial(self, cluster: Option<&Arc<Cluster>>) -> Trial {
        let Some(cluster) = cluster.cloned() else {
            return Trial::test(self.name, || Ok(())).with_ignored_flag(true);
        };
        let missing =
            !self.needs.is_empty() && cluster.alice(&format!("type -P {}", self.needs)).code != 0;
        let run = self.run;
        Trial::ignorable_test(self.name, move || checked(&cluster, run)).with_ignored_flag(missing)
    }
}

/// What a test ends with that cannot be made here.
struct Skipped(String);

/// Ends the test that runs: it cannot be made here, and the run's report says why.
/// Only for what this Slurm or this machine lacks.
///
/// # Panics
/// Always, with a value of its own, which is no failure.
pub fn skip(reason: &str) -> ! {
    std::panic::resume_unwind(Box::new(Skipped(reason.to_owned())))
}

/// Runs a test between two looks at the machines.
fn checked(cluster: &Cluster, run: impl FnOnce(&Cluster)) -> Result<Completion, Failed> {
    // What making the images leaves is not the test's.
    cluster.images();
    let before = Snapshot::take_when_idle(cluster);
    let outcome = catch_unwind(AssertUnwindSafe(|| run(cluster)));
    let left = before.compare_when_quiet(cluster);
    let mut problems = Vec::new();
    let mut reason = None;
    if let Err(panic) = outcome {
        if let Some(Skipped(why)) = panic.downcast_ref() {
            reason = Some(why.clone());
        } else {
            problems.push(words(panic.as_ref()));
        }
    }
    if !left.is_empty() {
        problems.push(format!("left behind:\n{}", left.join("\n")));
    }
    if !problems.is_empty() {
        return Err(problems.join("\n").into());
    }
    Ok(reason.map_or(Completion::Completed, Completion::ignored_with))
}

/// What a panic said.
fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("panicked").to_owned()
}

/// Lists the test functions of a module.
#[macro_export]
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        vec![$($crate::Case::new(module_path!(), stringify!($name), $name)),*]
    };
}
