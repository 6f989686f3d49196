#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# First process of a lab host whose init is systemd, in a mount namespace of its own: mounts the host's root and runs
# systemd-nspawn, which makes the other namespaces.
# usage: systemd.sh RUN_DIRECTORY NAME LOWER_LAYERS
set -eu
run=$1
name=$2
lower=$3
host=/run/hosts/$name
packages=/run/layers/packages/usr

mount -t overlay -o "lowerdir=$lower,upperdir=$host/disk,workdir=$host/work" overlay "$host/root"
# systemd-nspawn builds its cgroups in the one that it is in: hosts must not share it. Old and new hierarchy, as mounted.
read -r cgroup <"$run/cgroup"
for hierarchy in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
    if [ -e "$hierarchy/cgroup.procs" ]; then
        mkdir -p "$hierarchy/$cgroup/$name"
        echo $$ >"$hierarchy/$cgroup/$name/cgroup.procs"
    fi
done
library=$(echo "$packages"/lib/*/systemd)
export LD_LIBRARY_PATH="$library:${library%/systemd}"
exec "$packages/bin/systemd-nspawn" --quiet --boot --console=pipe --directory="$host/root" --machine="$name" \
    --network-namespace-path="/run/netns/$name" --register=no --keep-unit --link-journal=no --resolv-conf=off \
    --timezone=off --tmpfs=/root:mode=0700 --bind-ro=/run/programs:/opt/lab </dev/null
