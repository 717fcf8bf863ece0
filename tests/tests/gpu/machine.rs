//! This machine: whether it has a GPU and a Slurm that grants it, the image that is run in
//! its steps, and the steps. Says what it lacks.

use std::path::Path;
use std::process::Command;

use libtest_mimic::Failed;

/// What srun needs besides to start a step on this machine, such as `-w node -p gpu`.
const SRUN: &str = "OARLOCK_GPU_SRUN";

/// A shell and little else, with the machine's own C library; and a program that asks
/// libcuda, which it finds at run time alone.
const MAKE: &str = r#"set -e; root=$1; mkdir -p $root/bin $root/dev $root/proc $root/sys $root/tmp $root/etc
for program in bash cat grep ls true; do
    path=$(command -v $program); cp $path $root/bin/
    ldd $path | grep -oE '/[^ ]+' | while read -r path; do
        [ -e $root$path ] || { mkdir -p $root$(dirname $path); cp -L $path $root$path; }
    done
done
ln -s bash $root/bin/sh
cat >$root/use.c <<'END'
#include <dlfcn.h>
#include <stdio.h>
int main(void) {
    void *cuda = dlopen("libcuda.so.1", RTLD_NOW);
    if (!cuda) return puts(dlerror()), 1;
    int (*init)(unsigned) = (int (*)(unsigned))dlsym(cuda, "cuInit");
    int (*count)(int *) = (int (*)(int *))dlsym(cuda, "cuDeviceGetCount");
    int code = init(0), devices = -1;
    if (code == 0) count(&devices);
    printf("cuInit %d, %d devices\n", code, devices);
}
END
cc -o $root/use $root/use.c -ldl
# What nvidia-smi and libcuda load of the C library's.
for library in libm.so.6 libdl.so.2 libpthread.so.0 librt.so.1 libgcc_s.so.1 libstdc++.so.6; do
    path=$(ldconfig -p | grep -m1 "$library .*x86-64\|$library .*AArch64" | grep -oE '/[^ ]+$') || continue
    [ -e $root$path ] || { mkdir -p $root$(dirname $path); cp -L $path $root$path; }
done
"#;

/// This machine, and what it lacks.
pub(crate) struct Machine {
    /// Whether a GPU of NVIDIA's is here, with its driver.
    pub(crate) has_gpu: bool,
    /// How many GPUs a step can have; at most 2 are tried.
    pub(crate) granted: usize,
    /// The image, where steps can be run.
    pub(crate) image: Option<Image>,
    /// One line for each group of tests that cannot be made.
    pub(crate) lacks: Vec<String>,
}

/// A root file system, removed in the end.
pub(crate) struct Image(String);

impl Drop for Image {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Machine {
    pub(crate) fn look() -> Self {
        let mut machine = Self {
            has_gpu: false,
            granted: 0,
            image: None,
            lacks: Vec::new(),
        };
        if !Path::new("/proc/driver/nvidia/version").exists() {
            machine.lacks.push(
                "tests on a real GPU: none of NVIDIA's with a loaded driver is on this machine"
                    .to_owned(),
            );
            return machine;
        }
        if !crate::has("nvidia-smi") {
            machine
                .lacks
                .push("tests on a real GPU: nvidia-smi is not on this machine".to_owned());
            return machine;
        }
        machine.has_gpu = true;
        if let Err(why) = machine.prepare() {
            machine
                .lacks
                .push(format!("steps with a real GPU: {}", one_line(&why)));
        }
        machine
    }

    fn prepare(&mut self) -> Result<(), String> {
        for program in ["srun", "cc", "ldd"] {
            if !crate::has(program) {
                return Err(format!("{program} is not on this machine"));
            }
        }
        let here = run("uname", &["-n"]).map_err(|why| said(&why))?;
        for count in 1..=2 {
            match self.bare_step(count, "uname -n") {
                Ok(there) if there == here => self.granted = count,
                Ok(there) => {
                    return Err(format!(
                        "srun --gres=gpu:1 runs on {}, and not here; set {SRUN}",
                        there.trim()
                    ));
                }
                Err(why) if count == 1 => return Err(said(&why)),
                Err(_) => {}
            }
        }
        let help = run("srun", &["--help"]).map_err(|why| said(&why))?;
        if !help.contains("--container-image") {
            return Err("this Slurm has no Oarlock".to_owned());
        }
        let root = std::env::temp_dir().join(format!("oarlock-gpu-{}", std::process::id()));
        let root = root.to_string_lossy().into_owned();
        let image = Image(root.clone());
        run("bash", &["-c", MAKE, "make", &root]).map_err(|why| said(&why))?;
        self.image = Some(image);
        Ok(())
    }

    /// What `oarlock doctor gpu` says; its exit code is not heeded, its words are.
    pub(crate) fn doctor(&self) -> Result<String, Failed> {
        let done = Command::new(crate::oarlock())
            .args(["doctor", "--json", "gpu"])
            .output()?;
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// A step with as many GPUs, in a container; a word of Oarlock's is a failure.
    pub(crate) fn step(&self, gpus: usize, script: &str) -> Result<String, Failed> {
        let Some(Image(root)) = &self.image else {
            return Err("there is no image".into());
        };
        self.srun(gpus, &[&format!("--container-image={root}")], script)
    }

    /// The same without a container.
    pub(crate) fn bare_step(&self, gpus: usize, script: &str) -> Result<String, Failed> {
        self.srun(gpus, &[], script)
    }

    fn srun(&self, gpus: usize, more: &[&str], script: &str) -> Result<String, Failed> {
        let site = std::env::var(SRUN).unwrap_or_default();
        let gres = format!("--gres=gpu:{gpus}");
        // Who waits for a GPU longer than that has none.
        let mut arguments = vec!["-Q", "-n1", "--immediate=60", "--time=2"];
        arguments.extend(site.split_whitespace());
        arguments.extend((gpus > 0).then_some(gres.as_str()));
        arguments.extend(more);
        arguments.extend(["sh", "-c", script]);
        run("srun", &arguments)
    }
}

/// What a program says on standard output; a failure, or a word of Oarlock's on standard
/// error, is an error.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<String, Failed> {
    let done = Command::new(program).args(arguments).output()?;
    let (out, error) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    if !done.status.success() || error.contains("oarlock: ") {
        return Err(format!("{program} {arguments:?}: {}\n{out}{error}", done.status).into());
    }
    Ok(out.into_owned())
}

/// The names that NVIDIA gives GPUs, in a text.
pub(crate) fn uuids(text: &str) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let words = text.split(|c| !is_name(c));
    words
        .filter(|word| word.starts_with("GPU-") && word.len() > 20)
        .map(str::to_owned)
        .collect()
}

fn said(why: &Failed) -> String {
    why.message().unwrap_or("it failed").to_owned()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
