//! One test: it runs on the cluster, and afterwards the machines must be as they
//! were.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use libtest_mimic::{Failed, Trial};

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
        Trial::test(self.name, move || checked(&cluster, run)).with_ignored_flag(missing)
    }
}

/// Runs a test between two looks at the machines.
fn checked(cluster: &Cluster, run: impl FnOnce(&Cluster)) -> Result<(), Failed> {
    // What making the images leaves is not the test's.
    cluster.images();
    let before = Snapshot::take_when_idle(cluster);
    let outcome = catch_unwind(AssertUnwindSafe(|| run(cluster)));
    let left = before.compare_when_quiet(cluster);
    let mut problems = Vec::new();
    if let Err(panic) = outcome {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        problems.push(text.unwrap_or("panicked").to_owned());
    }
    if !left.is_empty() {
        problems.push(format!("left behind:\n{}", left.join("\n")));
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems.join("\n").into())
    }
}

/// Lists the test functions of a module.
#[macro_export]
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        vec![$($crate::Case::new(module_path!(), stringify!($name), $name)),*]
    };
}
