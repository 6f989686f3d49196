# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab itself: real hosts come up, fail on demand, and leave nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import lab as lab_module
from lab import packages
from lab.lab import Lab, LabError
from waiting import until

pytestmark = pytest.mark.lab

DIRECTORY = lab_module.LABS / "test"
VERSIONS = ("2.42", "2.53", "3")
NAMESPACES = ("ipc", "mnt", "net", "pid", "uts")


def machine() -> tuple[str, list[str], list[str]]:
    """What a lab must not change: the machine's mounts, links and named network namespaces."""
    named = Path("/run/netns")
    return (
        Path("/proc/self/mountinfo").read_text(encoding="utf-8"),
        sorted(os.listdir("/sys/class/net")),
        sorted(os.listdir(named)) if named.is_dir() else [],
    )


def processes_of(directory: Path) -> list[int]:
    pids = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.fsencode(directory) in (entry / "cmdline").read_bytes().split(b"\0"):
                pids.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return pids


def namespaces_in_use() -> set[str]:
    namespaces = set()
    for entry in Path("/proc").glob("[0-9]*/ns"):
        for kind in NAMESPACES:
            try:
                namespaces.add(os.readlink(entry / kind))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # ended, or guarded by the machine: not one of the lab's, which are all readable
    return namespaces


def namespaces_of(lab: Lab) -> set[str]:
    links = [f"/proc/self/ns/{kind}" for kind in NAMESPACES]
    own = {os.readlink(link) for link in links}
    namespaces = set()
    for name in ["controller", *(host.name for host in lab.hosts)]:
        done = lab.run(["readlink", *links], name, check=True, capture_output=True, text=True)
        namespaces |= set(done.stdout.split())
    return namespaces - own


def assert_nothing_left(directory: Path) -> None:
    assert processes_of(directory) == []
    assert not directory.exists()


def command(lab: Lab, host: str, *argv: str) -> str:
    return str(lab.run(argv, host, check=True, capture_output=True, text=True).stdout)


def ansible(lab: Lab, pattern: str, *arguments: str) -> str:
    argv = [sys.executable, "-m", "ansible", "adhoc", pattern, "--one-line", *arguments]
    done = lab.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def get(lab: Lab, host: str, path: str) -> bytes:
    address = next(each.address for each in lab.hosts if each.name == host)

    def request() -> bytes:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{address}:9090{path}", timeout=5) as response:
            return bytes(response.read())

    return lab.within(request)


def answers(lab: Lab, host: str) -> bool:
    try:
        get(lab, host, "/-/ready")
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(exporters=3, prometheus=3, versions=VERSIONS, directory=DIRECTORY) as running:
        yield running


def test_all_hosts_are_reached_over_ssh(lab: Lab) -> None:
    out = ansible(lab, "all", "-m", "ping")
    assert sorted(line.partition(" => ")[0] for line in out.splitlines()) == [
        f"{host.name} | SUCCESS" for host in lab.hosts
    ]


def test_become_an_unprivileged_user(lab: Lab) -> None:
    for group, user, hosts in (
        ("timesten_exporters", "timesten", lab.exporters),
        ("prometheus_servers", "prometheus", lab.prometheus),
    ):
        code = "import getpass, cryptography, prometheus_client, yaml; print(getpass.getuser())"
        out = ansible(
            lab, group, "--become", "--become-user", user, "-m", "command", "-a", f'/usr/bin/python3 -c "{code}"'
        )
        assert sorted(out.splitlines()) == [f"{host.name} | CHANGED | rc=0 | (stdout) {user}" for host in hosts]
    root = ansible(lab, "all", "--become", "-m", "command", "-a", "id -un")
    assert sorted(root.splitlines()) == [f"{host.name} | CHANGED | rc=0 | (stdout) root" for host in lab.hosts]


def test_users(lab: Lab) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        command(lab, "prom1", "id", "timesten")
    with pytest.raises(subprocess.CalledProcessError):
        # Only the login user may use sudo.
        command(
            lab, "exp1", "setpriv", "--reuid", "timesten", "--regid", "timesten", "--clear-groups", "sudo", "-n", "id"
        )


def test_each_prometheus_runs_its_version_as_its_user(lab: Lab) -> None:
    for host, version in zip(lab.prometheus, VERSIONS):
        build = json.loads(get(lab, host.name, "/api/v1/status/buildinfo"))
        assert build["data"]["version"].startswith(version + ".")
        flags = json.loads(get(lab, host.name, "/api/v1/status/flags"))["data"]
        assert flags["web.enable-lifecycle"] == "true"
        assert flags["config.file"] == "/etc/prometheus/prometheus.yml"
        pid = command(lab, host.name, "cat", "/run/prometheus/prometheus.pid").strip()
        assert command(lab, host.name, "stat", "-c", "%U", f"/proc/{pid}").strip() == "prometheus"
        assert command(lab, host.name, "readlink", f"/proc/{pid}/exe").strip() == "/usr/bin/prometheus"


def test_hosts_are_apart_from_each_other_and_the_machine(lab: Lab) -> None:
    mark = Path("/srv/lab-mark")
    command(lab, "exp1", "touch", str(mark))
    assert not mark.exists()
    with pytest.raises(subprocess.CalledProcessError):
        command(lab, "exp2", "test", "-e", str(mark))
    assert [command(lab, host.name, "hostname").strip() for host in lab.hosts] == [host.name for host in lab.hosts]
    assert command(lab, "exp1", "cat", "/proc/1/comm").strip() == "tini"
    assert "overlay" in command(lab, "exp1", "stat", "-f", "-c", "%T", "/")
    for host in ("controller", "exp1", "prom1"):
        # One network, no way out.
        routes = json.loads(command(lab, host, "ip", "-json", "route"))
        assert [route["dst"] for route in routes] == ["10.77.0.0/16"]
    keys = {command(lab, host.name, "cat", "/etc/ssh/ssh_host_ed25519_key.pub") for host in lab.hosts}
    assert len(keys) == len(lab.hosts)


def promtool_of(lab: Lab, host: str) -> str:
    return command(lab, host, str(lab_module.on_host(packages.prometheus("2.42").promtool)), "--version")


def test_the_projects_programs_are_at_one_place_on_every_host(lab: Lab) -> None:
    """Wherever the checkout lies: a host has a /tmp, /root and /run of its own. A host cannot change them."""
    for host in ("exp1", "prom3"):
        assert promtool_of(lab, host).startswith("promtool, version 2.42")
        done = lab.run(["touch", str(lab_module.PROGRAMS / "mark")], host, capture_output=True, text=True)
        assert "Read-only file system" in done.stderr


def test_a_host_key_that_changed_is_refused(lab: Lab) -> None:
    known = lab.directory / "ssh" / "known_hosts"
    before = known.read_text(encoding="utf-8")
    lines = before.splitlines()
    swapped = [" ".join([lines[0].split()[0], *lines[1].split()[1:]]), *lines[1:]]
    known.write_text("\n".join(swapped) + "\n", encoding="utf-8")
    try:
        argv = [sys.executable, "-m", "ansible", "adhoc", "exp1", "-m", "ping", "-e", "ansible_control_path=none"]
        done = lab.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "UNREACHABLE" in done.stdout + done.stderr
    finally:
        known.write_text(before, encoding="utf-8")


def test_cut_and_heal(lab: Lab) -> None:
    assert answers(lab, "prom1")
    lab.cut("prom1")
    try:
        assert lab.status()["prom1"] == {"address": "10.77.2.1", "version": "2.42", "up": True, "connected": False}
        assert not answers(lab, "prom1")
        assert answers(lab, "prom2")
    finally:
        lab.heal("prom1")
    until(lambda: answers(lab, "prom1"), what="prom1 answers again")
    assert lab.status()["prom1"]["connected"]


def test_kill_and_boot_on_the_same_disk(lab: Lab) -> None:
    # The last one is in the home of root, where commands start.
    marks = ["/var/lib/prometheus/mark", "/run/mark", "mark"]
    command(lab, "prom1", "touch", *marks)
    key = command(lab, "prom1", "cat", "/etc/ssh/ssh_host_ed25519_key.pub")
    lab.kill("prom1")
    assert not lab.status()["prom1"]["up"]
    assert not answers(lab, "prom1")
    assert answers(lab, "prom2")
    for action, message in ((lab.kill, "down already"), (lambda host: lab.run(["true"], host), "boot it first")):
        with pytest.raises(LabError, match=message):
            action("prom1")
    lab.boot("prom1")
    assert answers(lab, "prom1")
    kept = [file for file in marks if lab.run(["test", "-e", file], "prom1").returncode == 0]
    assert kept == ["/var/lib/prometheus/mark"]
    assert command(lab, "prom1", "cat", "/etc/ssh/ssh_host_ed25519_key.pub") == key
    assert "prom1 | SUCCESS" in ansible(lab, "prom1", "-m", "ping", "-e", "ansible_control_path=none")
    with pytest.raises(LabError, match="up already"):
        lab.boot("prom1")


def test_a_host_with_systemd() -> None:
    directory = lab_module.LABS / "test-systemd"
    before = machine()
    cgroups = sorted(lab_module.CGROUPS.glob("*/timesten-lab-*"))
    with Lab(exporters=2, prometheus=0, directory=directory, systemd=["exp2"]) as running:
        assert machine() == before
        reports = ansible(running, "all", "-m", "setup", "-a", "filter=ansible_service_mgr,ansible_hostname")
        assert reports.count('"ansible_service_mgr": "systemd"') == 1
        assert command(running, "exp2", "systemctl", "is-active", "ssh", "cron").split() == ["active", "active"]
        assert command(running, "exp2", "systemctl", "list-units", "--state=failed", "--plain", "--no-legend") == ""
        assert promtool_of(running, "exp2").startswith("promtool, version 2.42")
        marks = ["/etc/mark", "/run/mark", "mark"]
        command(running, "exp2", "touch", *marks)
        running.kill("exp2")
        assert [host for host, state in running.status().items() if state["up"]] == ["exp1"]
        running.boot("exp2")
        kept = [mark for mark in marks if running.run(["test", "-e", mark], "exp2").returncode == 0]
        assert kept == ["/etc/mark"]
    assert_nothing_left(directory)
    assert machine() == before
    assert sorted(lab_module.CGROUPS.glob("*/timesten-lab-*")) == cgroups


def test_a_host_that_cannot_start_says_why(lab: Lab) -> None:
    lab.run(["sh", "-c", "echo 'PermitRootLogin perhaps' >> /etc/ssh/sshd_config"], "exp3", check=True)
    lab.kill("exp3")
    with pytest.raises(LabError, match=r"(?s)exp3 did not come up: its init has ended.*line 9: unsupported option"):
        lab.boot("exp3")
    assert lab.status()["exp2"]["up"]


def test_a_command_ends_with_the_process_that_entered(lab: Lab) -> None:
    for host in ("controller", "exp1"):
        with subprocess.Popen([*lab.enter(host), "sleep", "86413"]) as entered:

            def is_running() -> bool:
                done = subprocess.run(["pgrep", "-f", "^sleep 86413$"], check=False, capture_output=True)
                return done.returncode == 0

            until(is_running, what="the command runs")
            entered.kill()
        until(lambda: not is_running(), what="the command has ended")


def test_an_unknown_host_is_named(lab: Lab) -> None:
    with pytest.raises(LabError, match=r"no host exp9 in .*exp1, exp2, exp3, prom1"):
        lab.cut("exp9")


def test_nothing_is_left_after_down() -> None:
    directory = lab_module.LABS / "test-down"
    before = machine()
    started = time.monotonic()
    with Lab(exporters=3, prometheus=2, versions=VERSIONS, directory=directory) as running:
        assert time.monotonic() - started < 20
        assert machine() == before
        ansible(running, "all", "-m", "ping")  # leaves ssh control masters that would live on for a minute
        used = namespaces_of(running)
        assert used <= namespaces_in_use()
        assert len(used) == 5 * len(NAMESPACES) + 3  # of the controller: mount, pid and network namespace
    assert_nothing_left(directory)
    assert not used & namespaces_in_use()
    assert machine() == before
    with pytest.raises(LabError, match="no lab in"):
        Lab.open(directory)


def test_nothing_is_left_after_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    directory = lab_module.LABS / "test-failure"
    broken = tmp_path / "host.sh"
    broken.write_text("echo the disk is on fire >&2\nexit 1\n", encoding="utf-8")
    monkeypatch.setattr(lab_module, "HOST", broken)
    with pytest.raises(LabError, match=r"(?s)exp1 did not come up: its init has ended.*the disk is on fire"):
        Lab(exporters=1, prometheus=0, directory=directory).up()
    assert_nothing_left(directory)


@pytest.mark.parametrize("moment", ["directory", "switch", "hosts", "up"])
def test_nothing_is_left_after_sigkill(moment: str) -> None:
    directory = lab_module.LABS / "test-killed"
    before = machine()

    def reached() -> bool:
        running = b" ".join(
            path.read_bytes() for pid in processes_of(directory) if (path := Path(f"/proc/{pid}/cmdline")).exists()
        )
        return {
            "directory": (directory / "lab.json").exists(),
            "switch": b"switch.sh" in running,
            "hosts": b"host.sh" in running,
            "up": killed.poll() == 0,
        }[moment]

    program = [sys.executable, str(Path(lab_module.__file__)), "--name", directory.name]
    with subprocess.Popen(
        [*program, "up", "--exporters", "3", "--prometheus", "1"], stdout=subprocess.DEVNULL
    ) as killed:
        until(reached, what=moment)
        killed.kill()
    if moment == "hosts":
        # Coming up again clears away what is there.
        with Lab(exporters=1, prometheus=0, directory=directory) as again:
            assert [host for host, state in again.status().items() if state["up"]] == ["exp1"]
            assert not [pid for pid in processes_of(directory) if b"exp2" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    else:
        subprocess.run([*program, "down"], check=True)
    assert_nothing_left(directory)
    assert machine() == before


def test_a_foreign_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x", encoding="utf-8")
    with pytest.raises(LabError, match="holds something else than a lab"):
        Lab(exporters=1, prometheus=0, directory=tmp_path).up()
    assert (tmp_path / "precious").read_text(encoding="utf-8") == "x"
