#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# First process of a lab host, in namespaces of its own: changes to the host's root and becomes its init.
# usage: host.sh RUN_DIRECTORY NAME LOWER_LAYERS (the first only tells labs apart in the process table)
set -eu
name=$2
lower=$3
host=/run/hosts/$name

mount -t overlay -o "lowerdir=$lower,upperdir=$host/disk,workdir=$host/work" overlay "$host/root"
cd "$host/root"
mount -t proc -o nosuid,nodev,noexec proc proc
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
# Its own /dev: the machine's disks are none of a host's business.
mount -t tmpfs -o mode=0755,nosuid tmpfs dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
mknod -m 0666 dev/null c 1 3
mknod -m 0666 dev/zero c 1 5
mknod -m 0666 dev/full c 1 7
mknod -m 0666 dev/random c 1 8
mknod -m 0666 dev/urandom c 1 9
mknod -m 0666 dev/tty c 5 0
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs dev/shm
mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs run
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs tmp
mount -t tmpfs -o mode=0700,nosuid,nodev tmpfs root

mount --bind /run/programs opt/lab # what hosts need of the project, wherever that lies

mkdir run/machine run/sshd
pivot_root . run/machine
cd /
umount -l /run/machine
rmdir /run/machine
hostname "$name"

if [ -x /usr/bin/prometheus ] && [ -e /etc/default/prometheus ]; then
    # Debian's own script: runs it as its user, checks the configuration first, writes /run/prometheus/prometheus.pid.
    /etc/init.d/prometheus start </dev/null &
fi
exec tini -s -- /usr/sbin/sshd -D -e -f /etc/ssh/sshd_config
