//! What lies on a node that a container could leave behind.

use anyhow::{Result, bail};

use super::table::Table;
use crate::engine::Engine;

/// How many of something are on a node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Count {
    /// The node.
    pub(crate) node: &'static str,
    /// What was counted.
    pub(crate) what: String,
    /// How many.
    pub(crate) value: u32,
}

/// Counts on a node, as root. It starts as few processes as it can: those are
/// counted with the others, the same number each time.
const PROBE: &str = r#"
shopt -s nullglob
set -- /proc/[0-9]*
echo "count $# processes"
mapfile -t lines </proc/1/mountinfo
echo "count ${#lines[@]} mounts"
echo "count $(readlink /proc/[0-9]*/ns/mnt | sort -u | wc -l) mount namespaces"
set -- /sys/block/loop*/loop/backing_file
echo "count $# loop devices"
fds=0
for pid in $(pgrep -x "slurmd|slurmd-wlm"); do
    set -- /proc/$pid/fd/*
    fds=$((fds + $#))
done
echo "count $fds descriptors of slurmd"
for dir in /run/oarlock /var/lib/oarlock /tmp /dev/shm; do
    echo "count $(find $dir -xdev -mindepth 1 2>/dev/null | wc -l) entries below $dir"
done
"#;

/// Counts everything on one node.
pub(crate) fn count(engine: &Engine, node: &'static str) -> Result<Vec<Count>> {
    let text = engine
        .exec(node, "root", "look for what is left", ["bash", "-c", PROBE])
        .capture()?;
    let counts: Vec<Count> = text
        .lines()
        .filter_map(|line| {
            let (value, what) = line.strip_prefix("count ")?.split_once(' ')?;
            Some(Count {
                node,
                what: what.to_owned(),
                value: value.parse().ok()?,
            })
        })
        .collect();
    if counts.len() != text.lines().count() || counts.is_empty() {
        bail!("bench: {node}: cannot count what is left: {text}");
    }
    Ok(counts)
}

/// What there is more of than before, as `node1: 2 mounts`.
pub(crate) fn left(before: &[Count], after: &[Count]) -> Vec<String> {
    after
        .iter()
        .filter_map(|count| {
            let more = count.value.saturating_sub(was(before, count).unwrap_or(0));
            (more > 0).then(|| format!("{}: {more} {}", count.node, count.what))
        })
        .collect()
}

fn was(before: &[Count], count: &Count) -> Option<u32> {
    before
        .iter()
        .find(|one| one.node == count.node && one.what == count.what)
        .map(|one| one.value)
}

/// Before and after, a row for each kind and a column for each of the nodes.
pub(crate) fn table(nodes: &[&str], before: &[Count], after: &[Count]) -> Table {
    let mut table = Table::new(std::iter::once("").chain(nodes.iter().copied()));
    let mut kinds: Vec<&str> = Vec::new();
    for count in after {
        if !kinds.contains(&count.what.as_str()) {
            kinds.push(&count.what);
        }
    }
    for kind in kinds {
        let cell = |node: &&str| {
            let of = |counts: &[Count]| {
                counts
                    .iter()
                    .find(|count| count.node == *node && count.what == kind)
                    .map_or("—".into(), |count| count.value.to_string())
            };
            format!("{} → {}", of(before), of(after))
        };
        table.row(std::iter::once(kind.to_owned()).chain(nodes.iter().map(cell)));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{Count, left, table};

    #[test]
    fn only_more_than_before_on_the_same_node_is_left() {
        let count = |node, what: &str, value| Count {
            node,
            what: what.into(),
            value,
        };
        let before = [count("node1", "mounts", 40), count("node2", "mounts", 41)];
        let after = [
            count("node1", "mounts", 41),
            count("node2", "mounts", 39),
            count("node1", "loop devices", 1),
        ];
        assert_eq!(
            left(&before, &after),
            ["node1: 1 mounts", "node1: 1 loop devices"]
        );
        let text = table(&["node1", "node2"], &before, &after).to_string();
        for cells in ["| 40 → 41 | 41 → 39 |", "|   — → 1 |   — → — |"] {
            assert!(text.contains(cells), "{text}");
        }
    }
}
