//! Oarlock's build and test commands, `cargo xtask …`.
//!
//! Only parses the command line and calls the file of the verb. It must never
//! be needed to use Oarlock: it is for those who build and test it.

mod artifacts;
mod base;
mod bench;
mod check;
mod cluster;
mod demo;
mod engine;
mod fuzz;
mod images;
mod job;
mod layout;
mod packages;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use layout::{Layout, Slurm};

/// Build, check, demonstrate and test Oarlock.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start, stop or enter the test cluster
    #[command(subcommand)]
    Cluster(ClusterVerb),
    /// Build everything and run three jobs in a real image on a real Slurm
    Demo {
        /// Slurm's version
        #[arg(long, value_enum, default_value_t)]
        slurm: Slurm,
    },
    /// Run the checks, the unit tests and the cluster tests
    Test {
        /// Only the cluster tests; a cluster that is up stays up
        #[arg(long)]
        cluster: bool,
        /// Only the few cluster tests with Slurm's other versions
        #[arg(long, conflicts_with_all = ["cluster", "filter"])]
        smoke: bool,
        /// Slurm's version
        #[arg(long, value_enum, default_value_t)]
        slurm: Slurm,
        /// Only the tests whose name contains this
        filter: Option<String>,
    },
    /// Measure Oarlock beside no container, Apptainer and Charliecloud
    Bench {
        /// How often each command is measured
        #[arg(long, default_value_t = 11)]
        runs: usize,
        /// The numbers of ranks that steps have
        #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 16, 64])]
        ranks: Vec<usize>,
        /// Only these parts
        #[arg(long, value_enum, value_delimiter = ',')]
        only: Vec<bench::Part>,
        /// All parts, also the many launches
        #[arg(long, conflicts_with = "only")]
        full: bool,
        /// Measure this many launches [default where they are measured: 1000]
        #[arg(long)]
        launches: Option<usize>,
        /// Write docs/benchmarks.md; parts that are not measured stay as they are
        #[arg(long)]
        write: bool,
        /// Build and install nothing: measure the cluster that is up
        #[arg(long)]
        as_is: bool,
        /// Slurm's version
        #[arg(long, value_enum, default_value_t)]
        slurm: Slurm,
    },
    /// Give parsers made-up bytes and see that their promises hold
    Fuzz {
        /// How long each target runs
        #[arg(long, default_value_t = 10)]
        seconds: u32,
        /// Only this target, a file of fuzz/fuzz_targets without its ending
        target: Option<String>,
    },
    /// Format, lints, documentation, file lengths, dependencies
    Check,
}

#[derive(Subcommand)]
enum ClusterVerb {
    /// Build and start the cluster, and install Oarlock on it
    Up {
        /// Slurm's version
        #[arg(long, value_enum, default_value_t)]
        slurm: Slurm,
    },
    /// Stop the cluster and remove its containers and volumes
    Down,
    /// Open a shell in the cluster
    Shell {
        /// The machine: login, ctld, node1 or node2
        #[arg(default_value = "login")]
        machine: String,
        /// The user: alice, bob or root
        #[arg(long, default_value = "alice")]
        user: String,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not Debug's form: a backtrace helps nobody here.
            eprintln!("xtask: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<()> {
    let layout = Layout::of_this_workspace()?;
    match verb {
        Verb::Cluster(ClusterVerb::Up { slurm }) => cluster::up(&layout, slurm).map(drop),
        Verb::Cluster(ClusterVerb::Down) => cluster::down(&layout),
        Verb::Cluster(ClusterVerb::Shell { machine, user }) => {
            cluster::shell(&layout, &machine, &user)
        }
        Verb::Demo { slurm } => demo::run(&layout, slurm),
        Verb::Test {
            cluster,
            smoke,
            slurm,
            filter,
        } => {
            let part = match (cluster, smoke) {
                (true, _) => test::Part::Cluster,
                (_, true) => test::Part::Smoke,
                _ => test::Part::All,
            };
            test::run(&layout, slurm, part, filter.as_deref())
        }
        Verb::Bench {
            runs,
            ranks,
            only,
            full,
            launches,
            write,
            as_is,
            slurm,
        } => bench::run(
            &layout,
            slurm,
            &bench::Options {
                runs,
                ranks,
                only,
                full,
                launches,
                write,
                as_is,
            },
        ),
        Verb::Fuzz { seconds, target } => fuzz::run(&layout, seconds, target.as_deref()).map(drop),
        Verb::Check => check::run(&layout),
    }
}
