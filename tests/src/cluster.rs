//! The cluster that the tests run on: it is up already, and its machines are
//! reached through Compose.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::agent::Agent;
use crate::images::Images;
use crate::output::Output;

/// Both compute nodes.
pub const NODES: [&str; 2] = ["node1", "node2"];

/// Whose shells are kept, and where. Started before the first test, so that no
/// test's leftovers are confused with them.
const SHELLS: [(&str, &str); 6] = [
    ("ctld", "root"),
    ("login", "alice"),
    ("login", "bob"),
    ("login", "root"),
    ("node1", "root"),
    ("node2", "root"),
];

/// Waits until node1 takes jobs, and puts it back to work where it was drained.
pub const IDLE: &str = "for try in $(seq 600); do\n\
    state=$(sinfo -h -p main -n node1 -o %T); [ \"$state\" = idle ] && break\n\
    case $state in drain*|down*) scontrol update nodename=node1 state=resume 2>/dev/null;; esac; sleep 0.1\n\
    done; [ \"$(sinfo -h -p main -n node1 -o %T)\" = idle ]";

/// A cluster that is up.
#[derive(Debug)]
pub struct Cluster {
    shells: BTreeMap<(&'static str, &'static str), Mutex<Agent>>,
    images: OnceLock<Images>,
    slurm: OnceLock<(u32, u32)>,
}

impl Cluster {
    /// Whether there is a cluster to test on.
    #[must_use]
    pub fn is_there() -> bool {
        std::env::var_os("OARLOCK_CLUSTER").is_some_and(|value| value == "1")
    }

    /// Opens the shells.
    ///
    /// # Errors
    /// A sentence for people, where a machine cannot be reached.
    pub fn connect() -> Result<Self, String> {
        let compose = std::env::var("OARLOCK_COMPOSE").unwrap_or_else(|_| "docker-compose".into());
        let compose: Vec<String> = compose.split_whitespace().map(str::to_owned).collect();
        let mut shells = BTreeMap::new();
        for (machine, user) in SHELLS {
            let failed = |e| format!("no shell as {user} on {machine}: {e}; is the cluster up?");
            let mut shell = Agent::start(&compose, &workspace(), machine, user).map_err(failed)?;
            shell.run("true").map_err(failed)?;
            shells.insert((machine, user), Mutex::new(shell));
        }
        Ok(Self {
            shells,
            images: OnceLock::new(),
            slurm: OnceLock::new(),
        })
    }

    /// Runs a script on a machine, with bash, in the user's home directory.
    ///
    /// # Panics
    /// Where the machine cannot be reached or the script takes too long.
    #[track_caller]
    pub fn on(&self, machine: &'static str, user: &'static str, script: &str) -> Output {
        let shell = self.shells.get(&(machine, user));
        let shell = shell.unwrap_or_else(|| panic!("no shell as {user} on {machine}"));
        let reply = shell
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .run(script)
            .unwrap_or_else(|e| panic!("{user}@{machine}: {e}\n{script}"));
        let output = Output::new(script, reply);
        assert_ne!(output.code, 124, "took too long: {output}");
        output
    }

    /// Whether Slurm has this kind of MPI: Debian builds 26.05 without PMIx.
    #[track_caller]
    pub fn has_mpi(&self, kind: &str) -> bool {
        let list = self.alice("srun --mpi=list 2>&1").stdout;
        list.split_whitespace().any(|word| word == kind)
    }

    /// As [`Self::alice`], an MPI program. MPICH 4.0 of Debian 12 with UCX often never
    /// ends MPI_Finalize, in a container and without one: there the program is ended
    /// when it has said all, and that counts as an end.
    #[track_caller]
    pub fn mpi(&self, script: &str) -> Output {
        const STUCK: i32 = 99;
        if !self.is_debian_12() {
            return self.alice(script);
        }
        let mut output = self.alice(&format!(
            "cat >~/mpi.sh <<'OF_MPI'\n{script}\nOF_MPI\n\
             timeout -k 5 20 bash ~/mpi.sh; code=$?; rm ~/mpi.sh\n\
             [ $code != 124 ] || {{ scancel -u alice; until [ -z \"$(squeue -h -u alice)\" ]; do sleep 0.1; done; exit {STUCK}; }}\n\
             exit $code"
        ));
        if output.code == STUCK {
            output.code = 0;
            output.stderr.clear();
        }
        output
    }

    /// As alice on the login node: the usual place of a user.
    #[track_caller]
    pub fn alice(&self, script: &str) -> Output {
        self.on("login", "alice", script)
    }

    /// As bob on the login node.
    #[track_caller]
    pub fn bob(&self, script: &str) -> Output {
        self.on("login", "bob", script)
    }

    /// As root.
    #[track_caller]
    pub fn root(&self, machine: &'static str, script: &str) -> Output {
        self.on(machine, "root", script)
    }

    /// Changes something as root; it is put back when the result goes, also
    /// after a failure.
    ///
    /// # Panics
    /// Where the change fails.
    #[track_caller]
    pub fn change(
        &self,
        machine: &'static str,
        change: &str,
        back: impl Into<String>,
    ) -> Restore<'_> {
        let restore = Restore {
            cluster: self,
            machine,
            back: back.into(),
        };
        self.root(machine, change).succeeds();
        restore
    }

    /// Serves images that are not trusted by FUSE on both nodes, as long as the
    /// result lives: what a test sees must not hang on which image was run before.
    ///
    /// # Panics
    /// Where the site's file cannot be changed.
    #[must_use]
    #[track_caller]
    pub fn without_copies(&self) -> [Restore<'_>; 2] {
        const FILE: &str = "/etc/oarlock/oarlock.toml";
        let change = format!(
            "cp -p {FILE} /root/policy && sed -i 's/^untrusted = .*/untrusted = \"fuse\"/' {FILE}"
        );
        let back = format!("cp -p /root/policy {FILE} && rm /root/policy");
        NODES.map(|node| self.change(node, &change, back.clone()))
    }

    /// The tests' own images, made at first use.
    ///
    /// # Panics
    /// Where they cannot be made.
    #[track_caller]
    pub fn images(&self) -> &Images {
        self.images.get_or_init(|| Images::make(self))
    }

    /// Removes what the tests' images and scratch directories have left.
    pub fn clear(&self) {
        if self.images.get().is_some() {
            Images::remove(self);
        }
    }

    /// Whether the nodes are Debian 12: its squashfuse 0.1 cannot show an image's files
    /// as the user's, and its fuse2fs is not handed its connection.
    #[must_use]
    pub fn is_debian_12(&self) -> bool {
        self.slurm() < (23, 0)
    }

    /// Whether an image's files can be shown as the user's: what is not trusted is
    /// served by FUSE.
    #[must_use]
    pub fn gives_files_of(&self, image: &str) -> bool {
        let is_served = image.starts_with("/shared/") && image.contains(".s");
        !(is_served && self.is_debian_12())
    }

    /// Slurm's version, as in `(24, 11)`.
    ///
    /// # Panics
    /// Where Slurm does not say.
    #[track_caller]
    pub fn slurm(&self) -> (u32, u32) {
        *self.slurm.get_or_init(|| {
            let said = self.alice("sinfo --version").succeeds().stdout;
            let mut numbers = said
                .trim_start_matches(|c: char| !c.is_ascii_digit())
                .split('.')
                .map_while(|part| part.parse().ok());
            match (numbers.next(), numbers.next()) {
                (Some(year), Some(month)) => (year, month),
                _ => panic!("no version: {said}"),
            }
        })
    }

    /// Ends the test that runs where Slurm is older than this, with the reason.
    ///
    /// # Panics
    /// See [`skip`](crate::skip).
    #[track_caller]
    pub fn needs_slurm(&self, least: (u32, u32), what: &str) {
        let (year, month) = self.slurm();
        if (year, month) < least {
            crate::skip(&format!(
                "{what} came with Slurm {}.{:02}, and this is {year}.{month:02}",
                least.0, least.1
            ));
        }
    }

    /// Changes Slurm's configuration on the controller, the login node and node1 by
    /// a script, and has both daemons read it; put back when the result goes.
    ///
    /// # Panics
    /// Where Slurm does not come up with it.
    #[must_use]
    #[track_caller]
    pub fn reconfigured(&self, change: &str) -> [Restore<'_>; 3] {
        const CONF: &str = "/etc/slurm/slurm.conf";
        const KEEP: &str = "cp -p /etc/slurm/slurm.conf /root/slurm.conf.kept";
        const BACK: &str = "mv /root/slurm.conf.kept /etc/slurm/slurm.conf";
        // Slurm knows the controller by two names, as slurmd.
        const CONTROLLER: &str = "pkill slurmctld; for try in $(seq 100); do pgrep slurmctld >/dev/null || break; sleep 0.1; done; runuser -u slurm -- slurmctld";
        let change = format!("{KEEP}; conf={CONF}\n{change}");
        // Dropped in this order: the controller comes back first.
        [
            self.change(
                "ctld",
                &format!("{change}\n{CONTROLLER}"),
                format!("{BACK}; {CONTROLLER}"),
            ),
            self.change("login", &change, BACK),
            self.change(
                "node1",
                &format!("{change}\nslurm-node restart; {IDLE}"),
                format!("{BACK}; slurm-node restart; {IDLE}"),
            ),
        ]
    }

    /// The number of the next job: where it does not change, nothing was queued.
    ///
    /// # Panics
    /// Where Slurm does not say.
    #[track_caller]
    pub fn next_job(&self) -> u32 {
        let text = self.alice("scontrol show config | sed -n 's/^NEXT_JOB_ID *= *//p'");
        text.stdout.trim().parse().expect("a job number")
    }
}

/// The folder of the workspace, where docker-compose.yml is.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Puts a change back.
#[derive(Debug)]
pub struct Restore<'a> {
    cluster: &'a Cluster,
    machine: &'static str,
    back: String,
}

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        let shell = self.cluster.shells.get(&(self.machine, "root"));
        let done = shell.map(|shell| {
            shell
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .run(&self.back)
        });
        if !matches!(done, Some(Ok(ref reply)) if reply.code == 0) {
            eprintln!("{}: cannot put back: {}: {done:?}", self.machine, self.back);
        }
    }
}
