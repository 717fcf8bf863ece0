//! Tests of Oarlock on a real Slurm: `cargo xtask test --cluster`.
//!
//! Where there is no cluster, every test is shown as ignored. After each test the
//! machines must be as they were before it.

mod apptainer;
mod attacks;
mod batch;
mod broken_images;
mod broken_nodes;
mod cdi;
mod cgroup_ends;
mod cgroups;
mod command_line;
mod confinement;
mod contain_spank;
mod containers_cli;
mod devices;
mod doctor;
mod driver;
mod entry;
mod entry_point;
mod environment;
mod explain;
mod exports;
mod hostile_fields;
mod hostile_images;
mod hostile_profiles;
mod hostile_roots;
mod interactive;
mod job_container;
mod job_shapes;
mod laid_over;
mod leftovers;
mod mount_flags;
mod mounts;
mod mpi;
mod named;
mod named_jobs;
mod names;
mod namespaces;
mod node_failure;
mod options;
mod overlays;
mod parts;
mod plugstack;
mod policy;
mod privileges;
mod profiles;
mod prolog;
mod prolog_attacks;
mod prolog_namespaces;
mod pyxis;
mod ranks;
mod remap_root;
mod save;
mod servers;
mod sharing;
mod shebang;
mod sif;
mod signals;
mod signatures;
mod smoke;
mod staging;
mod stopping;
mod terminal;
mod users;
mod view;
mod writable;

use std::process::ExitCode;
use std::sync::Arc;

use cluster_tests::Cluster;
use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let cluster = if Cluster::is_there() && !arguments.list {
        match Cluster::connect() {
            Ok(cluster) => Some(Arc::new(cluster)),
            Err(problem) => {
                eprintln!("{problem}");
                return ExitCode::FAILURE;
            }
        }
    } else {
        println!("no cluster: all tests are ignored; cargo xtask test --cluster brings one up");
        None
    };
    let modules = [
        leftovers::cases(),
        smoke::cases(),
        ranks::cases(),
        entry::cases(),
        batch::cases(),
        terminal::cases(),
        signals::cases(),
        options::cases(),
        mounts::cases(),
        mount_flags::cases(),
        pyxis::cases(),
        entry_point::cases(),
        explain::cases(),
        environment::cases(),
        view::cases(),
        writable::cases(),
        named::cases(),
        named_jobs::cases(),
        containers_cli::cases(),
        save::cases(),
        privileges::cases(),
        prolog::cases(),
        prolog_attacks::cases(),
        prolog_namespaces::cases(),
        hostile_images::cases(),
        hostile_roots::cases(),
        hostile_fields::cases(),
        broken_images::cases(),
        broken_nodes::cases(),
        plugstack::cases(),
        node_failure::cases(),
        contain_spank::cases(),
        devices::cases(),
        cdi::cases(),
        cgroups::cases(),
        cgroup_ends::cases(),
        job_container::cases(),
        users::cases(),
        mpi::cases(),
        namespaces::cases(),
        apptainer::cases(),
        sif::cases(),
        sharing::cases(),
        staging::cases(),
        policy::cases(),
        names::cases(),
        profiles::cases(),
        hostile_profiles::cases(),
        overlays::cases(),
        parts::cases(),
        laid_over::cases(),
        signatures::cases(),
        attacks::cases(),
        confinement::cases(),
        remap_root::cases(),
        servers::cases(),
        command_line::cases(),
        doctor::cases(),
        driver::cases(),
        job_shapes::cases(),
        stopping::cases(),
        interactive::cases(),
        exports::cases(),
        shebang::cases(),
    ];
    let trials = modules
        .into_iter()
        .flatten()
        .map(|case| case.trial(cluster.as_ref()))
        .collect();
    let policy = cluster.as_deref().map(Cluster::without_copies);
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(policy);
    if let Some(cluster) = cluster {
        cluster.clear();
    }
    conclusion.exit_code()
}
