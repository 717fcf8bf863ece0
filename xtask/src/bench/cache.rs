//! The page cache after many ranks have read one image, and what the helpers
//! of these ranks take.
//!
//! The page cache is the whole host's: nothing else may read much meanwhile.

use anyhow::{Context, Result, bail};

use super::candidates::{self, BARE, BULK, Candidate, FUSE, KERNEL};
use super::cold;
use super::memory;
use super::report::{Section, Target};
use super::stats::{Spread, number};
use super::table::Table;
use super::trees::BULK_BYTES;
use crate::engine::Engine;
use crate::job::say;
use crate::layout::Layout;

/// How many ranks read.
const RANKS: usize = 16;

/// What a rank becomes when it has read: a time that nothing else sleeps. The
/// step is cancelled long before.
const ASLEEP: &str = "sleep 600.125";

/// How the steps are called, so that they can be cancelled by name.
const JOB: &str = "oarlock-bench-cache";

/// How long all ranks may take to read, in seconds.
const READING: u32 = 150;

/// How often each is measured, at most.
const ROUNDS: usize = 3;

/// What the page cache without the image file's own pages may grow by, in sizes
/// of what was read.
const LIMIT: f64 = 1.2;

const METHOD: &str = "\
16 ranks on one node each read all files of 1 GiB that cannot be compressed, on a node whose page cache was emptied before and
which has run a step of the same candidate since, for the programs' sake; then the image's own pages were dropped. *Page cache*
is what Cached and Buffers of /proc/meminfo have grown by, of the whole host, when all ranks have read. *The file's* is that part
of it which is the image file's own and goes when its pages are dropped: here it weighs what its contents weigh. *Contents* is
the rest: 1 is once for all ranks. *All memory* is what is no longer free. A job's memory ends at 8 GiB on these nodes, page
cache included: a candidate that would fill more is stopped there. *Helpers* are processes, as below.";

/// What of the host's memory is in use, in KiB.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Memory {
    /// The page cache, with that of block devices.
    cache: u32,
    /// All that is not free.
    used: u32,
}

/// Reads /proc/meminfo.
fn parse(text: &str) -> Option<Memory> {
    let field = |name: &str| -> Option<u32> {
        let value = text.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key == name).then_some(value)
        })?;
        value.trim().strip_suffix(" kB")?.parse().ok()
    };
    Some(Memory {
        cache: field("Cached")?.checked_add(field("Buffers")?)?,
        used: field("MemTotal")?.checked_sub(field("MemFree")?)?,
    })
}

fn memory_now() -> Result<Memory> {
    let text = std::fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    parse(&text).context("/proc/meminfo: Cached, Buffers, MemTotal or MemFree is missing")
}

/// What a step has added; the first three in sizes of what was read.
#[derive(Clone, Debug, Default, PartialEq)]
struct Grown {
    /// The page cache.
    cache: Vec<f64>,
    /// The image file's pages.
    file: Vec<f64>,
    /// All memory.
    used: Vec<f64>,
    /// The helpers' proportional memory, in MiB.
    helpers: Vec<f64>,
    /// How often not all ranks have read.
    failed: usize,
}

impl Grown {
    /// The page cache without the image file's own pages.
    fn contents(&self) -> Vec<f64> {
        self.cache
            .iter()
            .zip(&self.file)
            .map(|(cache, file)| (cache - file).max(0.0))
            .collect()
    }
}

/// Measures each candidate, `runs` times but at most three.
pub(crate) fn measure(
    layout: &Layout,
    engine: &Engine,
    runs: usize,
    has: &impl Fn(&str) -> bool,
) -> Result<Section> {
    cold::drop_all().capture().context(
        "cache: this host does not let root drop its page cache; leave this part out with --only",
    )?;
    let program = format!(
        r#"bash -c 'root={}; [ ! -d /opt/bulk ] || root=; cat $root/opt/bulk/* >/dev/null && exec {ASLEEP}'"#,
        candidates::tree(BULK)
    );
    let reading = candidates::steps_in(BULK, &program, has);
    let starting = candidates::steps_in(BULK, "true", has);
    let mut found: Vec<(Candidate, Grown)> = reading
        .into_iter()
        .map(|candidate| (candidate, Grown::default()))
        .collect();
    for round in 0..runs.min(ROUNDS) {
        say(&format!("  round {} of {}", round + 1, runs.min(ROUNDS)));
        for ((candidate, grown), start) in found.iter_mut().zip(&starting) {
            step(layout, engine, start, candidate, grown)
                .with_context(|| format!("cache of {}", candidate.name))?;
        }
    }
    for (candidate, grown) in &mut found {
        if candidate.key == BARE {
            candidate.name = "host directory".into();
        }
        if grown.failed > 0 && [BARE, KERNEL, FUSE].contains(&candidate.key) {
            bail!(
                "bench: {} with {RANKS} ranks did not read the image within {READING} s",
                candidate.name
            );
        }
    }
    Ok(section(&found))
}

fn step(
    layout: &Layout,
    engine: &Engine,
    start: &Candidate,
    candidate: &Candidate,
    grown: &mut Grown,
) -> Result<()> {
    let line = |command: &str| {
        format!(
            "cd && export USER=alice && set -- {RANKS} && {}",
            // An overcommitted job of its own would get the memory of one CPU.
            command.replacen("srun ", &format!("srun -J {JOB} --exclusive --mem=0 "), 1)
        )
    };
    cold::drop_all().capture()?;
    let started = engine
        .exec(
            "login",
            "alice",
            "run a step",
            ["bash", "-c", &line(&start.command)],
        )
        .capture();
    if started.is_err() && [BARE, KERNEL, FUSE].contains(&candidate.key) {
        started?;
    }
    cold::drop_image(engine, BULK).capture()?;
    let processes = memory::probe(engine, 0, ASLEEP, 0)?;
    let processes = processes.iter().map(|one| one.pid).collect();
    let before = memory_now()?;
    let mut child = engine
        .exec(
            "login",
            "alice",
            "run a step",
            ["bash", "-c", &line(&candidate.command)],
        )
        .start(&layout.log("bench-cache")?)?;
    let after = memory::probe(engine, RANKS, ASLEEP, READING);
    let memory = memory_now();
    let dropped = cold::drop_image(engine, BULK)
        .capture()
        .and_then(|_| memory_now());
    // The ranks would sleep on; what is left in the queue would, too.
    let name = format!("--name={JOB}");
    engine
        .exec(
            "login",
            "alice",
            "end a step",
            ["scancel", "-Q", "-u", "alice", &name],
        )
        .capture()?;
    child.wait().context("the step cannot be waited for")?;
    let after = memory::added(&processes, &after?);
    let (memory, dropped) = (memory?, dropped?);
    if after.ranks == RANKS {
        grown.cache.push(sizes(before.cache, memory.cache));
        grown.file.push(sizes(dropped.cache, memory.cache));
        grown.used.push(sizes(before.used, memory.used));
        grown.helpers.push(f64::from(after.pss) / 1024.0);
    } else {
        grown.failed += 1;
    }
    Ok(())
}

/// A growth of KiB in sizes of what was read; 0 where nothing grew.
fn sizes(before: u32, after: u32) -> f64 {
    let size = u32::try_from(BULK_BYTES / 1024).map_or(f64::INFINITY, f64::from);
    f64::from(after.saturating_sub(before)) / size
}

fn section(found: &[(Candidate, Grown)]) -> Section {
    let mut table = Table::new([
        "",
        "page cache",
        "the file's",
        "contents",
        "all memory",
        "helpers, MiB",
        "measured",
        "failed",
    ]);
    let mut targets = Vec::new();
    for (candidate, grown) in found {
        let median = |values: &[f64]| Spread::of(values).map(|spread| spread.median);
        let times = |values| median(values).map_or("—".into(), |value| format!("{value:.2} ×"));
        table.row([
            candidate.name.clone(),
            times(&grown.cache),
            times(&grown.file),
            times(&grown.contents()),
            times(&grown.used),
            median(&grown.helpers).map_or("—".into(), number),
            grown.cache.len().to_string(),
            match grown.failed {
                0 => String::new(),
                failed => failed.to_string(),
            },
        ]);
        let name = match candidate.key {
            KERNEL => "kernel mount",
            FUSE => "FUSE",
            _ => continue,
        };
        targets.push(Target::at_most(
            &format!("contents in memory, {RANKS} ranks read 1 GiB, {name}: ≤ {LIMIT} × of it"),
            LIMIT,
            median(&grown.contents()),
            " ×",
        ));
    }
    Section {
        title: "One page cache for all ranks",
        method: METHOD.into(),
        tables: vec![("What grew, in times of the 1 GiB, median", table)],
        targets,
    }
}

#[cfg(test)]
mod tests {
    use super::{FUSE, Grown, KERNEL, Memory, parse, section, sizes};
    use crate::bench::candidates::{APPTAINER, steps};

    #[test]
    fn the_kernels_account_is_read() {
        let text = "MemTotal:  1000 kB\nMemFree:  400 kB\nBuffers:  20 kB\nCached:  100 kB\nSwapCached:  5 kB\n";
        let wanted = Memory {
            cache: 120,
            used: 600,
        };
        assert_eq!(parse(text), Some(wanted));
        assert_eq!(parse("Cached: 1 kB\n"), None);
    }

    #[test]
    fn growth_is_in_sizes_of_the_data() {
        assert_eq!(sizes(1024, 1024 + 2 * 1024 * 1024), 2.0);
        assert_eq!(sizes(5, 4), 0.0);
    }

    #[test]
    fn once_is_enough_and_twice_too_much() {
        let grown = |cache: &[f64]| Grown {
            cache: cache.into(),
            file: cache.iter().map(|_| 1.0).collect(),
            ..Grown::default()
        };
        let found: Vec<_> = steps("true", |_| true)
            .into_iter()
            .filter_map(|step| match step.key {
                KERNEL => Some((step, grown(&[2.1, 2.15, 4.0]))),
                FUSE => Some((step, grown(&[3.0]))),
                APPTAINER => Some((step, grown(&[]))),
                _ => None,
            })
            .collect();
        let section = section(&found);
        let met: Vec<_> = section.targets.iter().map(|target| target.met).collect();
        assert_eq!(met, [true, false]);
    }
}
