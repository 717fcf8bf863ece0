//! Specs of the Container Device Interface: what the site says of the GPUs that a step
//! was granted.

use cluster_tests::images::{DEMO, TINY};
use cluster_tests::{Case, Cluster, Restore, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        what_a_spec_says_comes_with_the_gpu,
        a_device_that_was_granted_can_be_named,
        a_device_that_was_not_granted_is_refused,
        libraries_are_found_by_their_sonames,
        a_device_may_have_more_names,
        hooks_are_not_run,
        a_wrong_spec_is_named,
        a_spec_of_a_users_is_not_read,
        what_a_spec_lacks_is_told_as_the_specs,
        why_a_spec_does_not_stand_for_a_gpu_is_explained,
        too_many_variables_are_refused,
    ]
}

/// As `nvidia-ctk cdi generate` writes them, for the fake GPUs of node1.
const SPEC: &str = r#"---
cdiVersion: 0.6.0
kind: site.org/gpu
containerEdits:
  env:
    - SITE_DRIVER=1.2.3
  mounts:
    - hostPath: /opt/driver/libfake.so.1.2.3
      containerPath: /usr/lib/fake-driver/libfake.so.1.2.3
      options: [ro, nosuid, nodev, bind]
  hooks:
    - hookName: createContainer
      path: /usr/bin/nvidia-cdi-hook
      args: [nvidia-cdi-hook, create-symlinks, --link, "libfake.so.1.2.3::/usr/lib/fake-driver/libfake.so.1"]
    - hookName: createContainer
      path: /usr/bin/nvidia-cdi-hook
      args: [nvidia-cdi-hook, update-ldcache, --folder, /usr/lib/fake-driver]
devices:
  - name: "0"
    containerEdits:
      deviceNodes: [{path: /dev/fakegpu0}]
      env: [SITE_GPU_0=here]
  - name: "1"
    containerEdits:
      deviceNodes: [{path: /dev/fakegpu1}]
      env: [SITE_GPU_1=here]
  - name: all
    containerEdits:
      deviceNodes: [{path: /dev/fakegpu0}, {path: /dev/fakegpu1}]
"#;

/// A spec and its driver on node1, as long as the result lives.
fn with_spec<'a>(cluster: &'a Cluster, spec: &str) -> Restore<'a> {
    cluster.change(
        "node1",
        &format!(
            "umask 022; mkdir -p /etc/cdi /opt/driver; echo library >/opt/driver/libfake.so.1.2.3; cat >/etc/cdi/site.yaml <<'END'\n{spec}END\n"
        ),
        "rm -rf /etc/cdi /opt/driver",
    )
}

const LOOK: &str = "echo driver $SITE_DRIVER gpus $SITE_GPU_0 $SITE_GPU_1; ls /dev | grep fakegpu";

fn what_a_spec_says_comes_with_the_gpu(cluster: &Cluster) {
    let _spec = with_spec(cluster, SPEC);
    cluster
        .alice(&format!(
            "srun -w node1 --gres=gpu:1 --container-image={TINY} sh -c '{LOOK}; echo $LD_LIBRARY_PATH; \
             for d in $(echo $LD_LIBRARY_PATH | tr : \" \"); do cat $d/libfake.so.1 2>/dev/null; done; echo x >/usr/lib/fake-driver/libfake.so.1.2.3' 2>/dev/null"
        ))
        .stdout_and_code(
            "driver 1.2.3 gpus here\nfakegpu0\n/.oarlock/links\nlibrary\n",
            1,
        );
    cluster
        .alice(&format!(
            "srun -w node1 --gres=gpu:2 --container-image={TINY} sh -c '{LOOK}'"
        ))
        .succeeds()
        .says("driver 1.2.3 gpus here here\nfakegpu0\nfakegpu1\n");
    // Without a GPU there is nothing of it.
    cluster
        .alice(&format!(
            "srun -w node1 --container-image={TINY} sh -c '{LOOK}; ls -d /usr/lib/fake-driver /.oarlock 2>/dev/null; true'"
        ))
        .succeeds()
        .says("driver gpus\n");
}

fn a_device_that_was_granted_can_be_named(cluster: &Cluster) {
    let _spec = with_spec(cluster, SPEC);
    for device in ["site.org/gpu=1", "site.org/gpu=all"] {
        cluster
            .alice(&format!(
                "srun -w node1 --gres=gpu:2 --container-device={device} --container-image={TINY} sh -c '{LOOK}'"
            ))
            .succeeds()
            .says("driver 1.2.3 gpus here here\nfakegpu0\nfakegpu1\n");
    }
}

fn a_device_that_was_not_granted_is_refused(cluster: &Cluster) {
    let _spec = with_spec(cluster, SPEC);
    for (gres, device) in [
        ("", "site.org/gpu=0"),
        ("--gres=gpu:1", "site.org/gpu=1"),
        ("--gres=gpu:1", "site.org/gpu=all"),
        ("--gres=gpu:1", "site.org/gpu=2"),
        ("--gres=gpu:1", "other.org/gpu=0"),
    ] {
        cluster
            .alice(&format!(
                "srun -w node1 {gres} --container-device={device} --container-image={TINY} sh -c 'echo ran'"
            ))
            .is_refused([format!("oarlock: node1: --container-device={device}: *")]);
    }
    let output = cluster.alice(&format!(
        "srun -w node1 --container-device=gpu --container-image={TINY} sh -c 'echo ran'"
    ));
    assert_eq!((output.code, output.stdout.as_str()), (255, ""), "{output}");
    output.tells([
        "oarlock: --container-device: \"gpu\": the form is VENDOR/CLASS=NAME, as in nvidia.com/gpu=0",
    ]);
}

fn hooks_are_not_run(cluster: &Cluster) {
    let hook = "  hooks:\n    - hookName: createContainer\n      path: /bin/sh\n      args: [sh, -c, \"touch /tmp/hook-ran\"]\n";
    let spec = SPEC.replace("  hooks:\n", hook);
    let _spec = with_spec(cluster, &spec);
    let ran = "test ! -e /tmp/hook-ran && echo nothing ran";
    cluster
        .alice(&format!(
            "srun -w node1 --gres=gpu:1 --container-image={TINY} sh -c 'echo ran'"
        ))
        .is_refused([
            "oarlock: node1: devices of the step: createContainer hook /bin/sh: *; devices.cdi_hooks in oarlock.toml is for the admin to decide",
        ]);
    // Who has no GPU has nothing to do with it.
    cluster
        .alice(&format!(
            "srun -w node1 --container-image={TINY} sh -c 'echo ran'"
        ))
        .succeeds()
        .says("ran\n");
    const FILE: &str = "/etc/oarlock/oarlock.toml";
    let _ignore = cluster.change(
        "node1",
        &format!(
            "cp -p {FILE} /root/kept && sed -i 's/^cdi_hooks = .*/cdi_hooks = \"ignore\"/' {FILE}"
        ),
        format!("cp -p /root/kept {FILE} && rm /root/kept"),
    );
    cluster
        .alice(&format!(
            "srun -w node1 --gres=gpu:1 --container-image={TINY} sh -c '{LOOK}'"
        ))
        .succeeds()
        .says("driver 1.2.3 gpus here\nfakegpu0\n");
    cluster.root("node1", ran).succeeds().says("nothing ran\n");
}

/// Drivers look for their devices by their place on the bus, too: specs bind those names,
/// or have links made.
fn a_device_may_have_more_names(cluster: &Cluster) {
    let _names = cluster.change(
        "node1",
        "mkdir -p /dev/by-path && ln -s ../fakegpu0 /dev/by-path/bound && ln -s ../fakegpu0 /dev/by-path/linked && ln -s ../fakegpu3 /dev/by-path/other",
        "rm -r /dev/by-path",
    );
    let spec = r#"---
cdiVersion: 0.6.0
kind: site.org/gpu
devices:
  - name: "0"
    containerEdits:
      deviceNodes: [{path: /dev/fakegpu0}]
      mounts: [{hostPath: /dev/by-path/bound, containerPath: /dev/by-path/bound, options: [bind, rw]}]
      hooks:
        - hookName: createContainer
          path: /usr/bin/nvidia-cdi-hook
          args: [nvidia-cdi-hook, create-symlinks, --link, "../fakegpu0::/dev/by-path/linked", --link, "../fakegpu3::/dev/by-path/other"]
"#;
    let _spec = with_spec(cluster, spec);
    // It can be opened, and has no driver: 240 is none's number.
    cluster
        .alice(&format!(
            "srun -w node1 --gres=gpu:1 --container-image={DEMO} sh -c 'ls /dev/by-path; for d in bound linked; do cat /dev/by-path/$d 2>&1 | sed \"s/.*: //\"; done'"
        ))
        .succeeds()
        .says("bound\nlinked\nNo such device or address\nNo such device or address\n");
}

/// What is wrong costs the devices of that file, and nobody's step but those that name
/// them.
fn a_wrong_spec_is_named(cluster: &Cluster) {
    let _spec = with_spec(
        cluster,
        "cdiVersion: 0.6.0\nkind: site.org/gpu\nunknown: 1\n",
    );
    cluster
        .alice(&format!(
            "srun -w node1 --gres=gpu:1 --container-image={TINY} sh -c '{LOOK}'"
        ))
        .succeeds()
        .says("driver gpus\nfakegpu0\n");
    let output = cluster.alice(&format!(
        "srun -w node1 --gres=gpu:1 --container-device=site.org/gpu=0 --container-image={TINY} sh -c 'echo ran'"
    ));
    assert_eq!((output.code, output.stdout.as_str()), (1, ""), "{output}");
    assert!(output.stderr.contains("/etc/cdi/site.yaml"), "{output}");
}

fn a_spec_of_a_users_is_not_read(cluster: &Cluster) {
    for change in [
        "chmod 666 /etc/cdi/site.yaml",
        "chown alice /etc/cdi/site.yaml",
        "chmod 777 /etc/cdi",
    ] {
        let _spec = with_spec(cluster, SPEC);
        cluster.root("node1", change).succeeds();
        cluster
            .alice(&format!(
                "srun -w node1 --gres=gpu:1 --container-image={TINY} sh -c '{LOOK}'"
            ))
            .succeeds()
            .says("driver gpus\nfakegpu0\n");
    }
}

/// The user has asked for none of it, and cannot help it.
fn what_a_spec_lacks_is_told_as_the_specs(cluster: &Cluster) {
    let _spec = with_spec(cluster, SPEC);
    let run = format!("srun -w node1 --gres=gpu:1 --container-image={TINY} sh -c 'echo ran'");
    let library = "/opt/driver/libfake.so.1.2.3";
    let begins = format!(
        "oarlock: node1: CDI: /etc/cdi/site.yaml: mount {library} at /usr/lib/fake-driver/libfake.so.1.2.3: source: "
    );
    for (change, why) in [
        ("chmod 700 /opt/driver", "Permission denied"),
        (
            "chmod 755 /opt/driver && rm /opt/driver/*",
            "No such file or directory",
        ),
    ] {
        cluster.root("node1", change).succeeds();
        cluster.alice(&run).is_refused([format!("{begins}{why}*")]);
    }
}

fn why_a_spec_does_not_stand_for_a_gpu_is_explained(cluster: &Cluster) {
    let explain = |gres: &str| {
        cluster.alice(&format!(
            "srun -w node1 --gres={gres} --container-explain --container-image={TINY} true | grep -e '^node1: GPU' -e CDI -e site.yaml | sed 's/^node1: //'"
        ))
    };
    explain("gpu:1")
        .succeeds()
        .says("GPU 0: no CDI spec of this node has devices of a class gpu\n");
    let _spec = with_spec(cluster, SPEC);
    explain("gpu:3").succeeds().lines([
        "GPU 0 is site.org/gpu=0",
        "GPU 1 is site.org/gpu=1",
        "GPU 2: no CDI device of kind site.org/gpu stands for number 2, /dev/fakegpu2",
        "bind /opt/driver/libfake.so.1.2.3 at /usr/lib/fake-driver/libfake.so.1.2.3 ro (by /etc/cdi/site.yaml)",
    ]);
    cluster
        .root("node1", "echo 'unknown: 1' >>/etc/cdi/site.yaml")
        .succeeds();
    let output = explain("gpu:1");
    for line in [
        "a CDI spec is passed over: /etc/cdi/site.yaml: ",
        "GPU 0: no CDI spec of this node has devices of a class gpu\n",
    ] {
        assert!(output.stdout.contains(line), "{line}{output}");
    }
}

/// All ranks are told by one message, which has an end.
fn too_many_variables_are_refused(cluster: &Cluster) {
    let variables: String = (0..6000).map(|n| format!("    - A{n}=\n")).collect();
    let spec = SPEC.replace("    - SITE_DRIVER=1.2.3\n", &variables);
    let _spec = with_spec(cluster, &spec);
    cluster
        .alice(&format!(
            "srun -w node1 -n2 --gres=gpu:1 --container-image={TINY} sh -c 'echo ran'"
        ))
        .is_refused(["oarlock: node1: devices of the step: CDI: the devices' variables are longer than 11 KiB in all; write shorter specs"]);
}

/// What a hook leaves to ldconfig: a library of the node's, under a name that only its
/// SONAME tells.
fn libraries_are_found_by_their_sonames(cluster: &Cluster) {
    let _spec = with_spec(cluster, SPEC);
    cluster
        .root(
            "node1",
            "cp -L $(ldd /bin/ls | grep -o '/[^ ]*libc\\.so\\.6') /opt/driver/libfake.so.1.2.3",
        )
        .succeeds();
    cluster
        .alice(&format!(
            "srun -w node1 --gres=gpu:1 --container-image={TINY} sh -c 'for f in /.oarlock/links/*; do echo $f; done'"
        ))
        .succeeds()
        .says("/.oarlock/links/libc.so.6\n/.oarlock/links/libfake.so.1\n");
}
