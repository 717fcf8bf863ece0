# A specification as nvidia-ctk writes it, for what driver.sh has made.
set -e; umask 022; mkdir -p /etc/cdi
{
    echo 'cdiVersion: 0.5.0'
    echo 'kind: nvidia.com/gpu'
    echo 'devices:'
    for n in 0 1 2 3; do
        echo "- {name: \"$n\", containerEdits: {deviceNodes: [{path: /dev/nvidia$n}]}}"
    done
    echo 'containerEdits:'
    echo '  env: [NVIDIA_VISIBLE_DEVICES=void]'
    echo '  hooks:'
    echo '  - {hookName: createContainer, path: /usr/bin/nvidia-ctk, args: [nvidia-ctk, hook, update-ldcache, --folder, /opt/bench-driver/lib]}'
    echo '  mounts:'
    for file in /usr/bin/nvidia-smi /opt/bench-driver/lib/*.so.550.54.15; do
        echo "  - {hostPath: $file, containerPath: $file, options: [ro, nosuid, nodev, bind]}"
    done
} >/etc/cdi/bench.yaml
