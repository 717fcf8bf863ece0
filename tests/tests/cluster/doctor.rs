//! `oarlock doctor` on a node: as installed it is in order, what is broken is told under
//! its name, and looking changes nothing.

use cluster_tests::images::TINY;
use cluster_tests::{Case, Cluster, Output, Restore, cases};
use serde_json::Value;

pub(crate) fn cases() -> Vec<Case> {
    cases![
        a_node_as_installed_is_in_order,
        a_user_may_ask,
        people_read_text_and_wrong_usage_is_2,
        devices_that_are_not_constrained,
        a_line_that_is_missing,
        a_line_that_is_optional,
        another_plugin_with_the_same_options,
        prepare_where_it_is_not,
        a_wrong_key_of_the_sites_file,
        a_sites_file_that_others_can_write,
        capabilities_that_are_gone,
        what_an_ended_job_left,
        what_a_running_job_keeps_is_no_leftover,
        programs_of_slurms_that_hang,
    ]
}

const PLUGSTACK: &str = "/etc/slurm/plugstack.conf.d/oarlock.conf";
const CONFIG: &str = "/etc/oarlock/oarlock.toml";

/// What depends on the machine that the cluster runs on, and not on Oarlock: the nodes
/// are containers.
const OF_THE_MACHINE: [&str; 17] = [
    "kernel/mount calls",
    "kernel/landlock",
    "kernel/writable images",
    "kernel/user namespaces",
    "cgroup/kernel's",
    "cgroup/ProctrackType",
    "cgroup/TaskPlugin",
    "cgroup/CgroupPlugin",
    "cgroup/ConstrainDevices",
    "cgroup/ConstrainCores",
    "cgroup/ConstrainRAMSpace",
    "store/store's disk",
    "store/containers' disk",
    "store/free",
    "store/containers' room",
    "store/time service",
    // Of a cluster that was up for more than a day.
    "leftovers/copies",
];

/// A report in JSON.
struct Report {
    output: Output,
    json: Value,
}

impl Report {
    #[track_caller]
    fn of(output: Output) -> Self {
        let json = serde_json::from_str(&output.stdout);
        let json = json.unwrap_or_else(|error| panic!("{error}: {output}"));
        Self { output, json }
    }

    /// Of root's on node1; an empty list of sections is all of them.
    #[track_caller]
    fn of_node(cluster: &Cluster, sections: &str) -> Self {
        let command = format!("oarlock doctor --json {sections}");
        Self::of(cluster.root("node1", &command))
    }

    #[track_caller]
    fn exits_with(self, code: i32) -> Self {
        assert_eq!(self.output.code, code, "exit code of {}", self.output);
        assert_eq!(self.output.stderr, "", "{}", self.output);
        self
    }

    /// What has this verdict, as `section/name`.
    fn with(&self, verdict: &str) -> Vec<String> {
        let checks = self.json["checks"].as_array().expect("checks");
        let text = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
        let same = checks.iter().filter(|check| check["verdict"] == verdict);
        same.map(|check| format!("{}/{}", text(check, "section"), text(check, "name")))
            .collect()
    }

    /// A check has this verdict, and its line has these words.
    #[track_caller]
    fn says(self, check: &str, verdict: &str, words: &str) -> Self {
        let is_it = |other: &&Value| {
            let text = |key: &str| other[key].as_str().unwrap_or_default();
            format!("{}/{}", text("section"), text("name")) == check
        };
        let checks = self.json["checks"].as_array().expect("checks");
        let found = checks.iter().find(is_it);
        let found = found.unwrap_or_else(|| panic!("no {check} in {}", self.output));
        assert_eq!(found["verdict"], verdict, "{check}: {}", self.output);
        let line = found["found"].as_str().unwrap_or_default();
        assert!(line.contains(words), "{check}: {line:?} has no {words:?}");
        self
    }

    /// Nothing is broken, and what is warned of is the machine's.
    #[track_caller]
    fn finds_all_in_order(self) -> Self {
        let broken = self.with("failed");
        assert!(broken.is_empty(), "failed: {broken:?} in {}", self.output);
        let mut warned = self.with("warning");
        warned.retain(|name| !OF_THE_MACHINE.contains(&name.as_str()));
        assert!(warned.is_empty(), "warned: {warned:?} in {}", self.output);
        self.exits_with(0)
    }
}

/// Edits a file of node1 with sed.
#[track_caller]
fn edit<'a>(cluster: &'a Cluster, file: &str, edit: &str) -> Restore<'a> {
    cluster.change(
        "node1",
        &format!("cp -p {file} /root/kept && sed -i '{edit}' {file}"),
        format!("cp -p /root/kept {file} && rm /root/kept"),
    )
}

fn a_node_as_installed_is_in_order(cluster: &Cluster) {
    let report = Report::of_node(cluster, "")
        .finds_all_in_order()
        .says("slurm/plugin", "ok", "required")
        .says("slurm/other plugins", "ok", "none")
        .says("config/file", "ok", CONFIG)
        .says("fuse//dev/fuse", "ok", "there")
        .says("fuse/fuse.user", "ok", "oarlock")
        .says("programs/oarlock-prepare", "ok", "oarlock-prepare")
        .says("programs/oarlock-check", "ok", "oarlock-check")
        .says("programs/file capabilities", "ok", "oarlock-enter")
        .says("leftovers/jobs", "ok", "nothing");
    assert_eq!(report.json["node"], "node1");
    assert!(report.json["version"].is_string(), "{}", report.output);
    let verdict = report.json["verdict"].as_str();
    assert!(matches!(verdict, Some("ok" | "warning")), "{verdict:?}");
}

fn a_user_may_ask(cluster: &Cluster) {
    for command in [
        "srun -w node1 oarlock doctor --json",
        "oarlock doctor --json",
    ] {
        let output = cluster.alice(command);
        assert_eq!(output.code, 0, "{output}");
        let report = Report::of(output);
        assert!(report.with("failed").is_empty(), "{}", report.output);
        report
            .says("leftovers/all", "unknown", "only root")
            .says("loop/oarlock's", "unknown", "only root")
            .says("store/store", "unknown", "Permission denied")
            .says("slurm/plugin", "ok", "required");
    }
}

fn people_read_text_and_wrong_usage_is_2(cluster: &Cluster) {
    let output = cluster.root("node1", "oarlock doctor fuse config");
    assert_eq!(output.code, 0, "{output}");
    // In the program's order, and the sum at the end.
    let lines: Vec<&str> = output.stdout.lines().collect();
    let is_heading = |line: &&&str| !line.starts_with(' ') && !line.contains(':');
    let headings: Vec<&&str> = lines.iter().filter(is_heading).collect();
    assert_eq!(headings, [&"config", &"fuse"], "{output}");
    assert!(
        lines.last().is_some_and(|line| line.starts_with("node1: ")),
        "{output}"
    );
    let output = cluster.root("node1", "oarlock doctor nonsense");
    assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{output}");
    assert!(output.stderr.contains("leftovers"), "{output}");
}

fn devices_that_are_not_constrained(cluster: &Cluster) {
    const CGROUP: &str = "/etc/slurm/cgroup.conf";
    let on = format!("grep -q ^ConstrainDevices=yes {CGROUP}");
    if cluster.root("node1", &on).code != 0 {
        cluster_tests::skip("this machine has no controllers that Slurm could use");
    }
    Report::of_node(cluster, "cgroup")
        .exits_with(0)
        .says("cgroup/ConstrainDevices", "ok", "on");
    let _off = edit(
        cluster,
        CGROUP,
        "s/^ConstrainDevices=.*/ConstrainDevices=no/",
    );
    Report::of_node(cluster, "cgroup").exits_with(0).says(
        "cgroup/ConstrainDevices",
        "warning",
        "off",
    );
    Report::of_node(cluster, "--strict cgroup").exits_with(1);
}

fn a_line_that_is_missing(cluster: &Cluster) {
    let _away = cluster.change(
        "node1",
        &format!("mv {PLUGSTACK} /root/line"),
        format!("mv /root/line {PLUGSTACK}"),
    );
    Report::of_node(cluster, "slurm").exits_with(1).says(
        "slurm/plugin",
        "failed",
        "no line of Oarlock's",
    );
}

fn a_line_that_is_optional(cluster: &Cluster) {
    let _optional = edit(cluster, PLUGSTACK, "s/^required/optional/");
    Report::of_node(cluster, "slurm")
        .exits_with(0)
        .says("slurm/plugin", "warning", "optional");
    Report::of_node(cluster, "--strict slurm").exits_with(1);
}

fn another_plugin_with_the_same_options(cluster: &Cluster) {
    const OTHER: &str = "/etc/slurm/plugstack.conf.d/another.conf";
    let _other = cluster.change(
        "node1",
        &format!("echo 'optional /usr/lib/spank_pyxis.so' >{OTHER}"),
        format!("rm -f {OTHER}"),
    );
    Report::of_node(cluster, "slurm").exits_with(1).says(
        "slurm/other plugins",
        "failed",
        "another.conf: line 1: spank_pyxis.so",
    );
}

fn prepare_where_it_is_not(cluster: &Cluster) {
    let _elsewhere = edit(cluster, PLUGSTACK, "/^required/s,$, prepare=/none,");
    Report::of_node(cluster, "")
        .exits_with(1)
        .says("slurm/plugin's prepare=", "failed", "/none")
        .says("programs/oarlock-prepare", "failed", "/none");
}

fn a_wrong_key_of_the_sites_file(cluster: &Cluster) {
    let _wrong = edit(cluster, CONFIG, "/^\\[images\\]/a nonsense = 1");
    let number = cluster.root(
        "node1",
        &format!("grep -n ^nonsense {CONFIG} | cut -d: -f1"),
    );
    let line = format!("line {}", number.stdout.trim());
    Report::of_node(cluster, "config")
        .exits_with(1)
        .says("config/file", "failed", &line)
        .says("config/file", "failed", "nonsense");
}

fn a_sites_file_that_others_can_write(cluster: &Cluster) {
    let _writable = cluster.change(
        "node1",
        &format!("chmod 0666 {CONFIG}"),
        format!("chmod 0644 {CONFIG}"),
    );
    Report::of_node(cluster, "config")
        .exits_with(1)
        .says("config/file", "failed", "only root");
}

fn capabilities_that_are_gone(cluster: &Cluster) {
    const ENTER: &str = "/usr/libexec/oarlock/oarlock-enter";
    // A copy has none.
    let _without = cluster.change(
        "node1",
        &format!("mv {ENTER} {ENTER}.kept && cp {ENTER}.kept {ENTER} && chmod 0755 {ENTER}"),
        format!("mv -f {ENTER}.kept {ENTER}"),
    );
    Report::of_node(cluster, "programs").exits_with(0).says(
        "programs/file capabilities",
        "warning",
        "lacks its file capabilities",
    );
}

/// As a crash would leave it: a mount that is kept for a job that is no more.
#[track_caller]
fn left_behind(cluster: &Cluster) -> Restore<'_> {
    const JOB: &str = "/run/oarlock/kept/4294967000";
    cluster.change(
        "node1",
        &format!(
            "mkdir -p -m 0700 /run/oarlock && mkdir -p {JOB}/loop99 && mount -t tmpfs none {JOB}/loop99"
        ),
        format!("umount {JOB}/loop99 2>/dev/null; rmdir {JOB}/loop99 {JOB} 2>/dev/null; [ ! -e {JOB} ]"),
    )
}

fn what_an_ended_job_left(cluster: &Cluster) {
    let _left = left_behind(cluster);
    Report::of_node(cluster, "leftovers").exits_with(0).says(
        "leftovers/jobs",
        "warning",
        "have ended: 4294967000",
    );
    Report::of_node(cluster, "--strict leftovers").exits_with(1);
    cluster.root("node1", "oarlock gc").succeeds();
    Report::of_node(cluster, "leftovers")
        .exits_with(0)
        .says("leftovers/jobs", "ok", "nothing");
}

/// While a job keeps a mount, and a loop device with it: all of it is as before, too.
fn what_a_running_job_keeps_is_no_leftover(cluster: &Cluster) {
    let _end = cluster.change(
        "login",
        "rm -f /home/alice/go-on /home/alice/is-in",
        "touch /home/alice/go-on; for i in $(seq 300); do [ -z \"$(squeue -h)\" ] && break; sleep 0.1; done; rm -f /home/alice/go-on /home/alice/is-in",
    );
    cluster
        .alice(&format!(
            "salloc -Q -w node1 bash -c 'srun --container-image={TINY} true && touch ~/is-in; \
             until [ -e ~/go-on ]; do sleep 0.1; done' >/dev/null 2>&1 &\n\
             for i in $(seq 300); do [ -e ~/is-in ] && break; sleep 0.1; done; [ -e ~/is-in ]"
        ))
        .succeeds();
    cluster
        .root(
            "node1",
            "grep -q /run/oarlock/kept/ /proc/self/mountinfo || { echo nothing is kept; exit 1; }\n\
             look() { cat /proc/self/mountinfo; grep -H . /sys/block/loop*/loop/* 2>/dev/null; \
                 find /run/oarlock /var/lib/oarlock -xdev -printf '%p %i %m %s %T@ %C@\\n' | sort; }\n\
             look >/root/before; oarlock doctor >/dev/null; oarlock doctor --json >/dev/null; look >/root/after\n\
             diff /root/before /root/after && echo same; rm /root/before /root/after",
        )
        .succeeds()
        .says("same\n");
    Report::of_node(cluster, "leftovers loop")
        .finds_all_in_order()
        .says("leftovers/jobs", "ok", "kept for 1 that run");
}

fn programs_of_slurms_that_hang(cluster: &Cluster) {
    let _left = left_behind(cluster);
    let _hang = ["/usr/sbin/slurmd", "/usr/bin/squeue"].map(|program| {
        cluster.change(
            "node1",
            &format!(
                "mv {program} {program}.kept && printf '#!/bin/sh\\nsleep 4321\\n' >{program} && chmod 0755 {program}"
            ),
            format!("mv -f {program}.kept {program}"),
        )
    });
    // Its exit code is that of the rest.
    let output = cluster.root("node1", "timeout 40 oarlock doctor --json slurm leftovers");
    Report::of(output)
        .exits_with(0)
        .says("slurm/version", "unknown", "no answer within")
        .says("leftovers/jobs", "unknown", "whether they run is not known");
    // What it has started is gone.
    cluster
        .root("node1", "ps -eo args= | grep -c '^sleep 432[1]'")
        .says("0\n");
}
