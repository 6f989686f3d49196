# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real hosts on one machine, reached over real ssh, without a container engine.

A lab is one process tree in namespaces of its own. Its first process (switch.sh) holds a private /run with the disks
and the network namespaces of the hosts, and a bridge without uplink; each host (host.sh) is a child with its own root,
address, process table, host name and sshd; its init is tini or, where asked for, systemd (systemd.sh). Nothing of it is
in the machine's mount table, network or /run: when the first process ends, however it ends, the kernel removes the rest.
The run directory holds inventory, configuration and ssh keys.

    lab.py up --exporters 3 --prometheus 2 --versions 2.42,2.53
    lab.py exec controller -- ansible-playbook timesten.monitoring.site
    lab.py exec exp1 -- ps -ef
    lab.py cut exp1;  lab.py heal exp1;  lab.py kill prom1;  lab.py boot prom1
    lab.py down

The controller is no host: what runs there is the machine's own file system and user, on the lab's network, with the
lab's process table (so that it ends with the lab) and with ANSIBLE_CONFIG set. Hosts are reached from nowhere else.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import ctypes
import fcntl
import http.client
import json
import os
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

if not __package__:
    # Run as a program: without this, "lab" would be this file.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from gates.environments import CACHE
from lab import packages

T = TypeVar("T")

LABS = CACHE / "lab"
SWITCH = Path(__file__).with_name("switch.sh")
HOST = Path(__file__).with_name("host.sh")
SYSTEMD_HOST = Path(__file__).with_name("systemd.sh")
CGROUPS = Path("/sys/fs/cgroup")
CONTROLLER = "controller"
PROGRAMS = Path("/opt/lab")  # of the project, on every host: a host does not see what lies below /tmp, /root, /run
NETWORK = "10.77"  # 10.77.0.1 is the controller, 10.77.1.N the exporter hosts, 10.77.2.N the Prometheus hosts
LOGIN, ADMINISTRATOR = "deploy", "timesten"
START_TIMEOUT = 60.0  # seconds for all hosts to answer; a loaded machine needs a multiple of the usual one or two
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TOOLS = {
    "ip": "iproute2",
    "mount": "mount",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "setsid": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "unshare": "util-linux",
}


class LabError(Exception):
    """The lab could not do what was asked; the message says what, where and what to do."""


class Host(NamedTuple):
    """One host of a lab. `version` is the Prometheus it runs, empty on an exporter host; `systemd` tells its init.

    `release` is the Debian that its root is, where that is not the machine's own root.
    """

    name: str
    address: str
    version: str
    systemd: bool = False
    release: str = ""


def _root_of(pid: int) -> Path:
    """Return the root directory that a process has, with its own mounts, as it is reached from outside."""
    return Path("/proc", str(pid), "root")


def on_host(program: Path) -> Path:
    """Return where every host finds a program of an unpacked Prometheus, also of one that was unpacked after it came up."""
    return PROGRAMS / program.relative_to(packages.TREES)


class Lab:
    """A lab of `exporters` exporter hosts (exp1 ...) and `prometheus` Prometheus hosts (prom1 ...).

    :param versions: Prometheus host i runs ``versions[i % len(versions)]``, a version or the beginning of one.
    :param directory: the run directory: made by ``up()``, removed by ``down()``.
    :param systemd: names of the exporter hosts whose init is systemd, with cron.
    :param release: a Debian release that is the root of every host, instead of the machine's own root.

    As context manager it is up inside and down after, also after a failure. ``open()`` finds one that is up already.
    """

    def __init__(
        self,
        exporters: int = 3,
        prometheus: int = 2,
        versions: Sequence[str] = ("2.42", "2.53"),
        directory: Path | None = None,
        systemd: Sequence[str] = (),
        release: str = "",
    ) -> None:
        self.directory = Path(os.path.abspath(directory or LABS / "default"))
        if re.search(r"[^\w./@+-]", str(self.directory)):
            raise LabError(
                f"the run directory {self.directory} has characters that ssh options cannot hold: choose another"
            )
        if not (0 <= exporters <= 250 and 0 <= prometheus <= 250 and exporters + prometheus):
            raise LabError(
                f"{exporters} exporter hosts and {prometheus} Prometheus hosts: 0 to 250 of each, and at least one"
            )
        if prometheus and not versions:
            raise LabError("no Prometheus version was named")
        self.exporters = [
            Host(f"exp{n}", f"{NETWORK}.1.{n}", "", f"exp{n}" in systemd, release) for n in range(1, exporters + 1)
        ]
        self.prometheus = [
            Host(f"prom{n}", f"{NETWORK}.2.{n}", versions[(n - 1) % len(versions)], False, release)
            for n in range(1, prometheus + 1)
        ]
        self.inventory = self.directory / "inventory.ini"
        self.ansible_cfg = self.directory / "ansible.cfg"

    @classmethod
    def open(cls, directory: Path | None = None) -> Lab:
        """Return the lab that was brought up in `directory`.

        :raises LabError: there is none.
        """
        lab = cls(directory=directory)
        try:
            state = json.loads((lab.directory / "lab.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise LabError(f"no lab in {lab.directory}: bring it up first") from None
        lab.exporters = [Host(*host) for host in state["exporters"]]
        lab.prometheus = [Host(*host) for host in state["prometheus"]]
        return lab

    @property
    def hosts(self) -> list[Host]:
        """All hosts, exporter hosts first."""
        return self.exporters + self.prometheus

    def __enter__(self) -> Lab:
        return self.up()

    def __exit__(self, *_exception: object) -> None:
        self.down()

    # --- the lab ------------------------------------------------------------------------------------------------------

    def up(self) -> Lab:
        """Bring all hosts up, in place of whatever an earlier lab left in this directory; return when all answer.

        :raises LabError: the machine cannot do it, or a host did not come up (its console's end is in the message).
        """
        _check_machine()
        with_systemd = any(host.systemd for host in self.hosts)
        layer = packages.host_layer(packages.SYSTEMD_PACKAGES if with_systemd else ())
        trees = {version: packages.prometheus(version).root for version in {host.version for host in self.prometheus}}
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._remove()
            try:
                self._write_run_directory()
                self._start_switch(layer)
                self._write_layers(layer, trees)
                self._boot([host.name for host in self.hosts])
            except BaseException:
                self._remove()
                raise
        return self

    def down(self) -> None:
        """End every process of the lab and remove the run directory. Nothing happens where there is none."""
        if self.directory.parent.is_dir():
            with self._locked():
                self._remove()

    def status(self) -> dict[str, dict[str, Any]]:
        """Return per host: address, version, up (its init lives), connected (its link is up)."""
        _switch, processes = self._switch_and_processes()
        links = self._switch_run(["ip", "-json", "link", "show"], capture_output=True, text=True).stdout
        connected = {link["ifname"] for link in json.loads(links) if "UP" in link["flags"]}
        return {
            host.name: {
                "address": host.address,
                "version": host.version,
                "up": self._init(host.name, processes) is not None,
                "connected": host.name in connected,
            }
            for host in self.hosts
        }

    # --- inside -------------------------------------------------------------------------------------------------------

    def enter(self, host: str = CONTROLLER, cwd: Path | None = None) -> list[str]:
        """Return the argv prefix that runs a command as root on `host`, or as this user on the controller.

        The command dies with the process that was started with this prefix. `cwd` is for the controller alone, by
        default the current directory.

        :raises LabError: no such host, or it is down.
        """
        switch, processes = self._switch_and_processes()
        if host == CONTROLLER:
            network = f"--net={_root_of(switch)}/run/netns/{CONTROLLER}"
            prefix = [
                "nsenter",
                f"--target={switch}",
                "--mount",
                "--pid",
                network,
                f"--wdns={cwd or os.getcwd()}",
                "--",
            ]
            return [*prefix, "setpriv", "--pdeathsig", "KILL", "env", f"ANSIBLE_CONFIG={self.ansible_cfg}"]
        self._host(host)
        init = self._init(host, processes)
        if init is None:
            raise LabError(f"{host} is down: boot it first")
        prefix = ["nsenter", f"--target={init}", "--mount", "--pid", "--net", "--uts", "--ipc", "--wdns=/root", "--"]
        return [*prefix, "setpriv", "--pdeathsig", "KILL", "env", "-i", f"PATH={PATH}", "HOME=/root"]

    def run(self, argv: Sequence[str], host: str = CONTROLLER, **options: Any) -> subprocess.CompletedProcess[Any]:
        """Run `argv` on `host` with the options of subprocess.run; without ``check`` the caller looks at the result."""
        check = options.pop("check", False)
        return subprocess.run([*self.enter(host, options.pop("cwd", None)), *argv], check=check, **options)

    def within(self, function: Callable[[], T], host: str = CONTROLLER) -> T:
        """Return ``function()``, called in a thread whose new sockets are on the network of `host` (use addresses)."""
        switch, _processes = self._switch_and_processes()
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            return thread.submit(_in_network, f"{_root_of(switch)}/run/netns/{host}", function).result()

    def disk_file(self, host: str, path: str) -> Path:
        """Return where a file that a host wrote can be read from outside, also while the host is down."""
        switch, _processes = self._switch_and_processes()
        return _root_of(switch) / "run/hosts" / host / f"disk{path}"

    # --- failures -----------------------------------------------------------------------------------------------------

    def cut(self, host: str) -> None:
        """Take the link of `host` down."""
        self._host(host)
        self._switch_run(["ip", "link", "set", host, "down"])

    def heal(self, host: str) -> None:
        """Take the link of `host` up."""
        self._host(host)
        self._switch_run(["ip", "link", "set", host, "up"])

    def kill(self, host: str) -> None:
        """Kill the init of `host` and so all its processes at once; its disk stays, its /run, /tmp and /root do not.

        :raises LabError: it is down already.
        """
        self._host(host)
        _switch, processes = self._switch_and_processes()
        init = self._init(host, processes)
        if init is None:
            raise LabError(f"{host} is down already")
        # Its parents up to the first one have left all namespaces of the host but the network and end after it.
        _kill([init], [init, *self._launchers(host, init, processes)])

    def boot(self, host: str) -> None:
        """Start `host` on its disk and return when it answers.

        :raises LabError: it is up already, or did not answer.
        """
        self._host(host)
        _switch, processes = self._switch_and_processes()
        if self._init(host, processes) is not None:
            raise LabError(f"{host} is up already: kill it first")
        self._boot([host])

    # --- how ----------------------------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # On the parent, since the directory itself comes and goes.
        directory = os.open(self.directory.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)

    def _host(self, name: str) -> Host:
        for host in self.hosts:
            if host.name == name:
                return host
        raise LabError(f"no host {name} in {self.directory}; there are {', '.join(host.name for host in self.hosts)}")

    def _switch_and_processes(self) -> tuple[int, dict[int, _Process]]:
        # The process table is the only record of what runs: there is no pid file that could be stale or missing.
        processes = _processes()
        for pid, process in processes.items():
            if process.argv[0].endswith("/tini") and process.argv[-2:] == [str(SWITCH), str(self.directory)]:
                return pid, processes
        raise LabError(f"no lab is up in {self.directory}: bring it up first")

    def _init(self, host: str, processes: dict[int, _Process]) -> int | None:
        systemd = self._host(host).systemd
        for pid, process in processes.items():
            # In between is systemd-nspawn; what that starts becomes systemd only after a while.
            if len(self._launchers(host, pid, processes)) == 1 + systemd and (
                not systemd or process.argv[0].endswith("/systemd")
            ):
                return pid
        return None

    def _launchers(self, host: str, pid: int, processes: dict[int, _Process]) -> list[int]:
        """Return the parents of a process up to the one that started the host; empty if that is none of them."""
        pids: list[int] = []
        process = processes[pid]
        while process.parent in processes and len(pids) < 2:
            pids.append(process.parent)
            process = processes[process.parent]
            if process.argv[0] == "unshare" and self._starts(host, process):
                return pids
        return []

    def _starts(self, host: str, process: _Process) -> bool:
        script = SYSTEMD_HOST if self._host(host).systemd else HOST
        return process.argv[-4:-1] == [str(script), str(self.directory), host]

    def _is_starting(self, host: str) -> bool:
        return any(self._starts(host, process) for process in _processes().values())

    def _switch_run(self, argv: list[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        switch, _processes = self._switch_and_processes()
        enter = [
            "nsenter",
            f"--target={switch}",
            "--mount",
            "--pid",
            "--net",
            "--wdns=/",
            "--",
            "env",
            "-i",
            f"PATH={PATH}",
        ]
        return subprocess.run([*enter, *argv], check=True, **options)

    def _remove(self) -> None:
        mark = [str(SWITCH), str(self.directory)]
        mine = {pid: process for pid, process in _processes().items() if process.argv[-2:] == mark}
        # The first process of the namespaces alone, so that its parent can still take note of its end.
        inits = [pid for pid, process in mine.items() if process.argv[0].endswith("/tini")]
        _kill(inits or list(mine), list(mine))
        if not self.directory.exists():
            return
        self._remove_cgroups()
        if not (self.directory / "lab.json").exists() and any(self.directory.iterdir()):
            raise LabError(f"{self.directory} holds something else than a lab: name another directory")
        # The mark goes last, so that a removal that was interrupted can be taken up again.
        for path in sorted(self.directory.iterdir(), key=lambda path: path.name == "lab.json"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.directory.rmdir()

    def _remove_cgroups(self) -> None:
        """Remove the cgroups of the hosts with systemd, which are the only thing of a lab that the machine's kernel keeps."""
        try:
            name = (self.directory / "cgroup").read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return
        for top in (CGROUPS / "systemd" / name, CGROUPS / "unified" / name, CGROUPS / name):
            for directory, _directories, _files in os.walk(top, topdown=False):
                os.rmdir(directory)

    def _write_run_directory(self) -> None:
        self.directory.mkdir(mode=0o755)
        state = {"exporters": self.exporters, "prometheus": self.prometheus}
        _write(self.directory / "lab.json", json.dumps(state))
        if any(host.systemd for host in self.hosts):
            _write(self.directory / "cgroup", f"timesten-lab-{os.urandom(4).hex()}\n")
        names = [(f"{NETWORK}.0.1", CONTROLLER), *((host.address, host.name) for host in self.hosts)]
        lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback", *(" ".join(name) for name in names)]
        _write(self.directory / "hosts", "\n".join(lines) + "\n")
        network = ["link add br0 type bridge", "link set br0 up"]
        for _address, name in names:
            network += [
                f"netns add {name}",
                f"link add {name} type veth peer name eth0 netns {name}",
                f"link set {name} master br0 up",
            ]
        _write(self.directory / "network", "\n".join(network) + "\n")
        _write(self.directory / "addresses", "".join(f"{name} {address}/16\n" for address, name in names))
        ssh = self.directory / "ssh"
        ssh.mkdir(mode=0o700)
        _ssh_key(ssh / "id_ed25519", LOGIN)
        variables = {
            "ansible_user": LOGIN,
            "ansible_ssh_private_key_file": ssh / "id_ed25519",
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        inventory = []
        for group, hosts in (("timesten_exporters", self.exporters), ("prometheus_servers", self.prometheus)):
            inventory += [f"[{group}]", *(f"{host.name} ansible_host={host.address}" for host in hosts), ""]
        inventory += ["[all:vars]", *(f"{key}={value}" for key, value in variables.items())]
        _write(self.inventory, "\n".join(inventory) + "\n")
        options = {
            "UserKnownHostsFile": ssh / "known_hosts",
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "IdentitiesOnly": "yes",
            "PreferredAuthentications": "publickey",
            "ControlMaster": "auto",
            "ControlPersist": "60s",
        }
        ssh_args = " ".join(f"-o {key}={value}" for key, value in options.items())
        configuration = f"""[defaults]
home = {self.directory / "ansible"}
inventory = {self.inventory}
forks = 20
host_key_checking = true

[connection]
pipelining = true

[ssh_connection]
pipelining = true
control_path_dir = /dev/shm/ssh
ssh_args = -F none {ssh_args}
"""
        _write(self.ansible_cfg, configuration)

    def _start_switch(self, layer: Path) -> None:
        log = self.directory / "log"
        unshare = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc", "--"]
        switch = [str(layer / "usr/bin/tini"), "--", "sh", str(SWITCH), str(self.directory)]
        with open(log, "wb") as output:
            subprocess.run(
                ["setsid", "--fork", "env", "-i", f"PATH={PATH}", *unshare, *switch],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
            )
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            processes = _processes()
            mine = [
                pid for pid, process in processes.items() if process.argv[-2:] == [str(SWITCH), str(self.directory)]
            ]
            inits = [pid for pid in mine if processes[pid].argv[0].endswith("/tini")]
            if inits and (_root_of(inits[0]) / "run/ready").exists():
                return
            if not mine or time.monotonic() > deadline:
                raise LabError(
                    f"the lab's network did not come up: {log.read_text(errors='replace').strip() or 'no message'}. "
                    "It needs root and the right to make namespaces and mounts (in a container: --privileged)."
                )
            time.sleep(0.01)

    def _write_layers(self, layer: Path, trees: dict[str, Path]) -> None:
        """Write what the hosts share and what is their own, on the lab's private tmpfs."""
        switch, _processes = self._switch_and_processes()
        descriptor = os.open(_root_of(switch) / "run", os.O_PATH | os.O_DIRECTORY)
        try:
            # Not by the other's number, which might be another process by then.
            self._write_disks(Path(f"/proc/{os.getpid()}/fd/{descriptor}"), layer, trees)
        finally:
            os.close(descriptor)

    def _write_disks(self, run: Path, layer: Path, trees: dict[str, Path]) -> None:
        layers = run / "layers"
        # Copied, because overlayfs takes no layer that lies inside another one, and the machine's root is one.
        for name, tree in {
            "packages": layer,
            **{f"prometheus-{version}": tree for version, tree in trees.items()},
        }.items():
            self._switch_run(["cp", "--archive", str(tree), f"/run/layers/{name}"])
        packages.TREES.mkdir(parents=True, exist_ok=True)
        (run / "programs").mkdir()
        self._switch_run(["mount", "-o", "bind,ro", str(packages.TREES), "/run/programs"])
        public_key = (self.directory / "ssh" / "id_ed25519.pub").read_text(encoding="utf-8")
        for role, user in (("exporter", ADMINISTRATOR), ("prometheus", "prometheus")):
            base = layers / role
            base.mkdir(mode=0o755)
            _directories(base / PROGRAMS.relative_to("/"))
            ids = _write_accounts(base / "etc", user)
            _write(base / "etc/hosts", (self.directory / "hosts").read_text(encoding="utf-8"))
            _write(base / "etc/sudoers", f"root ALL=(ALL:ALL) ALL\n{LOGIN} ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440)
            _write(
                base / "etc/pam.d/sudo",
                "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_permit.so\n",
            )
            sshd = {
                "HostKey": "/etc/ssh/ssh_host_ed25519_key",
                "PasswordAuthentication": "no",
                "PermitRootLogin": "no",
                "UsePAM": "no",
                "PrintMotd": "no",
                "MaxSessions": "50",
                "MaxStartups": "100",
                "Subsystem": "sftp internal-sftp",
            }
            _write(base / "etc/ssh/sshd_config", "".join(f"{key} {value}\n" for key, value in sshd.items()))
            keys = base / "home" / LOGIN / ".ssh/authorized_keys"
            _write(keys, public_key, 0o600)
            for path in (keys, keys.parent, keys.parent.parent):
                os.chown(path, ids[LOGIN], ids[LOGIN])
            sudo = next(path for path in (layer / "usr/bin/sudo", Path("/usr/bin/sudo")) if path.exists())
            _directories(base / "usr/bin")
            shutil.copyfile(sudo, base / "usr/bin/sudo")
            (base / "usr/bin/sudo").chmod(0o4755)
            # As cron's package does when it is installed.
            shutil.copyfile(layer / "usr/bin/crontab", base / "usr/bin/crontab")
            crontabs = base / "var/spool/cron/crontabs"
            _directories(crontabs)
            for path, mode in ((base / "usr/bin/crontab", 0o2755), (crontabs, 0o1730)):
                os.chown(path, 0, ids["crontab"])
                path.chmod(mode)
            own = ["home/timesten"] if role == "exporter" else ["var/lib/prometheus/metrics2", "var/log/prometheus"]
            for directory in own:
                _directories(base / directory)
                os.chown(base / directory, ids[user], ids[user])
            if role == "prometheus":
                os.chown(base / "var/lib/prometheus", ids[user], ids[user])
                _write(base / "etc/default/prometheus", 'ARGS="--web.enable-lifecycle"\n')
        if any(host.systemd for host in self.hosts):
            _write_units(layers / "systemd/etc/systemd/system")
        for release in {host.release for host in self.hosts if host.release}:
            self._write_release(layers, release)
        known = []
        for host in self.hosts:
            for directory in ("disk", "work", "root"):
                _directories(run / "hosts" / host.name / directory)
            disk = run / "hosts" / host.name / "disk"
            disk.chmod(0o755)
            _write(disk / "etc/hostname", host.name + "\n")
            _write(disk / "etc/machine-id", os.urandom(16).hex() + "\n")
            _directories(disk / "etc/ssh")
            _ssh_key(disk / "etc/ssh/ssh_host_ed25519_key", f"root@{host.name}")
            public = (disk / "etc/ssh/ssh_host_ed25519_key.pub").read_text(encoding="utf-8")
            known.append(f"{host.name},{host.address} {public}")
        _write(self.directory / "ssh" / "known_hosts", "".join(known))

    def _write_release(self, layers: Path, release: str) -> None:
        """Lay down the root of another release, and what its packages' scripts would have made."""
        root = packages.root_of(release)
        (layers / release).mkdir()
        self._switch_run(["mount", "-o", "bind,ro", str(root), f"/run/layers/{release}"])
        over = layers / f"{release}-setuid"
        for directory in ("usr/bin", "usr/local/bin", "etc/pam.d", "opt/lab", "var/log"):
            _directories(over / directory)
        crontab_group = (layers / "exporter/usr/bin/crontab").stat().st_gid
        for name, mode, group in (("sudo", 0o4755, 0), ("crontab", 0o2755, crontab_group)):
            shutil.copyfile(root / "usr/bin" / name, over / "usr/bin" / name)
            os.chown(over / "usr/bin" / name, 0, group)
            (over / "usr/bin" / name).chmod(mode)
        for kind in ("auth", "account", "session", "password"):
            _write(over / "etc/pam.d" / f"common-{kind}", f"{kind} required pam_permit.so\n")

    def _boot(self, names: list[str]) -> None:
        layers = {host.name: "systemd:exporter" if host.systemd else "exporter" for host in self.exporters}
        layers |= {host.name: f"prometheus:prometheus-{host.version}" for host in self.prometheus}
        for host in self.hosts:
            own = f"{host.release}-setuid:{layers[host.name]}:{host.release}" if host.release else ""
            layers[host.name] = own or f"{layers[host.name]}:packages:/"
        commands = []
        for name in names:
            lower = ":".join(part if part == "/" else f"/run/layers/{part}" for part in layers[name].split(":"))
            if self._host(name).systemd:
                argv = ["setsid", "--fork", "unshare", "--mount", "--fork", "--kill-child", "sh", str(SYSTEMD_HOST)]
            else:
                unshare = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"]
                argv = ["setsid", "--fork", "nsenter", f"--net=/run/netns/{name}", *unshare, "sh", str(HOST)]
            argv += [str(self.directory), name, lower]
            commands.append(f"{shlex.join(argv)} </dev/null >/run/hosts/{name}/console 2>&1")
        self._switch_run(["sh", "-c", "\n".join(commands)])
        switch, _processes = self._switch_and_processes()
        deadline = time.monotonic() + START_TIMEOUT

        def wait(host: Host) -> None:
            console = _root_of(switch) / "run/hosts" / host.name / "console"
            network = f"{_root_of(switch)}/run/netns/{host.name}"
            answer = _in_network(network, lambda: _await_answer(host, self._is_starting, deadline))
            if answer is not None:
                end = console.read_text(errors="replace")[-2000:].strip()
                raise LabError(f"{host.name} did not come up: {answer}. Its console ends with:\n{end}")

        with concurrent.futures.ThreadPoolExecutor(len(names)) as threads:
            list(threads.map(wait, [self._host(name) for name in names]))


def _write_units(directory: Path) -> None:
    """Write what systemd starts on a host: sshd and cron, and nothing of the machine's own /etc."""
    _directories(directory)
    os.setxattr(directory, "trusted.overlay.opaque", b"y")
    ssh = {
        "ExecStart": "/usr/sbin/sshd -D -e -f /etc/ssh/sshd_config",
        "RuntimeDirectory": "sshd",
        "KillMode": "process",
    }
    _write(directory / "ssh.service", "[Service]\n" + "".join(f"{key}={value}\n" for key, value in ssh.items()))
    wants = directory / "multi-user.target.wants"
    _directories(wants)
    (wants / "ssh.service").symlink_to("../ssh.service")
    (wants / "cron.service").symlink_to("/lib/systemd/system/cron.service")
    for unit in ("console-getty.service", "getty.target", "systemd-logind.service"):
        (directory / unit).symlink_to("/dev/null")


class _Process(NamedTuple):
    parent: int
    argv: list[str]


def _processes() -> dict[int, _Process]:
    """Return all processes of user space."""
    by_pid = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                process = _process(Path("/proc", entry))
            except (FileNotFoundError, ProcessLookupError):
                continue
            if process:
                by_pid[int(entry)] = process
    return by_pid


def _process(entry: Path) -> _Process | None:
    kernel_thread = 0x00200000
    for _attempt in range(5):
        argv = (entry / "cmdline").read_bytes()
        # The second field, the name, may hold anything, but the last ) ends it.
        fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
        if argv:
            return _Process(int(fields[1]), os.fsdecode(argv).rstrip("\0").split("\0"))
        if fields[0] in (b"Z", b"X") or int(fields[6]) & kernel_thread:
            return None
        time.sleep(0.001)  # in the middle of execve, the command line is empty for a moment
    return None


def _kill(targets: list[int], awaited: list[int]) -> None:
    """Send SIGKILL to `targets` and return when the processes `awaited` have ended."""
    handles = {}
    for pid in {*targets, *awaited}:
        try:
            handles[pid] = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
    try:
        for pid in targets:
            if pid in handles:
                try:
                    signal.pidfd_send_signal(handles[pid], signal.SIGKILL)
                except ProcessLookupError:
                    continue
        # The first process of a pid namespace has ended only when all others in it have.
        deadline = time.monotonic() + START_TIMEOUT
        for pid in awaited:
            if pid in handles and not select.select([handles[pid]], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise LabError(f"process {pid} does not end after SIGKILL: see /proc/{pid}/stack")
    finally:
        for handle in handles.values():
            os.close(handle)


def _in_network(path: str, function: Callable[[], T]) -> T:
    """Call `function` on the network namespace `path`; only for a thread that is used for nothing else afterwards."""
    clone_newnet = 0x40000000
    with open(path, "rb") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), clone_newnet):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), path)
    return function()


def _await_answer(host: Host, is_running: Callable[[str], bool], deadline: float) -> str | None:
    """Wait until this network's own sshd, and Prometheus if any, answer; return what is missing in the end."""
    looked = time.monotonic()
    while True:
        missing = _missing_answer(bool(host.version))
        now = time.monotonic()
        if missing is None or now > deadline:
            return missing
        if now - looked > 1:
            if not is_running(host.name):
                return "its init has ended"
            looked = now
        time.sleep(0.02)


def _missing_answer(prometheus: bool) -> str | None:
    try:
        with socket.create_connection(("127.0.0.1", 22), 5) as ssh:
            if ssh.recv(4) != b"SSH-":
                return "port 22 does not speak ssh"
    except OSError as error:
        return f"sshd does not answer ({error})"
    if prometheus:
        connection = http.client.HTTPConnection("127.0.0.1", 9090, timeout=5)
        try:
            connection.request("GET", "/-/ready")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return f"Prometheus does not answer ({error})"
        finally:
            connection.close()
        if status != http.HTTPStatus.OK:
            return f"Prometheus is not ready (HTTP {status})"
    return None


def _directories(path: Path) -> None:
    """Make `path` and its missing parents with mode 0755 whatever the umask: a layer's modes hide those below it."""
    missing = [path, *path.parents]
    for directory in reversed([directory for directory in missing if not directory.exists()]):
        directory.mkdir()
        directory.chmod(0o755)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    _directories(path.parent)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)


def _ssh_key(path: Path, comment: str) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)], check=True)


def _write_accounts(etc: Path, user: str) -> dict[str, int]:
    """Write passwd, group and shadow: the machine's accounts, and the lab's in place of any of the same name."""
    accounts = {
        LOGIN: (f"/home/{LOGIN}", "/bin/bash"),
        "sshd": ("/run/sshd", "/usr/sbin/nologin"),
        "crontab": ("/nonexistent", "/usr/sbin/nologin"),
        user: ("/var/lib/prometheus", "/usr/sbin/nologin") if user == "prometheus" else (f"/home/{user}", "/bin/bash"),
    }
    kept = {}
    for name in ("passwd", "group", "shadow"):
        lines = Path("/etc", name).read_text(encoding="utf-8").splitlines()
        kept[name] = [line for line in lines if line.split(":")[0] not in accounts]
    taken = {int(line.split(":")[2]) for name in ("passwd", "group") for line in kept[name]}
    ids = dict(zip(accounts, (number for number in range(2000, 60000) if number not in taken)))
    for name, (home, shell) in accounts.items():
        kept["passwd"].append(f"{name}:x:{ids[name]}:{ids[name]}::{home}:{shell}")
        kept["group"].append(f"{name}:x:{ids[name]}:")
        kept["shadow"].append(f"{name}:*:20000:0:99999:7:::")
    for name, lines in kept.items():
        _write(etc / name, "\n".join(lines) + "\n", 0o600 if name == "shadow" else 0o644)
    return ids


def _check_machine() -> None:
    if os.geteuid():
        raise LabError("the lab makes namespaces and mounts: run it as root")
    missing = sorted({package for tool, package in TOOLS.items() if not shutil.which(tool)})
    if missing:
        raise LabError(f"missing: run apt-get install {' '.join(missing)}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Real hosts in namespaces: exporter hosts exp1 ..., Prometheus hosts prom1 ..."
    )
    parser.add_argument("--name", default="default", help=f"the lab's directory below {LABS}")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="bring the hosts up")
    up.add_argument("--exporters", type=int, default=3)
    up.add_argument("--prometheus", type=int, default=2)
    up.add_argument("--systemd", default="", help="exporter hosts whose init is systemd: exp1,exp2")
    up.add_argument("--versions", default="2.42,2.53", help="Prometheus versions, or their beginnings, in turn")
    commands.add_parser("down", help="end everything and remove the directory")
    commands.add_parser("status", help="show the hosts as JSON")
    execute = commands.add_parser("exec", help="run a command on a host as root, or on the controller")
    execute.add_argument("host")
    execute.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    for name, text in (
        ("cut", "take the host's link down"),
        ("heal", "take the host's link up"),
        ("kill", "kill the host's init"),
        ("boot", "start the host on its disk"),
    ):
        commands.add_parser(name, help=text).add_argument("host")
    arguments = parser.parse_args()
    directory = LABS / arguments.name
    try:
        if arguments.command == "up":
            started = time.monotonic()
            versions, systemd = arguments.versions.split(","), arguments.systemd.split(",")
            lab = Lab(arguments.exporters, arguments.prometheus, versions, directory, systemd).up()
            print(f"{len(lab.hosts)} hosts up in {time.monotonic() - started:.1f} s; inventory: {lab.inventory}")
        elif arguments.command == "down":
            Lab(directory=directory).down()
        elif arguments.command == "status":
            print(json.dumps(Lab.open(directory).status(), indent=2))
        elif arguments.command == "exec":
            argv = arguments.argv[1:] if arguments.argv[:1] == ["--"] else arguments.argv
            if not argv:
                parser.error("exec needs a command: exec HOST -- COMMAND")
            prefix = Lab.open(directory).enter(arguments.host)
            os.execvp(prefix[0], [*prefix, *argv])
        else:
            getattr(Lab.open(directory), arguments.command)(arguments.host)
    except (LabError, packages.PackageError) as error:
        print(f"lab.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
