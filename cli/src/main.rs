//! `oarlock`: containers from the command line, with the core that the plugin
//! uses. Each verb has a file; this one only chooses.
#![forbid(unsafe_code)]

mod build;
mod config;
mod container;
mod doctor;
mod exec;
mod explain;
mod gc;
mod inspect;
mod passphrase;
mod profile;
mod sif;
mod sign;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use runtime_core::message::for_people;

/// Run, build and inspect container images for Slurm and MPI
#[derive(Debug, Parser)]
#[command(name = "oarlock", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Exec(exec::ExecArgs),
    Explain(explain::ExplainArgs),
    Build(build::BuildArgs),
    Inspect(inspect::InspectArgs),
    Sif(sif::SifArgs),
    Sign(sign::SignArgs),
    Verify(verify::VerifyArgs),
    Profile(profile::ProfileArgs),
    Config(config::ConfigArgs),
    Container(container::ContainerArgs),
    Gc(gc::GcArgs),
    Doctor(doctor::DoctorArgs),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        // Returns only where the command is not run.
        Verb::Exec(args) => match exec::run(&args) {
            Ok(code) => return code,
            Err(error) => {
                eprintln!("oarlock: {}", for_people(&error.to_string()));
                return ExitCode::from(error.exit_code());
            }
        },
        Verb::Explain(args) => explain::run(&args).map_err(|e| e.to_string()),
        Verb::Build(args) => build::run(&args).map_err(|e| e.to_string()),
        Verb::Inspect(args) => inspect::run(&args).map_err(|e| e.to_string()),
        Verb::Sif(args) => sif::run(&args).map_err(|e| e.to_string()),
        Verb::Sign(args) => sign::run(&args).map_err(|e| e.to_string()),
        Verb::Verify(args) => verify::run(&args).map_err(|e| e.to_string()),
        Verb::Profile(args) => profile::run(&args).map_err(|e| e.to_string()),
        Verb::Container(args) => container::run(&args).map_err(|e| e.to_string()),
        Verb::Config(args) => config::run(&args).map_err(|e| e.to_string()),
        // Its exit code says what was found.
        Verb::Doctor(args) => return doctor::run(&args),
        Verb::Gc(args) => gc::run(&args).map_err(|e| e.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("oarlock: {}", for_people(&message));
            ExitCode::FAILURE
        }
    }
}
