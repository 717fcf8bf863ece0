//! Tests on a real GPU: this machine's own, and steps of its Slurm's.
//!
//! The cluster's GPUs are device nodes without a driver; what a driver does with them only
//! a real one shows. So these run where there is one: discovery wherever a GPU of NVIDIA's
//! is, steps where this machine is also a node of a Slurm with Oarlock that grants it
//! (`srun --gres=gpu:1`; what else srun needs to get here is in `OARLOCK_GPU_SRUN`). Where
//! something is lacking a line says what, and the tests count as ignored.
//!
//! Nothing of the machine is changed: the image is made in a directory of its own.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

mod machine;

use machine::{Machine, run};

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    let machine = Machine::look();
    if !arguments.list {
        for line in &machine.lacks {
            println!("SKIPPED: {line}");
        }
    }
    let machine = Arc::new(machine);
    let trial = |name: &str, is_there: bool, test: fn(&Machine) -> Result<(), Failed>| {
        let machine = Arc::clone(&machine);
        Trial::test(format!("gpu::{name}"), move || test(&machine)).with_ignored_flag(!is_there)
    };
    let (gpu, steps) = (machine.has_gpu, machine.image.is_some());
    let trials = vec![
        trial("every_gpu_is_found", gpu, every_gpu_is_found),
        trial("the_driver_is_whole", gpu, the_driver_is_whole),
        trial(
            "a_step_sees_its_gpu_alone",
            steps,
            a_step_sees_its_gpu_alone,
        ),
        trial(
            "cuda_finds_what_was_granted",
            steps,
            cuda_finds_what_was_granted,
        ),
        trial(
            "the_management_library_agrees",
            steps,
            the_management_library_agrees,
        ),
        trial(
            "without_a_grant_there_is_none",
            steps,
            without_a_grant_there_is_none,
        ),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// What `nvidia-smi -L` counts on the host is what is found without it, by the same names.
fn every_gpu_is_found(machine: &Machine) -> Result<(), Failed> {
    let told = run("nvidia-smi", &["-L"])?;
    let mut of_smi = machine::uuids(&told);
    let report = machine.doctor()?;
    let mut found = machine::uuids(&report);
    of_smi.sort();
    found.sort();
    if of_smi.is_empty() || of_smi != found {
        return Err(format!("nvidia-smi: {told}\noarlock doctor: {report}").into());
    }
    Ok(())
}

fn the_driver_is_whole(machine: &Machine) -> Result<(), Failed> {
    let report = machine.doctor()?;
    for wanted in ["\"NVIDIA libraries\"", "libcuda.so.1", "libnvidia-ml.so.1"] {
        if !report.contains(wanted) {
            return Err(format!("no {wanted} in {report}").into());
        }
    }
    match report.contains("\"failed\"") {
        true => Err(report.into()),
        false => Ok(()),
    }
}

fn a_step_sees_its_gpu_alone(machine: &Machine) -> Result<(), Failed> {
    let seen = machine.step(1, "ls /dev | grep -c '^nvidia[0-9]'")?;
    equal(seen.trim(), "1")?;
    // No other is reached, also not by the host's /dev, which a process outside shows to
    // others of its user.
    let mut outside = std::process::Command::new("sleep").arg("600").spawn()?;
    let tries = format!(
        "for n in 0 1 2 3 4 5 6 7; do if [ ! -e /dev/nvidia$n ] && (: </proc/{}/root/dev/nvidia$n) 2>/dev/null; then echo reached $n; fi; done; echo done",
        outside.id()
    );
    let said = machine.step(1, &tries);
    outside.kill()?;
    outside.wait()?;
    equal(said?.trim(), "done")
}

fn cuda_finds_what_was_granted(machine: &Machine) -> Result<(), Failed> {
    for count in 1..=machine.granted {
        let said = machine.step(count, "/use")?;
        equal(said.trim(), &format!("cuInit 0, {count} devices"))?;
    }
    Ok(())
}

/// nvidia-smi in a container lists what it lists in a step without one.
fn the_management_library_agrees(machine: &Machine) -> Result<(), Failed> {
    let mut outside = machine::uuids(&machine.bare_step(1, "nvidia-smi -L")?);
    let mut inside = machine::uuids(&machine.step(1, "nvidia-smi -L")?);
    outside.sort();
    inside.sort();
    equal(&format!("{inside:?}"), &format!("{outside:?}"))?;
    equal(&inside.len().to_string(), "1")
}

fn without_a_grant_there_is_none(machine: &Machine) -> Result<(), Failed> {
    let seen = machine.step(0, "ls /dev | grep nvidia; ls -d /.oarlock/libs 2>/dev/null; echo $LD_LIBRARY_PATH | grep -c oarlock; true")?;
    equal(seen.trim(), "0")
}

fn equal(found: &str, expected: &str) -> Result<(), Failed> {
    match found == expected {
        true => Ok(()),
        false => Err(format!("found {found:?}, expected {expected:?}").into()),
    }
}

/// A program by its name, where this machine has it.
fn has(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", "command -v \"$0\" >/dev/null", program])
        .status();
    found.is_ok_and(|status| status.success())
}

/// Where cargo has put the command `oarlock`, or the installed one.
fn oarlock() -> PathBuf {
    let beside = std::env::current_exe().ok();
    let built = beside.and_then(|own| Some(own.parent()?.parent()?.join("oarlock")));
    built
        .filter(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from("oarlock"))
}
