# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds Prometheus's process, and makes Prometheus reload its configuration."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.parse
from typing import Iterator, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import patterns
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.api import Api, ReloadRefused, patiently
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.contract import Kind, ReloadMethod

_TIMEOUT = 60.0
"""Seconds. A reload of 1,000 jobs takes less than one second, but rules and service discovery may need more."""
_OCTAL = re.compile(r"\\([0-7]{3})")
_MOUNTINFO = 1 << 22
"""Characters. A host with 1,000 containers has 10,000 lines of 150 characters."""


# --- the process ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Process:
    """A running Prometheus that was started with our configuration file.

    :ivar config: the path of its configuration as the process sees it.
    :ivar lists: whether that is a configuration of VictoriaMetrics whose ``scrape_config_files`` name our file.
    :ivar words: its command line.
    """

    pid: int
    uid: int
    config: str
    lists: bool = False
    words: Sequence[str] = ()


_SCRAPE_FLAG = "promscrape.config"
"""The configuration flag of vmagent and of other programs of VictoriaMetrics that scrape. All of them read the file
again on SIGHUP.
"""


def find_processes(config_file: str, kind: Kind = "prometheus", seen_as: str | None = None) -> list[Process]:
    """Return the processes of Prometheus or VictoriaMetrics that read a configuration file, directly or through a mount
    of their own.

    :param seen_as: the file's path in a container.
    """
    found = []
    real = os.path.realpath(config_file)
    for process in running(kind):
        inside, root = process.config, f"/proc/{process.pid}/root"
        if is_same(root + inside, real) or (
            # A container may have another file of the same name.
            os.path.realpath(inside) == real and (not is_elsewhere(process.pid) or is_mounted_alone(process))
        ):
            found.append(process)
        elif kind == "scrape_file" and _lists(root + inside, inside, seen_as or config_file):
            found.append(dataclasses.replace(process, lists=True))
    return found


def running(kind: Kind) -> Iterator[Process]:
    """Yield all processes of Prometheus, or of VictoriaMetrics programs that scrape."""
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/cmdline", "rb") as stream:
                words = [word.decode("utf-8", "replace") for word in stream.read().split(b"\0")]
            program = os.path.basename(words[0])
            given = argument(words, "config.file" if kind == "prometheus" else _SCRAPE_FLAG)
            if kind == "scrape_file":
                if given is None:
                    continue
            # An exporter such as prometheus-node-exporter has no such flag.
            elif not program.startswith("prometheus") or (given is None and program != "prometheus"):
                continue
            inside = os.path.join(os.readlink(f"/proc/{name}/cwd"), given or "prometheus.yml")
            process = Process(int(name), os.stat(f"/proc/{name}").st_uid, inside, words=words)
        except OSError:
            continue
        yield process


def _lists(place: str, inside: str, path: str) -> bool:
    """Tell whether a configuration names a file in its ``scrape_config_files``.

    :param place: the path where this process can read the configuration.
    :param inside: the configuration's path as its own process sees it; ``path`` is of the same kind.
    """
    from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import config

    try:
        names = config.scrape_names(files.read(place), inside)
    except (TimesTenError, OSError):
        return False
    return any(patterns.matches(name, path, os.path.dirname(inside)) for name in names)


def is_elsewhere(pid: int, what: str = "mnt") -> bool:
    """Tell whether a process has its own mounts or network; False if that is unknown."""
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/{what}") != os.readlink(f"/proc/self/ns/{what}")
    return False


def is_same(one: str, other: str) -> bool:
    """Tell whether two paths name one file, as far as can be seen."""
    with contextlib.suppress(OSError):
        return os.path.samefile(one, other)
    return False


def argument(words: Sequence[str], name: str) -> str | None:
    """Return the value of a flag in a command line."""
    for number, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag in (f"--{name}", f"-{name}"):
            return value if equals else [*words, ""][number + 1]
    return None


def sees_another(process: Process, inside: str, path: str) -> bool:
    """Tell whether a process sees, at the path of a host directory, nothing or another directory."""
    root = f"/proc/{process.pid}/root"
    try:
        os.stat(root)
    except OSError:
        return False  # this user cannot look at it
    return not is_same(root + inside, path)


@dataclasses.dataclass(frozen=True)
class Mount:
    """One line of a process's mountinfo.

    :ivar root: the mounted part of the device's file system.
    """

    device: str
    root: str
    point: str


def mounts(pid: int | str) -> list[Mount]:
    """Return the mounts of a process; empty if they are unknown."""
    try:
        with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
            lines = [line.split(" ") for line in stream.read(_MOUNTINFO).splitlines()]
    except OSError:
        return []
    return [Mount(words[2], _unescaped(words[3]), _unescaped(words[4])) for words in lines if len(words) > 4]


def _unescaped(text: str) -> str:
    return _OCTAL.sub(lambda code: chr(int(code.group(1), 8)), text)


def is_mounted_alone(process: Process) -> bool:
    """Tell whether the process sees the file through a mount of that single file: it then never sees a new one."""
    points = {mount.point for mount in mounts(process.pid)}
    return not points.isdisjoint((os.path.normpath(process.config), os.path.realpath(process.config)))


# --- the reload -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to ask for a reload that is known to be possible before anything is changed."""

    method: str
    unit: str = ""
    pid: int = 0


def find_way(api: Api, method: ReloadMethod, unit: str, pid_file: str | None, config_file: str, uid: int) -> Way:
    """Return the way to reload.

    :param method: auto uses the lifecycle endpoint if it is enabled, else the unit if it is active, else the signal.
    :param pid_file: file with the process id; None searches for the process that was started with ``config_file``.
    :param uid: the Prometheus user; only that user's processes are signalled.
    :raises TimesTenError: if a reload is not possible in the given way.
    """
    enabled = api.flags().get("web.enable-lifecycle") == "true" if method in ("auto", "http") else False
    if method == "http" and not enabled:
        raise TimesTenError(
            f"reload: the Prometheus at {api.url} was started without --web.enable-lifecycle, so it cannot be reloaded "
            f"by http; start it with that, or set reload to systemd or signal. Nothing was changed"
        )
    if enabled:
        return Way("http")
    active = method != "signal" and (method == "systemd" or os.geteuid() == 0) and _unit_is_active(unit)
    if active:
        return Way("systemd", unit)
    if method == "systemd":
        raise TimesTenError(
            f"reload_unit: systemd has no active unit {unit}; set reload_unit to that of this Prometheus, or set reload to "
            f"http or signal. Nothing was changed"
        )
    port = urllib.parse.urlsplit(api.url).port
    return Way("signal", pid=_pid_of(pid_file, config_file, uid, port))


def find_way_of_file(
    method: ReloadMethod,
    unit: str,
    pid_file: str | None,
    scrape_file: str,
    uid: int,
    processes: Sequence[Process],
) -> Way:
    """Return the way to tell a taker that only reads a scrape file to read it again.

    :param processes: processes of VictoriaMetrics that read the file.
    :param method: auto uses the signal if a process id file is given or a process of VictoriaMetrics reads the file;
        otherwise no process is told.
    :raises TimesTenError: if the given way is not possible.
    """
    if method == "http":
        return Way("http")
    if method == "systemd":
        if not _unit_is_active(unit):
            raise TimesTenError(f"reload_unit: systemd has no active unit {unit}; set reload_unit to that of the taker")
        return Way("systemd", unit)
    if pid_file is not None:
        return Way("signal", pid=_pid_of(pid_file, scrape_file, uid))
    found = [process.pid for process in processes if process.uid == uid]
    if found:
        return Way("signal", pid=found[0])
    if method == "signal":
        raise TimesTenError(
            f"no process of uid {uid} was started with -{_SCRAPE_FLAG}={scrape_file}; set reload_pid_file, or set reload to "
            f"http or systemd, or to auto where the taker reads the file again by itself. Nothing was changed"
        )
    return Way("none")


def tell(api: Api, way: Way) -> None:
    """Ask for a reload.

    :raises TimesTenError: if the request cannot be sent, or is refused.
    """
    if way.method == "http":
        api.reload()
    elif way.method == "systemd":
        _reload_unit(way.unit)
    elif way.method == "signal":
        try:
            os.kill(way.pid, signal.SIGHUP)
        except OSError as error:
            raise TimesTenError(f"cannot signal process {way.pid}: {error.strerror}") from error


def reload(api: Api, way: Way) -> str:
    """Make Prometheus read its configuration, and check in its own metrics that it did.

    :returns: the method that was used.
    :raises TimesTenError: if Prometheus refuses, or does not confirm in time.
    """
    before = api.reloaded()
    tell(api, way)
    deadline = time.monotonic() + _TIMEOUT
    while True:
        now = patiently(api.reloaded, deadline)
        if now.successful and now.moment > before.moment:
            return way.method
        # A failed reload has no time, so it is recognized only if the last reload before was successful.
        if not now.successful and before.successful:
            raise ReloadRefused(
                "Prometheus refused the configuration at the reload; its log has the reason (level=error, "
                "component of the configuration)"
            )
        if time.monotonic() > deadline:
            raise TimesTenError(
                f"Prometheus did not confirm the reload ({way.method}) within {_TIMEOUT:g} s "
                f"(prometheus_config_last_reload_successful is {int(now.successful)}); its log has the reason"
            )
        time.sleep(0.05)


def _unit_is_active(unit: str) -> bool:
    if shutil.which("systemctl") is None:
        return False
    command = ["systemctl", "is-active", "--quiet", unit]
    return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode == 0


def _reload_unit(unit: str) -> None:
    done = subprocess.run(
        ["systemctl", "reload", unit],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode != 0:
        text = done.stdout.decode("utf-8", "replace").strip()
        raise TimesTenError(
            f"systemctl reload {unit} failed: {text}; set reload_unit, or set reload to http or signal",
            rc=done.returncode,
        )


def _listens(process: Process, port: int | None) -> bool:
    address = argument(process.words, "web.listen-address") or ":9090"
    return address.rpartition(":")[2] == str(port)


def _pid_of(pid_file: str | None, config_file: str, uid: int, port: int | None = None) -> int:
    """The process that gets the signal.

    :param port: of the one that is asked afterwards, where several read the file.
    """
    if pid_file is None:
        read = [process for process in find_processes(config_file) if process.uid == uid]
        own = [process.pid for process in read if _listens(process, port)] or [process.pid for process in read]
        if not own:
            raise TimesTenError(
                f"no Prometheus process of uid {uid} was started with --config.file={config_file}; set "
                f"reload_pid_file, or set reload to http or systemd. Nothing was changed"
            )
        return own[0]
    try:
        text = files.read(pid_file, 100).decode("ascii", "replace").strip()
    except FileNotFoundError:
        raise TimesTenError(
            f"reload_pid_file: {pid_file} does not exist; leave it out to have the process looked for"
        ) from None
    pid = int(text) if text.isdigit() else 0
    owner = None
    with contextlib.suppress(OSError):
        owner = os.stat(f"/proc/{pid}").st_uid if pid > 1 else None
    if owner != uid:
        raise TimesTenError(
            f"reload_pid_file: {pid_file} says {text!r}, which is not a process of the Prometheus user; no "
            f"signal was sent"
        )
    return pid
