#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# First process of a lab, in mount, pid and network namespaces of its own: makes the private /run that holds the hosts'
# disks and network namespaces, and the bridge, which has no uplink. When it ends, all of that is gone.
# usage: switch.sh RUN_DIRECTORY
set -eu
run=$1

mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs /run
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /dev/shm
mount --bind "$run/hosts" /etc/hosts
mkdir -m 0755 /run/hosts /run/layers
mkdir -m 0700 /dev/shm/ssh # for the controller's ssh control sockets, whose paths must be short
ip -batch "$run/network"
while read -r name address; do
    printf '%s\n' 'link set lo up' "address add $address dev eth0" 'link set eth0 up' | ip -netns "$name" -batch -
done <"$run/addresses"
: >/run/ready
exec sleep infinity
