//! Nodes with Slurm's files in every state that matters.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use runtime_core::host::Host;

use super::super::check::{Check, Findings, Verdict};
use super::super::node::Node;
use super::look;

/// A tree with these files, executable where they are programs.
fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = place.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }
    place
}

fn checks(place: &Path) -> Vec<Check> {
    let node = Node::of(Host::at(place).unwrap(), None, None, true);
    let mut findings = Findings::new("slurm");
    look(&node, &mut findings);
    findings.checks
}

fn found<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    let check = checks.iter().find(|check| check.name == name);
    check.unwrap_or_else(|| panic!("no {name} in {checks:#?}"))
}

const SLURMD: (&str, &str) = ("usr/sbin/slurmd", "#!/bin/sh\necho slurm 24.11.5\n");
const CONF: (&str, &str) = (
    "etc/slurm/slurm.conf",
    "PluginDir=/lib/slurm\nMpiDefault=pmix\n",
);
const LINE: (&str, &str) = ("etc/slurm/plugstack.conf", "required spank_oarlock.so\n");
const PMIX: (&str, &str) = ("lib/slurm/mpi_pmix.so", "");

/// Builds the plugin of a Slurm release into the tree.
fn build_plugin(place: &Path, major: u32, minor: u32) {
    let source = place.join("a.c");
    let text = format!(
        "const unsigned spank_plugin_version = 1, plugin_version = {major}<<16|{minor}<<8;"
    );
    std::fs::write(&source, text).unwrap();
    let object = place.join("lib/slurm/spank_oarlock.so");
    let mut command = Command::new("cc");
    command
        .args(["-shared", "-fPIC", "-o"])
        .arg(&object)
        .arg(&source);
    assert!(command.status().unwrap().success());
    std::fs::set_permissions(&object, Permissions::from_mode(0o644)).unwrap();
}

#[test]
fn a_node_as_it_should_be() {
    let place = tree(&[SLURMD, CONF, LINE, PMIX]);
    build_plugin(place.path(), 24, 11);
    let all = checks(place.path());
    assert!(
        all.iter().all(|check| check.verdict == Verdict::Ok),
        "{all:#?}"
    );
    assert!(
        found(&all, "plugin's file")
            .found
            .contains("for Slurm 24.11")
    );
    assert_eq!(found(&all, "mpi").found, "pmix; default pmix");
    assert_eq!(
        found(&all, "plugin").found,
        "/etc/slurm/plugstack.conf: line 1, required"
    );
}

#[test]
fn the_plugin_of_another_slurm_is_told() {
    let place = tree(&[SLURMD, CONF, LINE, PMIX]);
    build_plugin(place.path(), 22, 5);
    let all = checks(place.path());
    let file = found(&all, "plugin's file");
    assert_eq!(file.verdict, Verdict::Failed);
    assert!(
        file.found.contains("is for Slurm 22.05, and this is 24.11"),
        "{file:?}"
    );
}

/// The files of a node, the check that matters, and what it says.
type Case = (
    &'static [(&'static str, &'static str)],
    &'static str,
    Verdict,
    &'static str,
);

#[test]
fn each_mistake_has_its_word() {
    let cases: &[Case] = &[
        (
            &[CONF],
            "plugstack.conf",
            Verdict::Failed,
            "plugstack.conf: No such file",
        ),
        (
            &[CONF, ("etc/slurm/plugstack.conf", "# empty\n")],
            "plugin",
            Verdict::Failed,
            "no line of Oarlock's",
        ),
        (
            &[
                CONF,
                ("etc/slurm/plugstack.conf", "optional spank_oarlock.so"),
            ],
            "plugin",
            Verdict::Warning,
            "optional",
        ),
        (
            &[
                CONF,
                (
                    "etc/slurm/plugstack.conf",
                    "required oarlock.so\nrequired spank_oarlock.so",
                ),
            ],
            "plugin",
            Verdict::Warning,
            "more than one",
        ),
        (
            &[
                CONF,
                ("etc/slurm/plugstack.conf", "Required spank_oarlock.so"),
            ],
            "plugstack.conf",
            Verdict::Warning,
            "passed over",
        ),
        (
            &[CONF, LINE, PMIX],
            "plugin's file",
            Verdict::Failed,
            "is not there in /lib/slurm",
        ),
        (
            &[CONF, LINE, ("lib/slurm/spank_oarlock.so", "text")],
            "plugin's file",
            Verdict::Failed,
            "not a library",
        ),
        (
            &[
                CONF,
                (
                    "etc/slurm/plugstack.conf",
                    "required /x.so\nrequired spank_pyxis.so",
                ),
            ],
            "other plugins",
            Verdict::Failed,
            "line 2: spank_pyxis.so",
        ),
        (
            &[
                CONF,
                ("etc/slurm/plugstack.conf", "required shifter_slurm.so"),
            ],
            "other plugins",
            Verdict::Warning,
            "shifter_slurm.so",
        ),
        (
            &[
                CONF,
                (
                    "etc/slurm/plugstack.conf",
                    "required spank_oarlock.so prepare=/none config=/none",
                ),
            ],
            "plugin's prepare=",
            Verdict::Failed,
            "/none",
        ),
        (
            &[
                CONF,
                (
                    "etc/slurm/plugstack.conf",
                    "required spank_oarlock.so prepare=/none config=/none",
                ),
            ],
            "plugin's config=",
            Verdict::Warning,
            "defaults",
        ),
        (
            &[("etc/slurm/slurm.conf", "nonsense")],
            "slurm.conf",
            Verdict::Warning,
            "line 1",
        ),
        (
            &[CONF, ("lib/slurm/mpi_none.so", "")],
            "mpi",
            Verdict::Failed,
            "MpiDefault=pmix is not among none",
        ),
        (
            &[
                ("etc/slurm/slurm.conf", "PluginDir=/lib/slurm"),
                ("lib/slurm/mpi_none.so", ""),
            ],
            "mpi",
            Verdict::Warning,
            "only none",
        ),
        (
            &[("usr/bin/srun", "#!/bin/sh\necho slurm 20.11.1")],
            "version",
            Verdict::Failed,
            "slurm 20.11.1",
        ),
        (&[], "version", Verdict::NotHere, "no slurmd"),
        (&[], "slurm.conf", Verdict::NotHere, "SLURM_CONF"),
        (
            &[("etc/slurm/slurm.conf", "TaskProlog=/p"), SLURMD],
            "task prolog",
            Verdict::Warning,
            "oarlock-enter: No such file",
        ),
        (
            &[(
                "etc/slurm/slurm.conf",
                "JobContainerType=job_container/tmpfs",
            )],
            "job container",
            Verdict::Ok,
            "job_container/tmpfs",
        ),
    ];
    for (files, name, verdict, part) in cases {
        let place = tree(files);
        let all = checks(place.path());
        let check = found(&all, name);
        assert_eq!(check.verdict, *verdict, "{check:?}");
        assert!(check.found.contains(part), "{check:?}");
        assert!(
            matches!(verdict, Verdict::Ok | Verdict::NotHere) || check.advice.is_some(),
            "{check:?}"
        );
    }
}

#[test]
fn a_slurmd_without_the_plugin_is_told() {
    const SLURMD_RUNS: (&str, &str) = ("proc/12/comm", "slurmd\n");
    let told = |files: &[(&str, &str)]| {
        let place = tree(files);
        let all = checks(place.path());
        all.iter().any(|check| check.name == "slurmd")
    };
    assert!(told(&[CONF, LINE, SLURMD_RUNS]));
    assert!(!told(&[
        CONF,
        LINE,
        SLURMD_RUNS,
        ("run/oarlock/epilog", "")
    ]));
    assert!(!told(&[CONF, LINE, ("proc/12/comm", "slurmctld\n")]));
}

#[test]
fn a_program_that_hangs_is_not_waited_for() {
    use std::time::{Duration, Instant};
    let place = tree(&[
        ("usr/bin/slow", "#!/bin/sh\nexec sleep 60\n"),
        ("usr/bin/left", "#!/bin/sh\nsleep 9 &\necho done\n"),
    ]);
    let node = Node::of(Host::at(place.path()).unwrap(), None, None, true);
    let began = Instant::now();
    let patience = Duration::from_millis(300);
    let silent = super::ask(&node, Path::new("/usr/bin/slow"), &[], patience).unwrap_err();
    assert!(silent.to_string().contains("no answer within"), "{silent}");
    // Its child has the pipe open still.
    let (text, success) = super::ask(&node, Path::new("/usr/bin/left"), &[], patience).unwrap();
    assert_eq!((text.as_str(), success), ("done\n", true));
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn files_of_others_are_read_as_slurm_reads_them_and_told() {
    let place = tree(&[SLURMD, CONF, LINE, PMIX]);
    build_plugin(place.path(), 24, 11);
    let file = place.path().join(CONF.0);
    std::fs::set_permissions(&file, Permissions::from_mode(0o664)).unwrap();
    let all = checks(place.path());
    assert_eq!(found(&all, "owners").verdict, Verdict::Warning);
    // What is in it counts all the same.
    assert_eq!(found(&all, "plugin's file").verdict, Verdict::Ok);
    assert_eq!(found(&all, "mpi").found, "pmix; default pmix");
}

#[test]
fn a_slurm_that_is_elsewhere_is_not_passed_over() {
    let place = tree(&[("proc/7/comm", "slurmd-wlm\n")]);
    let all = checks(place.path());
    assert_eq!(found(&all, "slurm.conf").verdict, Verdict::Warning);
    // Its programs are beside its plugins.
    let place = tree(&[
        (
            "etc/slurm/slurm.conf",
            "PluginDir=/apps/slurm/lib64/slurm\n",
        ),
        ("apps/slurm/lib64/slurm/mpi_pmix.so", ""),
        ("apps/slurm/sbin/slurmd", SLURMD.1),
    ]);
    let all = checks(place.path());
    assert!(
        found(&all, "version").found.contains("/apps/slurm/sbin"),
        "{all:#?}"
    );
}
