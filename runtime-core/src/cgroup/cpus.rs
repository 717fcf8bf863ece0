//! The CPUs of the cores that Slurm granted.
//!
//! Slurm counts a node's cores from 0, in the order in which hwloc lists them; the kernel
//! numbers CPUs as the firmware has them. hwloc goes down a tree: packages, in them dies,
//! NUMA nodes and third-level caches, in these cores, each by its CPU of the lowest number
//! (slurmd's xcpuinfo.c). Here it is packages and cores alone; a machine on which what is
//! between makes another order, as with clusters of cores in a socket, is refused. Where
//! anything is not known for certain nothing is given, for wrong CPUs are another job's.

use std::fmt::Write as _;
use std::path::Path;

use crate::host::Host;
use crate::slurm::conf::Conf;
use crate::slurm::hostlist;

/// No node has more.
const MAX_CPUS: u32 = 1 << 14;

/// What a machine has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    /// The CPUs of each core, in Slurm's order.
    cores: Vec<Vec<u32>>,
    /// Whether something between packages and cores may make another order.
    is_mixed: bool,
}

/// A node as slurm.conf describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Cores of all sockets.
    pub cores: u64,
    /// Threads of each.
    pub threads: u64,
}

/// Why the CPUs of a step are not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// What Slurm tells is no list of cores.
    #[error("\"{0}\" is no list of cores")]
    List(String),
    /// The machine is another one than that of slurm.conf.
    #[error(
        "the machine has {has} cores, slurm.conf says {says}, so that it is not known which a step's are"
    )]
    Shape {
        /// As `8 x 2` threads.
        has: String,
        /// The same.
        says: String,
    },
    /// What is between sockets and cores makes an order that is not known.
    #[error("the cores of a socket are numbered across its dies, NUMA nodes or caches")]
    Mixed,
    /// slurm.conf does not name the node.
    #[error("slurm.conf has no line for this node")]
    NoNode,
}

impl Topology {
    /// That of this machine, from /sys/devices/system/cpu. CPUs that are switched off
    /// have none.
    #[must_use]
    pub fn of(host: &Host) -> Self {
        let directory = Path::new("/sys/devices/system/cpu");
        let names = host.list(directory).unwrap_or_default();
        let mut cpus: Vec<u32> = names
            .iter()
            .filter_map(|name| name.to_str()?.strip_prefix("cpu")?.parse().ok())
            .collect();
        cpus.sort_unstable();
        let mut cores: Vec<(u32, Vec<u32>)> = Vec::new();
        let mut between: Vec<Vec<Option<u32>>> = Vec::new();
        let nodes = numa_nodes(host);
        for cpu in cpus {
            if cores.iter().any(|(_, threads)| threads.contains(&cpu)) {
                continue;
            }
            let word = |name: &str| {
                host.word(&format!("{}/cpu{cpu}/topology/{name}", directory.display()))
            };
            let siblings = word("thread_siblings_list").and_then(|text| list(&text));
            let (Some(socket), Some(siblings)) = (
                word("physical_package_id").and_then(|text| text.parse().ok()),
                siblings,
            ) else {
                continue;
            };
            // Each named by its CPU of the lowest number.
            let lowest = |name: &str| {
                let path = format!("{}/cpu{cpu}/{name}", directory.display());
                list(&host.word(&path)?)?.into_iter().min()
            };
            let node = nodes.iter().find(|node| node.contains(&cpu));
            between.push(vec![
                lowest("topology/die_cpus_list"),
                lowest("cache/index3/shared_cpu_list"),
                node.and_then(|node| node.iter().min().copied()),
            ]);
            cores.push((socket, siblings));
        }
        Self::from_cores(&cores, &between)
    }

    /// Sockets and CPUs of the cores, in the order of each one's lowest CPU, and what is
    /// between.
    fn from_cores(cores: &[(u32, Vec<u32>)], between: &[Vec<Option<u32>>]) -> Self {
        let mut sockets: Vec<u32> = Vec::new();
        for (socket, _) in cores {
            if !sockets.contains(socket) {
                sockets.push(*socket);
            }
        }
        let ordered: Vec<usize> = sockets
            .iter()
            .flat_map(|socket| {
                let all = cores.iter().enumerate();
                all.filter(move |(_, (own, _))| own == socket)
            })
            .map(|(place, _)| place)
            .collect();
        let levels = between.first().map_or(0, Vec::len);
        let is_mixed = (0..levels).any(|level| {
            let groups = ordered
                .iter()
                .filter_map(|core| between.get(*core)?.get(level).copied());
            !is_in_runs(groups)
        });
        Self {
            cores: ordered
                .iter()
                .filter_map(|core| cores.get(*core).map(|(_, threads)| threads.clone()))
                .collect(),
            is_mixed,
        }
    }

    /// The machine as slurm.conf would describe it; `None` where its cores are not alike.
    fn shape(&self) -> Option<Shape> {
        let threads = self.cores.first()?.len();
        let alike = self.cores.iter().all(|core| core.len() == threads);
        alike.then_some(Shape {
            cores: self.cores.len() as u64,
            threads: threads as u64,
        })
    }

    /// The CPUs of Slurm's cores, as the kernel's lists have them.
    ///
    /// # Errors
    /// [`Unknown`].
    pub fn cpus(&self, cores: &str, node: Shape) -> Result<String, Unknown> {
        let differs = || Unknown::Shape {
            has: self.shape().map_or_else(
                || format!("{} different", self.cores.len()),
                |shape| shape.to_string(),
            ),
            says: node.to_string(),
        };
        if self.shape() != Some(node) {
            return Err(differs());
        }
        if self.is_mixed {
            return Err(Unknown::Mixed);
        }
        let numbers = list(cores).ok_or_else(|| Unknown::List(cores.to_owned()))?;
        let mut cpus = Vec::new();
        for number in numbers {
            let place = usize::try_from(number).unwrap_or(usize::MAX);
            cpus.extend(self.cores.get(place).ok_or_else(differs)?);
        }
        Ok(text(&mut cpus))
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.threads {
            1 => write!(f, "{}", self.cores),
            threads => write!(f, "{} x {threads}", self.cores),
        }
    }
}

impl Shape {
    /// The node's, by its line of slurm.conf and the `DEFAULT` lines before it. `CPUs`
    /// alone stand for sockets of one core (read_config.c).
    ///
    /// # Errors
    /// [`Unknown::NoNode`].
    pub fn of(conf: &Conf, node: &str) -> Result<Self, Unknown> {
        let keys = [
            "Boards",
            "Sockets",
            "SocketsPerBoard",
            "CoresPerSocket",
            "ThreadsPerCore",
            "CPUs",
        ];
        let mut values: [Option<u64>; 6] = [None; 6];
        for line in conf.records("NodeName") {
            let names = line.get("NodeName").unwrap_or_default();
            let is_default = names.eq_ignore_ascii_case("DEFAULT");
            let is_his = hostlist::contains(names, node);
            if !is_default && !is_his {
                continue;
            }
            for (value, key) in values.iter_mut().zip(keys) {
                let said = line.get(key).or(match key {
                    "CPUs" => line.get("Procs"),
                    _ => None,
                });
                *value = said.and_then(|said| said.parse().ok()).or(*value);
            }
            if is_his {
                return Ok(Self::from(values));
            }
        }
        Err(Unknown::NoNode)
    }
}

impl From<[Option<u64>; 6]> for Shape {
    fn from(values: [Option<u64>; 6]) -> Self {
        let [boards, sockets, on_board, cores, threads, cpus] = values;
        let sockets = sockets.or_else(|| Some(boards.unwrap_or(1).saturating_mul(on_board?)));
        let cores_of = |sockets: u64| sockets.saturating_mul(cores.unwrap_or(1));
        Self {
            cores: match (sockets, cores, cpus) {
                (Some(sockets), ..) => cores_of(sockets),
                (None, None, Some(cpus)) if threads.is_none() => cpus,
                (None, _, Some(cpus)) => {
                    let each = cores
                        .unwrap_or(1)
                        .saturating_mul(threads.unwrap_or(1))
                        .max(1);
                    cores_of((cpus / each).max(1))
                }
                (None, ..) => cores_of(1),
            },
            threads: threads.unwrap_or(1),
        }
    }
}

/// The CPUs of each NUMA node.
fn numa_nodes(host: &Host) -> Vec<Vec<u32>> {
    let directory = Path::new("/sys/devices/system/node");
    let names = host.list(directory).unwrap_or_default();
    names
        .iter()
        .filter_map(|name| {
            let name = name.to_str()?;
            name.strip_prefix("node")?.parse::<u32>().ok()?;
            list(&host.word(&format!("{}/{name}/cpulist", directory.display()))?)
        })
        .collect()
}

/// Whether what is the same stands together.
fn is_in_runs<T: PartialEq>(list: impl Iterator<Item = T>) -> bool {
    let mut seen: Vec<T> = Vec::new();
    for one in list {
        if seen.last() == Some(&one) {
            continue;
        }
        if seen.contains(&one) {
            return false;
        }
        seen.push(one);
    }
    true
}

/// How many cores a list of Slurm's has; none where it is no list.
#[must_use]
pub fn count(cores: &str) -> usize {
    list(cores).map_or(0, |cores| cores.len())
}

/// A list as `0-3,8`.
fn list(text: &str) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if last < first || last >= MAX_CPUS {
            return None;
        }
        all.extend(first..=last);
    }
    Some(all)
}

fn text(cpus: &mut Vec<u32>) -> String {
    cpus.sort_unstable();
    cpus.dedup();
    let mut out = String::new();
    let mut rest = cpus.iter().copied().peekable();
    while let Some(first) = rest.next() {
        let mut last = first;
        while let Some(next) = rest.next_if(|next| *next == last + 1) {
            last = next;
        }
        if !out.is_empty() {
            out.push(',');
        }
        // Writing to a string does not fail.
        let _ = match last {
            _ if last == first => write!(out, "{first}"),
            _ => write!(out, "{first}-{last}"),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two sockets of two cores with two threads, numbered as firmware likes to: the
    /// sockets by turns, the second threads behind all first ones.
    fn machine() -> Topology {
        Topology::from_cores(
            &[
                (0, vec![0, 4]),
                (1, vec![1, 5]),
                (0, vec![2, 6]),
                (1, vec![3, 7]),
            ],
            &[],
        )
    }

    const NODE: Shape = Shape {
        cores: 4,
        threads: 2,
    };

    #[test]
    fn cores_are_counted_socket_by_socket() {
        for (cores, expected) in [
            ("0", "0,4"),
            ("1", "2,6"),
            ("0-1", "0,2,4,6"),
            ("2-3", "1,3,5,7"),
            ("0-3", "0-7"),
        ] {
            assert_eq!(machine().cpus(cores, NODE).unwrap(), expected, "{cores}");
        }
    }

    #[test]
    fn what_is_uncertain_is_not_told() {
        let error = |topology: &Topology, cores, cores_of_node, threads| {
            let node = Shape {
                cores: cores_of_node,
                threads,
            };
            topology.cpus(cores, node).unwrap_err().to_string()
        };
        assert_eq!(
            error(&machine(), "0", 16, 1),
            "the machine has 4 x 2 cores, slurm.conf says 16, so that it is not known which a step's are"
        );
        assert!(error(&machine(), "0", 4, 1).contains("4 x 2"));
        assert!(error(&machine(), "4", 4, 2).contains("slurm.conf says 4 x 2"));
        assert_eq!(error(&machine(), "0-", 4, 2), "\"0-\" is no list of cores");
        let uneven = Topology::from_cores(&[(0, vec![0, 1]), (0, vec![2])], &[]);
        assert!(error(&uneven, "0", 2, 2).contains("2 different"));
        assert!(error(&Topology::default(), "0", 1, 1).contains("0 different"));
    }

    /// One socket with two NUMA nodes, whose cores are numbered by turns: hwloc, and so
    /// Slurm, lists the first node's before the second's.
    #[test]
    fn what_is_between_sockets_and_cores_must_not_mix_them() {
        let cores: Vec<(u32, Vec<u32>)> = (0..4).map(|cpu| (0, vec![cpu])).collect();
        let node = Shape {
            cores: 4,
            threads: 1,
        };
        let with = |nodes: [u32; 4]| {
            let between: Vec<Vec<Option<u32>>> = nodes
                .iter()
                .map(|node| vec![Some(0), None, Some(*node)])
                .collect();
            Topology::from_cores(&cores, &between).cpus("1", node)
        };
        assert_eq!(with([0, 0, 2, 2]), Ok("1".to_owned()));
        assert_eq!(with([0, 1, 0, 1]), Err(Unknown::Mixed));
    }

    #[test]
    fn a_node_by_its_line() {
        let shape = |text: &str| {
            let place = tempfile::tempdir().unwrap();
            std::fs::write(place.path().join("slurm.conf"), text).unwrap();
            let host = Host::at(place.path()).unwrap();
            let conf = Conf::look_into(&host, Path::new("/slurm.conf")).unwrap();
            Shape::of(&conf, "node2").map(|shape| (shape.cores, shape.threads))
        };
        for (text, expected) in [
            (
                "NodeName=node[1-2] Sockets=2 CoresPerSocket=8 ThreadsPerCore=2",
                (16, 2),
            ),
            ("NodeName=node2 CPUs=8", (8, 1)),
            (
                "NodeName=node2 CPUs=8 CoresPerSocket=2 ThreadsPerCore=2",
                (4, 2),
            ),
            (
                "NodeName=node2 Boards=2 SocketsPerBoard=2 CoresPerSocket=4",
                (16, 1),
            ),
            ("NodeName=node2", (1, 1)),
            (
                "NodeName=DEFAULT Sockets=2 CoresPerSocket=4\nNodeName=node1 Sockets=1\nNodeName=node2 ThreadsPerCore=2",
                (8, 2),
            ),
        ] {
            assert_eq!(shape(text), Ok(expected), "{text}");
        }
        assert_eq!(shape("NodeName=node1 CPUs=8"), Err(Unknown::NoNode));
    }

    #[test]
    fn lists_both_ways() {
        assert_eq!(list("0-2,5"), Some(vec![0, 1, 2, 5]));
        for wrong in ["", "a", "3-1", "0-99999999", "1,"] {
            assert_eq!(list(wrong), None, "{wrong}");
        }
        assert_eq!((count("0-2,5"), count("")), (4, 0));
        assert_eq!(text(&mut vec![5, 1, 0, 2, 2]), "0-2,5");
        assert_eq!(text(&mut Vec::new()), "");
    }

    #[test]
    fn this_machine_has_cores() {
        assert!(!Topology::of(&Host::this()).cores.is_empty());
    }
}
