//! Several edits into one.
//!
//! As the reference's editor of OCI specs does it: the last word on a variable, a
//! node's or a mount's place counts. Mounts come out with parents first.

use std::collections::HashMap;
use std::hash::Hash;

use crate::edits::{Edits, Hook};

/// Adds up edits, in the order in which they are to be made.
pub(crate) fn merge<'a>(all: impl IntoIterator<Item = &'a Edits>) -> Edits {
    let mut env = Slots::default();
    let mut nodes = Slots::default();
    let mut mounts = Slots::default();
    let mut interfaces = Slots::default();
    let mut gids = Slots::default();
    let mut hooks = Slots::default();
    let mut intel_rdt = None;
    for edits in all {
        for variable in &edits.env {
            env.put(variable.name.as_str(), variable);
        }
        for node in &edits.device_nodes {
            nodes.put(node.path.as_path(), node);
        }
        for mount in &edits.mounts {
            mounts.put(mount.container_path.as_path(), mount);
        }
        for interface in &edits.net_devices {
            interfaces.put(interface.host_name.as_str(), interface);
        }
        for gid in &edits.additional_gids {
            gids.put(*gid, gid);
        }
        for hook in &edits.hooks {
            hooks.put(key(hook), hook);
        }
        intel_rdt = edits.intel_rdt.as_ref().or(intel_rdt);
    }
    let mut mounts = mounts.values();
    mounts.sort_by_key(|mount| mount.container_path.components().count());
    Edits {
        env: env.values(),
        device_nodes: nodes.values(),
        mounts,
        hooks: hooks.values(),
        net_devices: interfaces.values(),
        additional_gids: gids.values(),
        intel_rdt: intel_rdt.cloned(),
    }
}

/// Hooks are the same where all but their environment is: that holds the
/// generator's own settings only.
fn key(hook: &Hook) -> (&'static str, &std::path::Path, &[String]) {
    (hook.stage.name(), &hook.path, &hook.args)
}

/// Values by key, in the order in which their keys first came.
struct Slots<'a, K, V> {
    places: HashMap<K, usize>,
    values: Vec<&'a V>,
}

impl<K, V> Default for Slots<'_, K, V> {
    fn default() -> Self {
        Self {
            places: HashMap::new(),
            values: Vec::new(),
        }
    }
}

impl<'a, K: Hash + Eq, V: Clone> Slots<'a, K, V> {
    fn put(&mut self, key: K, value: &'a V) {
        let place = *self.places.entry(key).or_insert(self.values.len());
        match self.values.get_mut(place) {
            Some(slot) => *slot = value,
            None => self.values.push(value),
        }
    }

    fn values(self) -> Vec<V> {
        self.values.into_iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::edits::Edits;
    use crate::testing::spec;

    use super::merge;

    fn edits(body: &str) -> Edits {
        let text = format!(
            "cdiVersion: 1.1.0\nkind: v/c\ncontainerEdits: {{{body}}}\ndevices: [{{name: a, containerEdits: {{env: [A=1]}}}}]\n"
        );
        spec(&text).edits
    }

    #[test]
    fn the_last_word_counts_and_nothing_is_there_twice() {
        let first = edits(
            "env: [A=1, B=2], additionalGids: [5, 0, 6], \
             deviceNodes: [{path: /dev/a}, {path: /dev/b}], \
             mounts: [{hostPath: /x, containerPath: /o/p/q}, {hostPath: /y, containerPath: /o/p}], \
             hooks: [{hookName: createContainer, path: /h, args: [h, one]}], \
             intelRdt: {closID: x}, netDevices: [{hostInterfaceName: e0, name: n0}]",
        );
        let second = edits(
            "env: [B=3, C=4], additionalGids: [6, 7], deviceNodes: [{path: /dev/a, hostPath: /dev/z}], \
             mounts: [{hostPath: /z, containerPath: /o/p/q}], \
             hooks: [{hookName: createContainer, path: /h, args: [h, one]}, {hookName: poststop, path: /h, args: [h, one]}]",
        );
        let both = merge([&first, &second, &first.clone(), &second]);
        let env: Vec<_> = both
            .env
            .iter()
            .map(|v| format!("{}={}", v.name, v.value))
            .collect();
        assert_eq!(env, ["A=1", "B=3", "C=4"]);
        assert_eq!(both.additional_gids, [5, 6, 7]);
        let nodes: Vec<_> = both
            .device_nodes
            .iter()
            .map(|n| (n.path.to_str(), n.host_path.to_str()))
            .collect();
        assert_eq!(
            nodes,
            [
                (Some("/dev/a"), Some("/dev/z")),
                (Some("/dev/b"), Some("/dev/b"))
            ]
        );
        let mounts: Vec<_> = both
            .mounts
            .iter()
            .map(|m| (m.container_path.to_str(), m.host_path.to_str()))
            .collect();
        assert_eq!(
            mounts,
            [(Some("/o/p"), Some("/y")), (Some("/o/p/q"), Some("/z"))]
        );
        assert_eq!(both.hooks.len(), 2);
        assert_eq!(both.net_devices.len(), 1);
        assert_eq!(
            both.intel_rdt.map(|rdt| rdt.clos_id),
            Some(String::from("x"))
        );
    }
}
