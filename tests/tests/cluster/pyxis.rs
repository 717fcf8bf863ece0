//! What a site finds that replaces pyxis: its options, variables and arguments.

use cluster_tests::images::{DEMO, TINY};
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        variables_of_pyxis,
        ours_win_over_those_of_pyxis,
        a_wrong_variable_is_named,
        switches_of_the_command_line_win,
        what_sbatch_was_told_is_inherited_and_overruled,
        a_line_of_the_script_wins_over_variables,
        switches_that_contradict_each_other,
        home_as_asked,
        arguments_of_pyxis,
        without_support_of_sbatch,
        an_unknown_argument_value,
        frameworks_know_their_rank,
        variables_from_the_job,
        images_of_enroot,
    ]
}

const PLUGSTACK: &str = "/etc/slurm/plugstack.conf.d/oarlock.conf";

fn variables_of_pyxis(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "export PYXIS_CONTAINER_IMAGE={TINY} PYXIS_CONTAINER_MOUNTS=/shared/tests:/mnt/here:ro+rprivate \
             PYXIS_CONTAINER_WORKDIR=/mnt/here PYXIS_CONTAINER_MOUNT_HOME=no PYXIS_CONTAINER_READONLY=true\n\
             srun sh -c 'cat /etc/oarlock-image; pwd; ls -d /home/alice'; echo $?\n\
             job=$(sbatch --parsable -o ~/out --wrap 'cat /etc/oarlock-image; pwd'); finish $job; cat ~/out; rm ~/out; ended $job"
        ))
        .says("tiny\n/mnt/here\n2\ntiny\n/mnt/here\nCOMPLETED 0:0\n");
}

fn ours_win_over_those_of_pyxis(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "export PYXIS_CONTAINER_IMAGE=/nowhere.sif OARLOCK_CONTAINER_IMAGE={TINY} \
             PYXIS_CONTAINER_WORKDIR=/usr\n\
             srun sh -c 'cat /etc/oarlock-image; pwd'\n\
             srun --container-image={DEMO} --container-workdir=/etc sh -c 'cat /etc/oarlock-image; pwd'"
        ))
        .succeeds()
        .says("tiny\n/usr\ndemo\n/etc\n");
}

fn a_wrong_variable_is_named(cluster: &Cluster) {
    let before = cluster.next_job();
    for (variable, message) in [
        (
            "PYXIS_CONTAINER_REMAP_ROOT=maybe",
            "oarlock: PYXIS_CONTAINER_REMAP_ROOT: --container-remap-root=maybe: write 1, true, yes or y, or 0, false, no or n",
        ),
        (
            "OARLOCK_CONTAINER_UNSHARE=mnt",
            "oarlock: OARLOCK_CONTAINER_UNSHARE: --container-unshare: \"mnt\" is none of net, ipc, uts, pid and cgroup",
        ),
        (
            "PYXIS_CONTAINER_NAME=../x",
            "oarlock: PYXIS_CONTAINER_NAME: container name \"../x\": use up to 200 letters, digits and any of _-.+@, beginning with a letter, a digit or one of _+@",
        ),
        (
            "PYXIS_CONTAINER_SAVE=./",
            "oarlock: PYXIS_CONTAINER_SAVE: --container-save=./: give the name of a file, as in --container-save=./new.sif",
        ),
    ] {
        let output = cluster.alice(&format!(
            "{variable} srun --container-image={TINY} echo ran"
        ));
        assert_ne!(output.code, 0, "{output}");
        assert_eq!(output.stdout, "", "{output}");
        output.tells([message.to_owned()]);
    }
    assert_eq!(cluster.next_job(), before, "nothing may be queued");
}

const HOME: &str = "test -e ~/marked && echo home || echo no home";

fn switches_of_the_command_line_win(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "touch ~/marked; export OARLOCK_CONTAINER_MOUNT_HOME=0\n\
             srun --container-image={TINY} sh -c '{HOME}'\n\
             srun --container-image={TINY} --container-mount-home sh -c '{HOME}'\n\
             export OARLOCK_CONTAINER_MOUNT_HOME=1\n\
             srun --container-image={TINY} --no-container-mount-home sh -c '{HOME}'\n\
             rm ~/marked"
        ))
        .succeeds()
        .says("no home\nhome\nno home\n");
}

fn what_sbatch_was_told_is_inherited_and_overruled(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "touch ~/marked; cat >~/job.sh <<'END'\n\
             #!/bin/sh\n\
             {HOME}\n\
             END\n\
             export PYXIS_CONTAINER_MOUNT_HOME=1\n\
             salloc --container-image={TINY} --no-container-mount-home bash -c \"\n\
             srun sh -c '{HOME}'\n\
             srun --container-mount-home sh -c '{HOME}'\n\
             srun --container-image={DEMO} sh -c '{HOME}; cat /etc/oarlock-image'\"\n\
             job=$(sbatch --parsable --container-image={TINY} --no-container-mount-home -o ~/out ~/job.sh); finish $job\n\
             cat ~/out; rm ~/out ~/job.sh ~/marked; ended $job"
        ))
        .succeeds()
        .says("no home\nhome\nno home\ndemo\nno home\nCOMPLETED 0:0\n");
}

fn a_line_of_the_script_wins_over_variables(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "printf '#!/bin/sh\\n#SBATCH --container-image={TINY}\\ncat /etc/oarlock-image; pwd\\n' >~/job.sh\n\
             export OARLOCK_CONTAINER_IMAGE=/nowhere.sif OARLOCK_CONTAINER_WORKDIR=/usr\n\
             for more in '' --container-image={DEMO}; do\n\
             job=$(sbatch --parsable $more -o ~/out ~/job.sh); finish $job; cat ~/out; done; rm ~/out ~/job.sh"
        ))
        .succeeds()
        .says("tiny\n/usr\ndemo\n/usr\n");
}

fn switches_that_contradict_each_other(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun -w node1 --container-image={TINY} --container-mount-home --no-container-mount-home echo ran"
        ))
        .is_refused([
            "oarlock: node1: --container-mount-home and its opposite are both given; leave one out",
        ]);
}

fn home_as_asked(cluster: &Cluster) {
    let _site = cluster.change(
        "node1",
        "cp -p /etc/oarlock/oarlock.toml /root/home && sed -i 's/^home = true/home = false/' /etc/oarlock/oarlock.toml",
        "cp -p /root/home /etc/oarlock/oarlock.toml && rm /root/home",
    );
    cluster
        .alice(&format!(
            "touch ~/marked; cd /tmp\n\
             srun -w node1 --container-image={TINY} sh -c '{HOME}'\n\
             srun -w node1 --container-image={TINY} --container-mount-home sh -c '{HOME}'\n\
             rm ~/marked"
        ))
        .succeeds()
        .says("no home\nhome\n");
}

/// A site that edits nothing but the name of the library.
fn arguments_of_pyxis(cluster: &Cluster) {
    let _restores = ["login", "node1", "node2"].map(|machine| {
        cluster.change(
            machine,
            &format!(
                "cp -p {PLUGSTACK} /root/plugstack && sed -i 's|spank_oarlock.so.*|spank_oarlock.so runtime_path=/run/pyxis use_enroot_load=1 use_squashfuse=1 importer=/x container_scope=job execute_entrypoint=0 sbatch_support=1|' {PLUGSTACK}"
            ),
            format!("cp -p /root/plugstack {PLUGSTACK} && rm /root/plugstack"),
        )
    });
    cluster
        .alice(&format!(
            "srun --container-image={TINY} cat /etc/oarlock-image\n\
             job=$(sbatch --parsable --container-image={TINY} -o ~/out --wrap 'cat /etc/oarlock-image'); finish $job; cat ~/out; rm ~/out"
        ))
        .succeeds()
        .says("tiny\ntiny\n");
}

fn without_support_of_sbatch(cluster: &Cluster) {
    let _restores = ["login", "node1", "node2"].map(|machine| {
        cluster.change(
            machine,
            &format!(
                "cp -p {PLUGSTACK} /root/plugstack && sed -i 's|spank_oarlock.so.*|spank_oarlock.so sbatch_support=0|' {PLUGSTACK}"
            ),
            format!("cp -p /root/plugstack {PLUGSTACK} && rm /root/plugstack"),
        )
    });
    cluster
        .alice(&format!(
            "srun --container-image={TINY} cat /etc/oarlock-image\n\
             sbatch --help | grep -c container-image\n\
             sbatch --container-image={TINY} --wrap true 2>&1 | grep -c unrecognized\n\
             export OARLOCK_CONTAINER_IMAGE={TINY}\n\
             job=$(sbatch --parsable -o ~/out --wrap 'test -e /etc/oarlock-image && echo inside || echo outside; srun cat /etc/oarlock-image')\n\
             finish $job; cat ~/out; rm ~/out"
        ))
        .says("tiny\n0\n1\noutside\ntiny\n");
}

fn an_unknown_argument_value(cluster: &Cluster) {
    let _restore = cluster.change(
        "login",
        &format!(
            "cp -p {PLUGSTACK} /root/plugstack && sed -i 's|spank_oarlock.so.*|spank_oarlock.so container_scope=node|' {PLUGSTACK}"
        ),
        format!("cp -p /root/plugstack {PLUGSTACK} && rm /root/plugstack"),
    );
    let output = cluster.alice("srun echo ran");
    assert_eq!(output.stdout, "", "{output}");
    output.tells([
        "oarlock: plugstack.conf: argument \"container_scope=node\": write global or job"
            .to_owned(),
    ]);
}

fn frameworks_know_their_rank(cluster: &Cluster) {
    let output = cluster
        .alice(&format!(
            "srun -N2 --ntasks-per-node=2 --container-image={TINY} --container-env=PYTORCH_VERSION sh -c 'echo [$RANK] [$LOCAL_RANK]' | sort\n\
             export PYTORCH_VERSION=2.9\n\
             srun -N2 --ntasks-per-node=2 --container-image={TINY} sh -c 'echo $RANK $LOCAL_RANK' | sort"
        ))
        .succeeds();
    output.says("[] []\n[] []\n[] []\n[] []\n0 0\n1 1\n2 0\n3 1\n");
}

/// The image's own word, unless the user chooses the job's.
fn variables_from_the_job(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "export BOTH=job FROM_IMAGE=job LD_LIBRARY_PATH=/of/the/job\n\
             srun --container-image={TINY} sh -c 'echo $BOTH / $FROM_IMAGE / $LD_LIBRARY_PATH'\n\
             srun --container-image={TINY} --container-env=FROM_IMAGE,LD_LIBRARY_PATH,UNSET_ONE sh -c 'echo $BOTH / $FROM_IMAGE / $LD_LIBRARY_PATH / ${{UNSET_ONE-unset}}'\n\
             OARLOCK_CONTAINER_ENV=FROM_IMAGE OARLOCKENV_FROM_IMAGE=forced srun --container-image={TINY} sh -c 'echo $FROM_IMAGE'"
        ))
        .succeeds()
        .says("image and later / image /\nimage and later / job / /of/the/job / unset\nforced\n");
}

/// What `enroot import` writes: no configuration but /etc/environment, and an entry
/// point in /etc/rc.
fn images_of_enroot(cluster: &Cluster) {
    cluster
        .alice(
            "cp -a /shared/tests/tiny.d ~/enroot.d; rm -rf ~/enroot.d/.singularity.d\n\
             printf 'FROM_IMAGE=enroot\\nPATH=/opt/enroot/bin:/usr/bin:/bin\\n' >~/enroot.d/etc/environment\n\
             printf '#!/bin/sh\\nexport FROM_RC=rc\\nif [ $# = 0 ]; then set -- echo CMD; fi\\nexec \"$@\"\\n' >~/enroot.d/etc/rc\n\
             chmod 0755 ~/enroot.d/etc/rc; mksquashfs ~/enroot.d ~/enroot.sqsh -quiet -no-progress >/dev/null\n\
             for image in enroot.sqsh enroot.d; do\n\
             srun --container-image=./$image sh -c 'echo $FROM_IMAGE $PATH [$FROM_RC]'\n\
             srun --container-image=./$image --container-entrypoint sh -c 'echo $FROM_IMAGE $PATH [$FROM_RC]'\n\
             done; rm -rf ~/enroot.d ~/enroot.sqsh",
        )
        .succeeds()
        .says(
            "enroot /opt/enroot/bin:/usr/bin:/bin []\nenroot /opt/enroot/bin:/usr/bin:/bin [rc]\n\
             enroot /opt/enroot/bin:/usr/bin:/bin []\nenroot /opt/enroot/bin:/usr/bin:/bin [rc]\n",
        );
}
