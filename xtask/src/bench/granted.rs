//! What it costs to have what Slurm granted: a GPU and its driver, and control groups
//! where Slurm makes none.
//!
//! The GPUs are made up; the files, the mounts and the groups are real.

use anyhow::Result;

use super::candidates::{self, APPTAINER, BARE, Candidate, KERNEL};
use super::report::Section;
use super::script::Plan;
use super::stats::{Spread, number};
use super::table::Table;
use super::timed::{self, Place, Runs};
use super::timing;
use crate::engine::Engine;

const METHOD: &str = "\
A step of one rank, as above, on a node that was set up in another way for each pair of rows; *build* and *entry* as Oarlock says them.
*Driver found*: twelve libraries and `nvidia-smi`, found by ldconfig's cache, compared with what the image's C library has, and
bound one by one. *CDI*: the same files, named by a specification. Apptainer's `--nv` looks for them by the same cache. *Groups*:
Slurm constrains nothing, and Oarlock makes groups for memory, processes and devices. The GPUs are made up, and nothing is in
the driver's files: what is measured is finding and showing them.";

/// How a node is set up: what is run on it, as root, before and behind.
#[derive(Debug)]
struct Setting {
    name: &'static str,
    /// A GPU is asked for.
    with_gpu: bool,
    /// Whether Apptainer can do the same.
    with_peer: bool,
    set: &'static [&'static str],
    unset: &'static str,
}

const DRIVER: &str = include_str!("granted/driver.sh");
const SPEC: &str = include_str!("granted/spec.sh");
const NO_DRIVER: &str = "\
    rm -rf /opt/bench-driver /etc/cdi/bench.yaml /etc/ld.so.conf.d/bench-driver.conf /usr/bin/nvidia-smi /dev/nvidia[0-3]
    rmdir /etc/cdi 2>/dev/null; ldconfig
    [ ! -e /root/gres.kept ] || mv /root/gres.kept /etc/slurm/gres.conf";
const UNCONSTRAINED: &str = "\
    cp -p /etc/slurm/cgroup.conf /root/cgroup.kept
    sed -i 's/^\\(Constrain.*\\)=.*/\\1=no/' /etc/slurm/cgroup.conf";
const CONSTRAINED: &str =
    "[ ! -e /root/cgroup.kept ] || mv /root/cgroup.kept /etc/slurm/cgroup.conf";

/// slurmd reads its files anew, and the node takes steps again.
const RESTART: &str = "\
    slurm-node restart
    for try in $(seq 100); do [ \"$(sinfo -h -p main -n node1 -o %T)\" = idle ] && exit; sleep 0.1; done; exit 1";

const SETTINGS: [Setting; 4] = [
    Setting {
        name: "nothing",
        with_gpu: false,
        with_peer: true,
        set: &[],
        unset: "true",
    },
    Setting {
        name: "a GPU, driver found",
        with_gpu: true,
        with_peer: true,
        set: &[DRIVER],
        unset: NO_DRIVER,
    },
    Setting {
        name: "a GPU, CDI",
        with_gpu: true,
        with_peer: false,
        set: &[DRIVER, SPEC],
        unset: NO_DRIVER,
    },
    Setting {
        name: "groups",
        with_gpu: false,
        with_peer: false,
        set: &[UNCONSTRAINED],
        unset: CONSTRAINED,
    },
];

/// A node that is set up, until this is dropped.
struct SetUp<'a> {
    engine: &'a Engine,
    setting: &'a Setting,
}

impl<'a> SetUp<'a> {
    fn new(engine: &'a Engine, setting: &'a Setting) -> Result<Self> {
        // What goes wrong half-way is put back, too.
        let set_up = Self { engine, setting };
        for script in setting.set {
            set_up.run(script)?;
        }
        set_up.run(RESTART)?;
        Ok(set_up)
    }

    fn run(&self, script: &str) -> Result<()> {
        let job = self.engine.exec(
            "node1",
            "root",
            "set a node up for a measurement",
            ["bash", "-c", script],
        );
        job.capture().map(drop)
    }
}

impl Drop for SetUp<'_> {
    fn drop(&mut self) {
        let back = self.run(self.setting.unset).and(self.run(RESTART));
        if let Err(error) = back {
            crate::job::say(&format!("node1 is not as it was: {error:#}"));
        }
    }
}

/// Measures a step in each setting.
pub(crate) fn measure(
    engine: &Engine,
    rounds: usize,
    has: &impl Fn(&str) -> bool,
) -> Result<Section> {
    let plan = Plan {
        rounds,
        pause: "0.15",
        keep_words: true,
    };
    let mut table = Table::new(["", "the step has", "step", "build", "entry"]);
    for setting in &SETTINGS {
        let candidates = candidates(setting, has);
        let _set_up = SetUp::new(engine, setting)?;
        let runs = timed::run(engine, Place::Allocation, &candidates, &[1], plan)?;
        for candidate in &candidates {
            table.row(row(setting, candidate, &runs));
        }
    }
    Ok(Section {
        title: "What Slurm granted",
        method: METHOD.into(),
        tables: vec![(
            "Milliseconds, and how many times the step without a container; entry in microseconds; medians",
            table,
        )],
        targets: Vec::new(),
    })
}

/// The same step without a container, with Oarlock, and with the peer that can do it.
fn candidates(setting: &Setting, has: &impl Fn(&str) -> bool) -> Vec<Candidate> {
    let wanted = |key| [BARE, KERNEL].contains(&key) || (key == APPTAINER && setting.with_peer);
    candidates::steps("true", has)
        .into_iter()
        .filter(|candidate| wanted(candidate.key))
        .map(|candidate| {
            let mut command = candidate.command;
            if setting.with_gpu {
                command = command.replacen("srun ", "srun --gres=gpu:1 ", 1).replacen(
                    "apptainer exec ",
                    "apptainer exec --nv ",
                    1,
                );
            }
            if candidate.key == KERNEL {
                command.insert_str(0, "OARLOCK_TIMING=1 ");
            }
            Candidate {
                command,
                ..candidate
            }
        })
        .collect()
}

fn row(setting: &Setting, candidate: &Candidate, runs: &Runs) -> [String; 5] {
    let times: Vec<_> = runs
        .of(candidate.key, 1)
        .flat_map(|run| run.said.iter().filter_map(|line| timing::parse(line)))
        .collect();
    let of = |part: fn(&timing::Timing) -> f64| {
        let spread = Spread::of(&times.iter().map(part).collect::<Vec<_>>());
        spread.map_or(String::new(), |spread| number(spread.median))
    };
    [
        candidate.name.clone(),
        setting.name.to_owned(),
        runs.against_bare(candidate.key, 1),
        of(|timing| timing.build),
        of(|timing| timing.entry),
    ]
}

#[cfg(test)]
mod tests {
    use super::{APPTAINER, KERNEL, SETTINGS, candidates, row};
    use crate::bench::timed::Runs;

    #[test]
    fn a_gpu_is_asked_for_where_there_is_one() {
        let of = |setting, key| {
            let all = candidates(&SETTINGS[setting], &|_| true);
            all.into_iter().find(|candidate| candidate.key == key)
        };
        assert!(!of(0, KERNEL).unwrap().command.contains("gres"));
        assert!(
            of(1, KERNEL)
                .unwrap()
                .command
                .starts_with("OARLOCK_TIMING=1 srun --gres=gpu:1 ")
        );
        assert!(of(1, APPTAINER).unwrap().command.contains("exec --nv /"));
        assert!(of(3, APPTAINER).is_none());
    }

    #[test]
    fn a_row_has_the_times_that_were_said() {
        let runs = Runs::read(
            "\
sample 1 bare 1 0 50000
sample 1 kernel 1 0 60000
said oarlock: node1: timing: image 2000 us, build 5000 us, privileged 60000 ns, entry 40000 ns, processor 39000 ns
",
        );
        let all = candidates(&SETTINGS[3], &|_| true);
        let cells = all
            .iter()
            .map(|candidate| row(&SETTINGS[3], candidate, &runs));
        let cells: Vec<_> = cells.map(|row| row[2..].join("|")).collect();
        assert_eq!(cells, ["50.0||", "60.0 ×1.20|5.00|40.0"]);
    }
}
