//! Nodes with GPUs and without, as trees of files; files stand for devices there.

use std::os::unix::fs::PermissionsExt;

use runtime_core::host::Host;

use super::*;

struct Place(tempfile::TempDir);

impl Place {
    fn new(files: &[(&str, &str)]) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for (path, text) in files {
            let path = place.path(path);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        }
        place
    }

    fn path(&self, path: &str) -> PathBuf {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn device(&self, path: &str) {
        std::fs::write(self.path(path), "").unwrap();
    }

    fn library(&self, path: &str, soname: &str) {
        let done = std::process::Command::new("cc")
            .args(["-shared", "-nostdlib", "-x", "c", "/dev/null", "-o"])
            .arg(self.path(path))
            .arg(format!("-Wl,-soname,{soname}"))
            .status();
        assert!(done.unwrap().success());
    }

    fn found(&self) -> Vec<(String, Verdict, String)> {
        let node = Node::of(Host::at(self.0.path()).unwrap(), None, None, true);
        let mut findings = Findings::new("gpu");
        look(&node, &mut findings);
        let checks = findings.checks.into_iter();
        checks
            .map(|check| (check.name, check.verdict, check.found))
            .collect()
    }

    #[track_caller]
    fn says(&self, name: &str, verdict: Verdict, found: &str) {
        let all = self.found();
        let is_it = |check: &&(String, Verdict, String)| {
            check.0 == name && check.1 == verdict && check.2.contains(found)
        };
        assert!(
            all.iter().any(|check| is_it(&check)),
            "{name}: {found}: {all:#?}"
        );
    }

    fn worst(&self) -> Option<Verdict> {
        self.found()
            .into_iter()
            .map(|(_, verdict, _)| verdict)
            .max()
    }
}

const SLURM: (&str, &str) = ("etc/slurm/slurm.conf", "");
const GRES: (&str, &str) = ("etc/slurm/gres.conf", "Name=gpu File=/dev/nvidia[0-1]\n");

#[test]
fn a_node_without_any_is_in_order() {
    let place = Place::new(&[SLURM]);
    place.says("GPUs", Verdict::NotHere, "none");
    place.says("RDMA", Verdict::NotHere, "no device");
    assert_eq!(place.worst(), Some(Verdict::NotHere));
}

#[test]
fn what_gres_conf_names_must_be_there() {
    let place = Place::new(&[SLURM, GRES]);
    place.says(
        "gres.conf",
        Verdict::Failed,
        "not there: /dev/nvidia0 /dev/nvidia1",
    );
    place.device("dev/nvidia0");
    place.device("dev/nvidia1");
    place.says("gres.conf", Verdict::Ok, "all 2 devices are there");
    let wrong = Place::new(&[
        SLURM,
        ("etc/slurm/gres.conf", "Name=gpu File=/dev/nvidia[0-"),
    ]);
    wrong.says("gres.conf", Verdict::Failed, "File=");
}

#[test]
fn a_gpu_needs_its_driver() {
    let place = Place::new(&[SLURM, ("sys/module/nvidia/version", "550.54.15\n")]);
    place.device("dev/nvidia0");
    place.says("NVIDIA 0", Verdict::Ok, "/dev/nvidia0");
    place.says("problem", Verdict::Failed, "the node has no libcuda.so.1");

    // Of another version than the module.
    let file = "usr/lib64/libcuda.so.550.90.07";
    place.library(file, "libcuda.so.1");
    let link = place.path("usr/lib64/libcuda.so.1");
    std::os::unix::fs::symlink("libcuda.so.550.90.07", &link).unwrap();
    place.says("problem", Verdict::Failed, "is of version 550.90.07");

    std::fs::rename(
        place.path(file),
        place.path("usr/lib64/libcuda.so.550.54.15"),
    )
    .unwrap();
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("libcuda.so.550.54.15", &link).unwrap();
    place.says(
        "NVIDIA driver",
        Verdict::Ok,
        "550.54.15; containers get what follows",
    );
    place.says("NVIDIA libraries", Verdict::Ok, "libcuda.so.1");
    place.says("CDI", Verdict::NotHere, "no spec stands for an NVIDIA GPU");
    assert!(
        place.worst() < Some(Verdict::Warning),
        "{:#?}",
        place.found()
    );

    let never = "[devices]\ndriver = \"never\"\n";
    let config = place.path("etc/oarlock/oarlock.toml");
    std::fs::write(&config, never).unwrap();
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o644)).unwrap();
    place.says("NVIDIA driver", Verdict::Warning, "the devices alone");
}

#[test]
fn a_spec_says_what_belongs_to_a_gpu() {
    let spec = "cdiVersion: 0.6.0\nkind: nvidia.com/gpu\ndevices:\n- name: '0'\n  containerEdits: {deviceNodes: [{path: /dev/nvidia0}]}\n";
    let place = Place::new(&[SLURM, ("etc/cdi/nvidia.yaml", spec)]);
    place.device("dev/nvidia0");
    place.says("CDI", Verdict::Ok, "specs stand for 1 of 1 NVIDIA GPUs");
    // The libraries are where the spec has them.
    assert!(
        place.worst() < Some(Verdict::Warning),
        "{:#?}",
        place.found()
    );
    std::fs::write(place.path("etc/cdi/other.yaml"), "nonsense").unwrap();
    place.says("CDI", Verdict::Warning, "other.yaml");
}
