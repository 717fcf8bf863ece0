//! `--container-profile`: what a profile makes of a step, and what comes before and
//! after it.

use cluster_tests::images::{MPICH, TINY, TINY_FUSE};
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        a_profile_makes_a_container,
        a_name_is_looked_for_in_order,
        bases_are_merged,
        variables_are_the_jobs,
        the_command_line_wins,
        the_environment_of_a_profile,
        a_variable_that_is_set_nowhere_is_told,
        a_job_hands_its_profile_on,
        the_profile_of_the_start_counts,
        a_relative_path_starts_at_the_jobs_directory,
        a_mistake_is_not_queued,
        what_the_client_cannot_see_the_node_decides,
        the_command_oarlock_reads_profiles,
    ]
}

/// Writes profiles into alice's `~/.edf` and runs her script; they are removed again.
#[track_caller]
fn with_profiles(
    cluster: &Cluster,
    profiles: &[(&str, &str)],
    script: &str,
) -> cluster_tests::Output {
    let mut whole = String::from("mkdir ~/.edf || exit 99\n");
    for (name, text) in profiles {
        whole += &format!("cat >~/.edf/{name}.toml <<'END'\n{text}\nEND\n");
    }
    whole += &format!("(\n{script}\n); code=$?; rm -r ~/.edf; exit $code");
    cluster.alice(&whole)
}

fn tiny(more: &str) -> String {
    format!("image = \"{TINY}\"\n{more}")
}

fn a_profile_makes_a_container(cluster: &Cluster) {
    let profile = tiny("workdir = \"/mnt/here\"\nmounts = [\"/shared/tests:/mnt/here:ro\"]");
    let look = "sh -c 'cat /etc/oarlock-image; pwd; ls tiny.sif'";
    for form in [
        "srun -w node1 --container-profile=tiny",
        "srun -w node1 --container-profile=.edf/tiny.toml",
        "srun -w node1 --container-profile=$HOME/.edf/tiny.toml",
        "OARLOCK_CONTAINER_PROFILE=tiny srun -w node1",
    ] {
        with_profiles(cluster, &[("tiny", &profile)], &format!("{form} {look}"))
            .succeeds()
            .says("tiny\n/mnt/here\ntiny.sif\n");
    }
    // On two nodes, and by FUSE.
    let fuse = format!("image = \"{TINY_FUSE}\"");
    with_profiles(
        cluster,
        &[("fuse", &fuse)],
        "srun -N2 -n4 --container-profile=fuse cat /etc/oarlock-image",
    )
    .succeeds()
    .says("tiny\ntiny\ntiny\ntiny\n");
}

fn a_name_is_looked_for_in_order(cluster: &Cluster) {
    let _site = cluster.change(
        "node1",
        &format!(
            "mkdir /etc/oarlock/profiles && printf 'image = \"{MPICH}\"\\n' | tee /etc/oarlock/profiles/a.toml >/etc/oarlock/profiles/b.toml"
        ),
        "rm -r /etc/oarlock/profiles",
    );
    let run =
        |name: &str| format!("srun -w node1 --container-profile={name} cat /etc/oarlock-image");
    // The user's before the site's; the site's is only on the node.
    with_profiles(
        cluster,
        &[("a", &tiny(""))],
        &format!("{}; {}", run("a"), run("b")),
    )
    .succeeds()
    .says("tiny\nmpich\n");
    // A path of one's own stands for both of the user's places.
    with_profiles(
        cluster,
        &[("a", &tiny(""))],
        &format!(
            "export EDF_PATH=/nowhere:$HOME/odd; mkdir ~/odd; {}; cp ~/.edf/a.toml ~/odd/b.toml; {}; rm -r ~/odd",
            run("a"),
            run("b")
        ),
    )
    .succeeds()
    .says("mpich\ntiny\n");
    cluster
        .alice("srun -w node1 --container-profile=none echo ran")
        .is_refused([
            "oarlock: node1: profile none: no none.toml in /home/alice/.config/oarlock/profiles, /home/alice/.edf, /etc/oarlock/profiles; see: oarlock profile list",
        ]);
    cluster
        .alice("srun -w node1 --container-profile=none.toml echo ran")
        .is_refused(["oarlock: node1: profile none.toml: * the path of a file has a slash, as in ./NAME.toml"]);
}

fn bases_are_merged(cluster: &Cluster) {
    let _site = cluster.change(
        "node1",
        "mkdir /etc/oarlock/profiles && printf 'image = \"/nowhere.sif\"\\nmounts = [\"/shared/tests:/one\", \"/shared:/two\"]\\n[env]\\nA = \"site\"\\nB = \"site\"\\n' >/etc/oarlock/profiles/site.toml",
        "rm -r /etc/oarlock/profiles",
    );
    let middle = "base_environment = \"site\"\n[env]\nB = \"middle\"\nC = \"middle\"";
    let top = format!(
        "base_environment = [\"middle\"]\nimage = \"{TINY}\"\nmounts = [\"/shared/tests:/two\"]\n[env]\nC = \"top\"\n[annotations]\ncom.hooks.cxi.enabled = \"true\""
    );
    with_profiles(
        cluster,
        &[("middle", middle), ("top", &top)],
        "srun -w node1 --container-profile=top sh -c 'echo $A $B $C; ls /one/tiny.sif /two/tiny.sif'",
    )
    .succeeds()
    .says("site middle top\n/one/tiny.sif\n/two/tiny.sif\n");
}

fn variables_are_the_jobs(cluster: &Cluster) {
    let profile = "image = \"${IMAGES:-/nowhere}/${NAME}.sif\"\nmounts = [\"/shared/tests:/jobs/${SLURM_JOB_ID}\", \"/shared/tests:/$$HOME\"]\n[env]\nSHOWN = \"${SLURM_PROCID:-x}$$\"";
    // The client cannot know the job's number, and lets it pass.
    with_profiles(
        cluster,
        &[("p", profile)],
        "export IMAGES=/opt/images/tests NAME=tiny\n\
         srun -w node1 --container-profile=p sh -c 'ls /jobs/$SLURM_JOB_ID/tiny.sif >/dev/null && ls \"/\\$HOME/tiny.sif\"; cat /etc/oarlock-image'",
    )
    .succeeds()
    .says("/$HOME/tiny.sif\ntiny\n");
    with_profiles(
        cluster,
        &[("p", profile)],
        "srun -w node1 --container-profile=p echo ran",
    )
    .is_refused([
        "oarlock: node1: profile /home/alice/.edf/p.toml: line 1: image: the variable NAME is not set; export it, or write ${NAME:-} where it may be missing",
    ]);
}

fn the_command_line_wins(cluster: &Cluster) {
    let profile = tiny(
        "workdir = \"/nowhere\"\nmounts = [\"/nowhere:/mnt/here\", \"/shared/tests:/mnt/there\"]\n[env]\nA = \"profile\"\nB = \"profile\"",
    );
    with_profiles(
        cluster,
        &[("p", &profile)],
        &format!(
            "export A=job B=job OARLOCKENV_A=forced\n\
             srun -w node1 --container-profile=p --container-image={MPICH} --container-workdir=/mnt/here \
                --container-mounts=/shared/images:/mnt/here sh -c 'cat /etc/oarlock-image; pwd; ls demo.sif /mnt/there/tiny.sif; echo $A $B'"
        ),
    )
    .succeeds()
    .says("mpich\n/mnt/here\n/mnt/there/tiny.sif\ndemo.sif\nforced profile\n");
}

fn the_environment_of_a_profile(cluster: &Cluster) {
    // tiny sets FROM_IMAGE, and BOTH by its second script.
    let profile = tiny(
        "[env]\nBOTH = \"profile\"\nPATH = \"/extra:${PATH}\"\nFROM_JOB = \"\"\nMIXED = \"${FROM_IMAGE}-${OWN}\"\nQUOTED = \"$${OWN}\"",
    );
    with_profiles(
        cluster,
        &[("p", &profile)],
        "export BOTH=job FROM_JOB=job OWN=mine PATH=$PATH:/of/the/host\n\
         srun -w node1 --container-profile=p sh -c 'echo \"$BOTH [${FROM_JOB-unset}] $MIXED $QUOTED\"; case $PATH in /extra:*of/the/host*) echo host;; /extra:/*) echo image;; esac'",
    )
    .succeeds()
    .says("profile [unset] image-mine ${OWN}\nimage\n");
}

fn a_variable_that_is_set_nowhere_is_told(cluster: &Cluster) {
    for image in [
        TINY.to_owned(),
        "/shared/tests/tiny.d".to_owned(),
        MPICH.to_owned(),
    ] {
        let profile = format!("image = \"{image}\"\n[env]\nA = \"${{NOWHERE}}\"");
        with_profiles(
            cluster,
            &[("p", &profile)],
            "srun -w node1 -n2 --container-profile=p echo ran",
        )
        .is_refused([
            "oarlock: node1: profile: env.A: the variable NOWHERE is set neither in the job nor in the image; write ${NOWHERE:-} where it may be missing",
        ]);
    }
}

fn a_job_hands_its_profile_on(cluster: &Cluster) {
    with_profiles(
        cluster,
        &[("tiny", &tiny("")), ("other", &format!("image = \"{MPICH}\""))],
        "salloc -Q -w node1 --container-profile=tiny bash -c 'srun cat /etc/oarlock-image; srun --container-profile=other cat /etc/oarlock-image'\n\
         job=$(sbatch --parsable -w node1 --container-profile=tiny -o ~/out --wrap 'cat /etc/oarlock-image'); finish $job; cat ~/out; rm ~/out",
    )
    .succeeds()
    .says("tiny\nmpich\ntiny\n");
}

fn the_profile_of_the_start_counts(cluster: &Cluster) {
    let run = |change: &str| {
        format!(
            "job=$(sbatch --parsable -H -w node1 --container-profile=p -o ~/out --wrap 'cat /etc/oarlock-image')\n\
             {change}; scontrol release $job; finish $job; cat ~/out; rm ~/out; ended $job"
        )
    };
    with_profiles(
        cluster,
        &[("p", &tiny(""))],
        &run(&format!("echo 'image = \"{MPICH}\"' >~/.edf/p.toml")),
    )
    .says("mpich\nCOMPLETED 0:0\n");
    with_profiles(cluster, &[("p", &tiny(""))], &run("echo imge=1 >~/.edf/p.toml"))
        .says("oarlock: node1: profile /home/alice/.edf/p.toml: line 1: unknown field `imge`, expected one of `base_environment`, `image`, `workdir`, `entrypoint`, `writable`, `mounts`, `env`, `annotations`, `devices`\nFAILED 1:0\n");
}

fn a_relative_path_starts_at_the_jobs_directory(cluster: &Cluster) {
    cluster
        .alice(
            "mkdir -p ~/odd/run; cd ~/odd; printf 'image = \"./i.sif\"\\nmounts = [\"./run:/r\"]\\n' >p.toml\n\
             ln -s /shared/tests/tiny.sif i.sif; echo 'base_environment = \"../p.toml\"' >run/p.toml; ln -s ../i.sif run/i.sif; mkdir run/run; touch run/run/deep\n\
             srun -w node1 --container-profile=./p.toml ls -d /r/p.toml\n\
             srun -w node1 -D ~/odd/run --container-profile=./p.toml ls -d /r/deep; cd; rm -r ~/odd",
        )
        .succeeds()
        .says("/r/p.toml\n/r/deep\n");
}

fn a_mistake_is_not_queued(cluster: &Cluster) {
    let before = cluster.next_job();
    let here = "oarlock: profile /home/alice/.edf/p.toml: ";
    for (text, message) in [
        (
            "image = \"/x\"\nimge = 1",
            "line 2: unknown field `imge`, expected one of *",
        ),
        ("image = ", "line 1: *"),
        (
            "image = \"$HOME/x\"",
            "line 1: image: a \"$\" stands alone; *",
        ),
        (
            "\nworkdir = \"x\"",
            "line 2: workdir: \"x\" is not an absolute path",
        ),
        ("image = \"docker://debian\"", ""),
        (
            "base_environment = \"p\"",
            "line 1: base_environment leads back to this file",
        ),
        (
            "devices = [\"nvidia.com/gpu=all\"]",
            "line 1: devices: profiles cannot ask for devices yet; *",
        ),
    ] {
        for (client, command) in [
            ("srun", "true"),
            ("salloc", "true"),
            ("sbatch", "--wrap=true"),
        ] {
            let output = with_profiles(
                cluster,
                &[("p", text)],
                &format!("{client} --container-profile=p {command}"),
            );
            assert_ne!(output.code, 0, "{output}");
            output.tells([match message {
                "" => {
                    "oarlock: image docker://debian: registries are not supported yet; *".to_owned()
                }
                message => format!("{here}{message}"),
            }]);
        }
    }
    with_profiles(
        cluster,
        &[("p", "workdir = \"/\"")],
        "srun --container-profile=p true; exit 0",
    )
    .tells(["oarlock: profile p names no image; add one to it, or give --container-image=PATH"]);
    assert_eq!(cluster.next_job(), before, "nothing may be queued");
}

fn what_the_client_cannot_see_the_node_decides(cluster: &Cluster) {
    let file = "/var/tmp/oarlock-profile.toml";
    let _node = cluster.change(
        "node1",
        &format!("printf 'image = \"{TINY}\"\\n' >{file}"),
        format!("rm {file}"),
    );
    cluster
        .alice(&format!(
            "srun -w node1 --container-profile={file} cat /etc/oarlock-image"
        ))
        .succeeds()
        .says("tiny\n");
    cluster
        .alice(&format!(
            "srun -w node2 --container-profile={file} echo ran"
        ))
        .is_refused([format!(
            "oarlock: node2: profile {file}: no such file or directory"
        )]);
}

fn the_command_oarlock_reads_profiles(cluster: &Cluster) {
    let profile = tiny("workdir = \"/usr\"\n[env]\nA = \"${FROM_IMAGE:-none}\"");
    with_profiles(
        cluster,
        &[
            ("base", &profile),
            ("top", "base_environment = \"base\"\nmounts = [\"${HOME}:/h\"]"),
        ],
        "oarlock profile validate top; oarlock profile render top; oarlock profile list\n\
         oarlock exec --profile top sh -c 'cat /etc/oarlock-image; pwd; echo $A'\n\
         oarlock exec --profile top --image /shared/images/mpich.sif --workdir /h sh -c 'cat /etc/oarlock-image; pwd -P'",
    )
    .succeeds()
    .says(&format!(
        "profile top: in order\n\
         image = \"{TINY}\"\nworkdir = \"/usr\"\nmounts = [\"/home/alice:/h\"]\n\n[env]\nA = \"${{FROM_IMAGE:-none}}\"\n\
         base                 /home/alice/.edf/base.toml\n\
         top                  /home/alice/.edf/top.toml\n\
         tiny\n/usr\nimage\nmpich\n/h\n"
    ));
    let output = with_profiles(
        cluster,
        &[("p", "\nimge = 1")],
        "oarlock profile validate p",
    );
    assert_eq!(output.code, 1, "{output}");
    output.tells(["oarlock: profile /home/alice/.edf/p.toml: line 2: unknown field `imge`, *"]);
    let output = cluster.alice("oarlock profile render none");
    assert_eq!(output.code, 1, "{output}");
    output.tells(["oarlock: profile none: no none.toml in *"]);
}
