# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exporter's process: which one it is, how it differs from what is asked for, start and stop.

A pid in a file proves nothing: it may belong to another process by now. A process is ours if it began when
``state.json`` says so, or, where nothing was recorded (it was started at boot or by hand), if its owner and its command
line say so; and that is checked again right before a signal.
The callers hold the exporter's lock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import grp
import os
import pwd
import re
import shlex
import signal
import stat
import subprocess
import time
from typing import Any, Callable, Iterable, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files as _files
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import utility as _ttexporter_cli

RUNNING = "running"
STOPPED = "stopped"
FOREIGN = "foreign"

LOG_LIMIT = 10 << 20
"""Bytes. A larger log is renamed to ``<log>.1`` at the next start."""

ENVIRONMENT_MARK = "# environment: "
"""How the line of a start script begins that has the fingerprint of the variables it sets."""

_PID_FILE_LIMIT = 64
_CLEANUP_TIMEOUT = 5.0
_LISTEN = "0A"

# Units that merely let somebody in or run jobs: what they started is not managed by systemd.
_LOGIN_UNITS = re.compile(r"(ssh|sshd|cron|crond|atd|user|systemd-nspawn)(@.*)?\.service\Z")


# ---------------------------------------------------------------------------------------------------------------------
# What the kernel tells


@dataclasses.dataclass(frozen=True)
class Process:
    """One living process, as /proc shows it.

    :ivar uid: effective user.
    :ivar start_ticks: when it began, in clock ticks since boot: with the pid and the boot id the identity of a process.
    """

    pid: int
    parent: int
    session: int
    start_ticks: int
    uid: int
    argv: tuple[str, ...]

    @property
    def owner(self) -> str:
        """Name of the user, or the number where it has none."""
        return user_name(self.uid)

    @property
    def command(self) -> str:
        """The program and, of another program than ttExporter, nothing that might be a secret: arguments up to the
        first option.
        """
        if exporter_options(self.argv) is not None:
            return shlex.join(self.argv)
        shown: list[str] = []
        for argument in self.argv[:3]:
            if shown and argument.startswith("-"):
                break
            shown.append(argument)
        return shlex.join(shown)[:200] or "a process without a command line"


def parse_stat(text: str) -> tuple[str, int, int, int]:
    """Return state, parent, session and start ticks from /proc/<pid>/stat, whose second field may contain anything."""
    fields = text[text.rindex(")") + 1 :].split()
    return fields[0], int(fields[1]), int(fields[3]), int(fields[19])


def parse_status(text: str) -> tuple[int, int]:
    """Return thread group and effective uid from /proc/<pid>/status."""
    group = re.search(r"^Tgid:\s+(\d+)", text, re.MULTILINE)
    uid = re.search(r"^Uid:\s+\d+\s+(\d+)", text, re.MULTILINE)
    if group is None or uid is None:
        raise ValueError("no Tgid or Uid line")
    return int(group.group(1)), int(uid.group(1))


def read_process(pid: int) -> Process | None:
    """Return a process, or None if there is none: a zombie is none, and the number of a thread is none."""
    try:
        state, parent, session, start_ticks = parse_stat(_proc_text(pid, "stat"))
        thread_group, uid = parse_status(_proc_text(pid, "status"))
        argv = _proc_text(pid, "cmdline")
    except (OSError, ValueError, IndexError):
        return None
    if state in "ZXx" or thread_group != pid:
        return None
    return Process(pid, parent, session, start_ticks, uid, tuple(argv.split("\0")[:-1]))


def processes() -> dict[int, Process]:
    """Return all living processes that can be seen."""
    found = (read_process(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {process.pid: process for process in found if process is not None}


def family(process: Process, everyone: Mapping[int, Process]) -> list[Process]:
    """Return the process, the wrapper or master that started it under the exporter's command line, and all descendants.

    Any of them may hold the port. Process groups tell nothing: a script that starts two exporters gives them one.
    """
    top = process
    while top.parent in everyone and exporter_options(everyone[top.parent].argv) is not None:
        top = everyone[top.parent]
    members = {top.pid, process.pid}
    more = members
    while more:
        more = {other.pid for other in everyone.values() if other.parent in members} - members
        members = members | more
    return [everyone[pid] for pid in sorted(members) if pid in everyone]


def exporter_options(argv: Sequence[str]) -> dict[str, str | None] | None:
    """Return the options of a command line that serves as ttExporter, None for any other.

    The name may stand behind an interpreter or a wrapper (``/usr/bin/python3 /h/bin/ttExporter -port ...``,
    ``ttenv ttExporter ...``), and the order of the options may be the utility's own.
    """
    for index, argument in enumerate(argv):
        if os.path.basename(argument) == _ttexporter_cli.PROGRAM:
            options = _ttexporter_cli.parse_options(argv[index + 1 :])
            return options if options.get("port") else None
    return None


def boot_id() -> str:
    """Return what tells this boot from all others."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        return stream.read().strip()


def user_name(uid: int) -> str:
    """Return the name of a user, or the number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def parse_listeners(text: str, port: int | None = None) -> dict[int, int]:
    """Return inode -> uid of the listening sockets (of one port) in the text of /proc/net/tcp or tcp6."""
    found = {}
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _LISTEN and port in (None, int(fields[1].rsplit(":", 1)[1], 16)):
            found[int(fields[9])] = int(fields[7])
    return found


def listeners(port: int | None = None) -> dict[int, int]:
    """Return inode -> uid of the TCP sockets that listen (on a port), IPv4 and IPv6."""
    found: dict[int, int] = {}
    for name in ("tcp", "tcp6"):
        # Without IPv6 there is no tcp6.
        with contextlib.suppress(FileNotFoundError), open(f"/proc/self/net/{name}", encoding="ascii") as stream:
            found.update(parse_listeners(stream.read(), port))
    return found


def sockets(pid: int) -> set[int]:
    """Return the inodes of the sockets that a process has open; empty where we may not look."""
    found = set()
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/{pid}/fd/{name}")
                if target.startswith("socket:["):
                    found.add(int(target[8:-1]))
    return found


def port_holder(port: int, but_not: Iterable[int] = ()) -> str | None:
    """Say who listens on a TCP port: pid, command and user where they can be seen, else the user; None if nobody does.

    :param but_not: pids that do not count.
    """
    inodes = listeners(port)
    for pid in but_not:
        for inode in sockets(pid):
            inodes.pop(inode, None)
    if not inodes:
        return None
    for process in processes().values():
        if sockets(process.pid) & set(inodes):
            return f"process {process.pid} of user {process.owner} ({process.command})"
    owner = user_name(next(iter(inodes.values())))
    return f"a process of user {owner} (which one is visible to {owner} and root only)"


def systemd_unit(cgroups: str) -> str | None:
    """Return the service that a /proc/<pid>/cgroup text names, less those that merely let somebody in or run jobs."""
    for line in cgroups.splitlines():
        hierarchy = line.split(":", 2)
        if len(hierarchy) == 3 and hierarchy[1] in ("", "name=systemd"):
            for part in reversed(hierarchy[2].split("/")):
                if part.endswith(".service"):
                    return None if _LOGIN_UNITS.match(part) else part
    return None


def manager(pid: int) -> str | None:
    """Return the systemd unit that runs a process, None for a process that somebody or some job just started."""
    try:
        unit = systemd_unit(_proc_text(pid, "cgroup"))
        # What runs in the same unit as we do was started by somebody who came the same way.
        return None if unit == systemd_unit(_proc_text(os.getpid(), "cgroup")) else unit
    except OSError:
        return None


def _proc_text(pid: int, name: str) -> str:
    with open(f"/proc/{pid}/{name}", encoding="utf-8", errors="surrogateescape") as stream:
        return stream.read()


# ---------------------------------------------------------------------------------------------------------------------
# What is wanted, what is there


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The process that should run.

    :ivar arguments: from :func:`exporter.utility.start_arguments`, with absolute paths.
    :ivar state_file: ``state.json`` in the exporter's directory.
    :ivar unit: the systemd unit that has to run it, by ``script``; None where nobody has to.
    :ivar script: text of the start script; None where there is none.
    """

    utility: _ttexporter_cli.Utility
    arguments: Sequence[str]
    state_file: str
    log_file: str
    unit: str | None = None
    script: str | None = None

    @property
    def run_file(self) -> str:
        """The start script; the unit runs the exporter only while it is there."""
        return os.path.join(os.path.dirname(self.state_file), "run")

    @property
    def options(self) -> dict[str, str | None]:
        """The arguments as options."""
        return _ttexporter_cli.parse_options(self.arguments)

    @property
    def port(self) -> int:
        """The TCP port."""
        return int(self.options["port"] or 0)

    @property
    def pid_file(self) -> str:
        """Path of the pid file."""
        return str(self.options["pid-file"])


@dataclasses.dataclass(frozen=True)
class ProcessState:
    """What was found.

    :ivar status: ``running``: our exporter lives (see ``drift``); ``stopped``: it does not; ``foreign``: another user
        runs it on our pid file.
    :ivar why: how that was told, for people.
    :ivar drift: differences from what is wanted, each a reason for a restart.
    :ivar port_holder: who, other than this exporter, listens on the wanted port.
    :ivar listening: whether this exporter listens on the wanted port.
    :ivar age: seconds since the process began.
    :ivar adopted: it was found although the pid file does not name it.
    :ivar stale_pid_file: there is a pid file and it is known to name no exporter of ours.
    :ivar manager: the systemd unit that brings the process back when it ends.
    :ivar certificate_directory: directory of the wallet that it was started with.
    """

    status: str
    why: str
    process: Process | None = None
    drift: tuple[str, ...] = ()
    port_holder: str | None = None
    listening: bool = False
    age: float | None = None
    adopted: bool = False
    stale_pid_file: bool = False
    manager: str | None = None
    certificate_directory: str | None = None

    @property
    def pid(self) -> int | None:
        """Pid of the process."""
        return None if self.process is None else self.process.pid


def read_state(path: str) -> dict[str, Any] | None:
    """Return what ``state.json`` says; None where it is missing, damaged or not ours: owner and command line decide
    then.
    """
    try:
        record = _files.read_json(path)
    except TimesTenError:
        return None
    if record is None or not all(isinstance(record.get(key), int) for key in ("pid", "start_ticks")):
        return None
    return record if isinstance(record.get("boot_id"), str) else None


def is_recorded(process: Process, record: Mapping[str, Any] | None, boot: str) -> bool:
    """Tell whether a process is the very one that was recorded, not a later one with its pid."""
    return record is not None and (record["pid"], record["start_ticks"], record["boot_id"]) == (
        process.pid,
        process.start_ticks,
        boot,
    )


def parse_pid(data: bytes, path: str) -> int | None:
    """Return the pid that a pid file names, None if it is empty (or full of NULs, as a power cut leaves it).

    :raises TimesTenError: if it holds something else: it is no pid file, so nobody may remove it.
    """
    text = data.strip(b"\0 \t\r\n")
    if not text:
        return None
    if not re.match(rb"[1-9][0-9]{0,9}\Z", text):
        raise TimesTenError(
            f"pid_file: {path} holds {text[:40]!r}, no pid; remove it if it is of no use, or name another file"
        )
    return int(text)


def compare_options(running: Mapping[str, str | None], wanted: Mapping[str, str | None]) -> list[str]:
    """Return the differences of two command lines, in people's words; paths are compared as they are given."""
    running, wanted = _canonical(running), _canonical(wanted)
    differences = []
    if ("insecure" in running) != ("insecure" in wanted):
        modes = ("mutual TLS", "insecure")
        differences.append(f"mode {modes['insecure' in running]} -> {modes['insecure' in wanted]}")
    names = {"port": "port", "certificate-directory": "wallet", "pid-file": "pid file", "rate limit": "rate limit"}
    for key, name in names.items():
        if running.get(key) != wanted.get(key):
            differences.append(f"{name} {running.get(key) or 'not given'} -> {wanted.get(key) or 'not given'}")
    for key in sorted((set(running) | set(wanted)) - set(names) - {"insecure"}):
        if key not in wanted or key not in running or running[key] != wanted[key]:
            differences.append(f"argument {_spelled(running, key)} -> {_spelled(wanted, key)}")
    return differences


def inspect(wanted: Wanted, settle: float = 0.0) -> ProcessState:
    """Find the exporter's process, tell whether it is ours, and how it differs from what is wanted. Nothing is changed.

    :param settle: a process younger than this many seconds may still be starting: it is waited for until it listens
        or is that old.
    :raises TimesTenError: if the pid file cannot be trusted (link, directory that others can write to, content), or
        if it cannot be told which process it is.
    """
    while True:
        state = _inspect(wanted)
        if state.status != RUNNING or state.listening or state.age is None or state.age >= settle:
            return state
        time.sleep(0.1)


def _inspect(wanted: Wanted, since: int | None = None) -> ProcessState:
    """Do what :func:`inspect` does, once.

    :param since: start ticks from which on a process that the pid file names is the one that we have just started,
        whatever it calls itself.
    """
    named, note = _read_pid_file(wanted.pid_file)
    record = read_state(wanted.state_file)
    boot = boot_id()
    everyone = processes()
    process, why, started_with = None, note, None
    if named is not None:
        candidate = everyone.get(named)
        if candidate is None:
            why = f"{wanted.pid_file} names process {named}, which does not exist"
        elif candidate.uid == os.geteuid() and is_recorded(candidate, record, boot):
            process, why = candidate, f"process {named} is the one that was started and recorded"
        elif candidate.uid == os.geteuid() and since is not None and candidate.start_ticks >= since:
            process, why = candidate, f"process {named} has just been started"
            started_with = wanted.utility.argv(*wanted.arguments)
        else:
            verdict, text = _judge(candidate, wanted)
            why = f"{wanted.pid_file} names process {named}: {text}"
            if verdict == FOREIGN:
                return ProcessState(
                    FOREIGN, f"{why}; stop it as {candidate.owner} (or root), and remove the pid file", candidate
                )
            process = candidate if verdict == RUNNING else None
    adopted = False
    if process is None:
        process, text = _find(wanted, record, boot, everyone)
        if process is not None:
            why, adopted = f"{why}; {text}", True
    if process is None:
        holder = port_holder(wanted.port)
        if holder is not None:
            why = f"{why}; port {wanted.port} is held by {holder}"
        return ProcessState(STOPPED, why, port_holder=holder, stale_pid_file=os.path.lexists(wanted.pid_file))
    recorded = record if is_recorded(process, record, boot) else None
    if recorded is not None:
        started_with = [str(argument) for argument in recorded.get("argv") or ()]
    members = [member.pid for member in family(process, everyone)]
    holder = port_holder(wanted.port, members)
    listening = _listens(members, wanted.port)
    drift, directory = _drift(process, wanted, recorded, started_with or ())
    managed = manager(process.pid)
    if wanted.unit is not None and managed != wanted.unit:
        drift.append(f"it is not run by {wanted.unit}")
    if holder is not None:
        drift.append(f"port {wanted.port} is held by {holder}")
    if not listening:
        drift.append(f"it does not listen on port {wanted.port}")
    return ProcessState(
        RUNNING,
        why,
        process,
        tuple(drift),
        holder,
        listening,
        age=_age(process),
        adopted=adopted,
        stale_pid_file=adopted and os.path.lexists(wanted.pid_file),
        manager=managed,
        certificate_directory=directory,
    )


def _read_pid_file(path: str) -> tuple[int | None, str]:
    directory = os.path.dirname(path)
    try:
        check_private(directory, os.stat(directory))
    except FileNotFoundError:
        return None, f"there is no pid file {path}"
    except OSError as error:
        raise TimesTenError(f"pid_file: cannot look into {directory}: {error.strerror}") from error
    try:
        pid = parse_pid(_files.read(path, _PID_FILE_LIMIT), path)
    except FileNotFoundError:
        return None, f"there is no pid file {path}"
    except TimesTenError as error:
        if isinstance(error.__cause__, PermissionError):
            owner = user_name(os.lstat(path).st_uid)
            raise TimesTenError(
                f"pid_file: {path} belongs to {owner} and cannot be read by {user_name(os.geteuid())}: {owner} "
                f"may run the exporter; run as {owner}, "
                "or stop that exporter and remove the file"
            ) from error
        raise TimesTenError(f"pid_file: {error.message}") from error
    except OSError as error:
        raise TimesTenError(f"pid_file: cannot read {path}: {error.strerror}") from error
    return pid, f"the pid file {path} is empty" if pid is None else ""


def check_private(directory: str, info: os.stat_result) -> None:
    """:raises TimesTenError: if other users can put a pid file into a directory; a sticky bit (/tmp) does not help,
    they can come first.
    """
    me = os.geteuid()
    problem = None
    if info.st_uid not in (0, me):
        problem = f"belongs to {user_name(info.st_uid)}"
    elif info.st_mode & stat.S_IWOTH:
        problem = "can be written to by every user"
    elif info.st_mode & stat.S_IWGRP and not _own_group(info.st_gid):
        problem = "can be written to by its group"
    if problem is not None:
        raise TimesTenError(
            f"pid_file: {directory} {problem} (mode {stat.S_IMODE(info.st_mode):04o}), so anybody there can name "
            "a process to be stopped; "
            "leave pid_file out (it is then in the exporter's own directory) or name a directory that only "
            f"{user_name(me)} can write to"
        )


def _own_group(gid: int) -> bool:
    """Tell whether a group is the caller's private one (same name, no other member), as many systems give each user."""
    try:
        account, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return gid == account.pw_gid and group.gr_name == account.pw_name and set(group.gr_mem) <= {account.pw_name}


def _judge(process: Process, wanted: Wanted) -> tuple[str, str]:
    """Tell by owner and command line whether a process that the pid file names is the exporter of that pid file."""
    options = exporter_options(process.argv)
    if options is None:
        return STOPPED, f"that is {process.command}, the number was used again"
    pid_file = options.get("pid-file")
    ours = _same_path(process, pid_file, wanted.pid_file) if pid_file else options.get("port") == str(wanted.port)
    if not ours:
        return STOPPED, f"that is another exporter ({process.command}), the number was used again"
    if process.uid != os.geteuid():
        return FOREIGN, f"that exporter is run by {process.owner}, not by {user_name(os.geteuid())}"
    return RUNNING, "told by owner and command line"


def _find(
    wanted: Wanted, record: Mapping[str, Any] | None, boot: str, everyone: Mapping[int, Process]
) -> tuple[Process | None, str]:
    """Find our exporter without the help of its pid file.

    :raises TimesTenError: if there is more than one.
    """
    mine = {pid: process for pid, process in everyone.items() if process.uid == os.geteuid()}
    for process in mine.values():
        if is_recorded(process, record, boot):
            return process, f"process {process.pid} is the one that was started and recorded"
    found = {}
    for process in mine.values():
        options = exporter_options(process.argv)
        if options is None:
            continue
        pid_file = options.get("pid-file")
        if (pid_file and _same_path(process, pid_file, wanted.pid_file)) or (
            options["port"] == str(wanted.port)
            and not _belongs_elsewhere(process, pid_file, wanted)
            and _listens([member.pid for member in family(process, everyone)], wanted.port)
        ):
            found[process.pid] = process
    # A wrapper and the exporter that it waits for have the same arguments: the innermost one is meant.
    parents = {process.parent for process in found.values()}
    innermost = [process for process in found.values() if process.pid not in parents]
    holding = [process for process in innermost if _listens([process.pid], wanted.port)] or innermost
    if len(holding) > 1:
        listed = ", ".join(f"{process.pid} ({process.command})" for process in holding)
        raise TimesTenError(f"several processes may be this exporter: {listed}; end those that are not wanted")
    if not holding:
        return None, ""
    return holding[0], f"process {holding[0].pid} ({holding[0].command}) is told by owner and command line"


def _belongs_elsewhere(process: Process, pid_file: str | None, wanted: Wanted) -> bool:
    """Tell whether an exporter on our port is another exporter's: of another instance, or with a state file of its
    own.
    """
    home = _environment(process.pid).get("TIMESTEN_HOME")
    if home is not None and os.path.realpath(home) != os.path.realpath(wanted.utility.timesten_home):
        return True
    if not pid_file:
        return False
    state_file = os.path.join(os.path.dirname(_resolve(process, pid_file)), os.path.basename(wanted.state_file))
    return os.path.lexists(state_file) and state_file != os.path.realpath(wanted.state_file)


def _drift(
    process: Process, wanted: Wanted, record: Mapping[str, Any] | None, started_with: Sequence[str]
) -> tuple[list[str], str | None]:
    """Return the differences from what is wanted, and the wallet's directory that the process was started with."""
    # A child under a name of its own: what it was started with holds.
    options = exporter_options(process.argv) or exporter_options(started_with)
    if options is None:
        return ["its command line cannot be read"], None
    running, asked = dict(options), wanted.options
    drift = []
    directory = running.get("certificate-directory")
    for name in ("certificate-directory", "pid-file"):
        if running.get(name):
            running[name] = _resolve(process, str(running[name]))
        if asked.get(name):
            asked[name] = os.path.realpath(str(asked[name]))
    resolved = running.get("certificate-directory")
    drift += compare_options(running, asked)
    if directory and resolved == asked.get("certificate-directory") and os.path.islink(_located(process, directory)):
        drift.append(f"wallet: it was started through the link {directory}, so what it serves cannot be told")
    variables = _environment(process.pid)
    home = variables.get("TIMESTEN_HOME")
    if home is not None and os.path.realpath(home) != os.path.realpath(wanted.utility.timesten_home):
        drift.append(f"timesten_home {home} -> {wanted.utility.timesten_home}")
    if record is not None and record.get("environment_sha256") is not None:
        if record["environment_sha256"] != wanted.utility.environment_sha256():
            drift.append("environment")
    elif variables:
        # ttenv may have changed a value, but has no reason to drop one.
        missing = sorted(set(wanted.utility.environment) - set(variables))
        if missing:
            drift.append(f"environment: {', '.join(missing)} not set")
        elif _scripted_environment(wanted.run_file) not in (None, wanted.utility.environment_sha256()):
            # Started at boot, by the script of an earlier run.
            drift.append("environment")
    if _replaced(process, wanted, record):
        drift.append("ttExporter was replaced since the start")
    return drift, resolved


def _scripted_environment(run_file: str) -> str | None:
    with contextlib.suppress(FileNotFoundError, TimesTenError):
        for line in _files.read(run_file).decode("utf-8", "replace").splitlines():
            if line.startswith(ENVIRONMENT_MARK):
                return line[len(ENVIRONMENT_MARK) :]
    return None


def _replaced(process: Process, wanted: Wanted, record: Mapping[str, Any] | None) -> bool:
    """Tell whether the utility was upgraded under the running process. Without a record only a true executable shows
    it, not a script.
    """
    if record is not None and record.get("executable") is not None:
        # An instance that was removed has no other version to restart with.
        with contextlib.suppress(TimesTenError):
            return bool(record["executable"] != list(wanted.utility.executable_identity()))
    with contextlib.suppress(OSError):
        return os.path.basename(os.readlink(f"/proc/{process.pid}/exe")) == f"{_ttexporter_cli.PROGRAM} (deleted)"
    return False


def _canonical(options: Mapping[str, str | None]) -> dict[str, str | None]:
    rate = _ttexporter_cli.find_rate_option(options)
    return {"rate limit" if name == rate else name: value for name, value in options.items()}


def _spelled(options: Mapping[str, str | None], name: str) -> str:
    if name not in options:
        return "not given"
    return f"-{name}" if options[name] is None else f"-{name} {options[name]}"


def _located(process: Process, path: str) -> str:
    """Return an absolute path for one of a process's command line; it may be relative to that process's directory."""
    if os.path.isabs(path):
        return path
    try:
        return os.path.join(os.readlink(f"/proc/{process.pid}/cwd"), path)
    except OSError:
        return path


def _resolve(process: Process, path: str) -> str:
    return os.path.realpath(_located(process, path))


def _same_path(process: Process, path: str, other: str) -> bool:
    return _resolve(process, path) == os.path.realpath(other)


def _environment(pid: int) -> dict[str, str]:
    """Return the variables that a process was started with; empty where we may not look."""
    try:
        pairs = (item.partition("=") for item in _proc_text(pid, "environ").split("\0") if "=" in item)
        return {name: value for name, _equals, value in pairs}
    except OSError:
        return {}


def _listens(pids: Iterable[int], port: int) -> bool:
    inodes = set(listeners(port))
    return bool(inodes) and any(sockets(pid) & inodes for pid in pids)


def _age(process: Process) -> float:
    with open("/proc/uptime", encoding="ascii") as stream:
        uptime = float(stream.read().split()[0])
    return max(0.0, uptime - process.start_ticks / os.sysconf("SC_CLK_TCK"))


# ---------------------------------------------------------------------------------------------------------------------
# Start and stop

Ready = Callable[[], "str | None"]
"""A proof beyond the listening port, for example a handshake: None if it holds, else what is missing, in people's
words.
"""


def wait_until(condition: Ready, timeout: float, over: Callable[[], bool] = lambda: False) -> str | None:
    """Wait until a condition returns None, at most ``timeout`` seconds; return its last answer. It is asked at least
    once.

    :param over: whether waiting longer makes no sense.
    """
    deadline = time.monotonic() + timeout
    pause = 0.02
    while True:
        missing = condition()
        if missing is None or over() or time.monotonic() >= deadline:
            return missing
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


def start(wanted: Wanted, ready: Ready | None = None, timeout: float = 30.0) -> ProcessState:
    """Start the exporter, wait until it serves, and record it. It outlives this process and its terminal.

    :param ready: asked once the port listens.
    :raises TimesTenError: if it runs already, somebody holds the port, it ends at once or is not ready in time; what
        was started is then ended again.
    """
    before = inspect(wanted)
    if before.status != STOPPED:
        raise TimesTenError(f"cannot start the exporter on port {wanted.port}: {before.why}")
    if before.port_holder is not None:
        raise TimesTenError(
            f"cannot start the exporter on port {wanted.port}: the port is held by {before.port_holder}; end "
            "that, or choose another port"
        )
    wanted.utility.check()
    if wanted.unit is not None:
        return _start_by_unit(wanted, wanted.unit, ready, timeout)
    if before.stale_pid_file:
        try:
            os.unlink(wanted.pid_file)
        except OSError as error:
            raise TimesTenError(f"pid_file: cannot remove the stale {wanted.pid_file}: {error.strerror}") from error
    log, offset = _open_log(wanted.log_file)
    command = wanted.utility.argv(*wanted.arguments)
    try:
        child = subprocess.Popen(
            command,
            cwd="/",
            env=wanted.utility.full_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: _ttexporter_cli.prepare_child(0o077),  # noqa: PLW1509 - one thread
        )
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise TimesTenError(f"cannot run {shlex.join(command)}: {error}", cmd=command) from error
    finally:
        os.close(log)
    # Not reaped yet, whatever became of it, so this is its own entry.
    began = parse_stat(_proc_text(child.pid, "stat"))[3]
    found: list[ProcessState] = []

    def missing() -> str | None:
        status = child.poll()
        if status:
            return f"it {_ended(status)}"
        try:
            state = _inspect(wanted, since=began)
        except TimesTenError as error:
            # While it detaches there may be several of it.
            return error.message
        if state.process is None and status == 0:
            return f"it ended with exit status 0, and no exporter runs: {state.why}"
        if not os.path.lexists(wanted.pid_file):
            return "it has not written its pid file"
        if state.process is None or state.process.start_ticks < began:
            return state.why
        if state.adopted:
            return f"its pid file does not name it: {state.why}"
        if state.port_holder is not None:
            return f"port {wanted.port} is also held by {state.port_holder}"
        if not state.listening:
            return f"process {state.pid} does not listen on port {wanted.port}"
        found[:] = [state]
        return None if ready is None else ready()

    try:
        problem = wait_until(missing, timeout, over=lambda: bool(child.poll()))
        if problem is None:
            state = found[0]
            write_state(wanted, state, wanted.utility.environment_sha256())
            _children.append(child)
            return state
    except BaseException:
        _end_half_started(wanted, child, began)
        raise
    failed = child.poll()
    if failed:
        problem = f"it {_ended(failed)}"
    _end_half_started(wanted, child, began)
    lines = _log_lines(wanted.log_file, offset)
    raise TimesTenError(
        f"the exporter on port {wanted.port} "
        + (
            f"did not start: {problem}"
            if failed
            else f"was not ready within {timeout:g} s and was stopped again: {problem}"
        )
        + (f"; it said: {' | '.join(lines)}" if lines else "; it said nothing")
        + f"; the log is {wanted.log_file}",
        cmd=command,
        rc=failed,
        log=lines,
    )


_children: list[subprocess.Popen[bytes]] = []
"""Exporters that stayed in the foreground: forgetting one would warn, and leave a zombie until this process ends."""


def stop(
    wanted: Wanted, state: ProcessState, stop_signal: str = "TERM", timeout: float = 10.0, force_kill: bool = False
) -> str:
    """Stop the exporter that :func:`inspect` found, wait until it is gone and its port is free, and return how it
    ended.

    :param stop_signal: ``TERM`` or ``INT``.
    :param force_kill: whether SIGKILL may follow when the time is up.
    :raises TimesTenError: if systemd would bring it back, or if it does not end.
    """
    if state.status != RUNNING or state.process is None:
        raise TimesTenError(f"cannot stop the exporter on port {wanted.port}: {state.why}")
    if state.manager is not None and state.manager != wanted.unit:
        raise TimesTenError(
            f"the exporter on port {wanted.port} (process {state.pid}) is run by the systemd unit "
            f"{state.manager}, which would bring it back; "
            f"as root: systemctl disable --now {state.manager}"
        )
    if wanted.unit is not None:
        remove_script(wanted.run_file)
    # The one that it was started with may be another one.
    given = (exporter_options(state.process.argv) or {}).get("pid-file") or wanted.pid_file
    pid_files = {wanted.pid_file, _resolve(state.process, given)}
    how = _end(state.process, stop_signal, timeout, force_kill)
    for path in pid_files:
        _remove_pid_file(path, state.process.pid)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(wanted.state_file)
    return how


def restart(
    wanted: Wanted,
    state: ProcessState,
    ready: Ready | None = None,
    start_timeout: float = 30.0,
    stop_signal: str = "TERM",
    stop_timeout: float = 10.0,
    force_kill: bool = False,
) -> ProcessState:
    """Stop the exporter that :func:`inspect` found, and start it as wanted; one that systemd runs is signalled, and
    systemd's new one awaited.

    :raises TimesTenError: as :func:`start` and :func:`stop`; before the old one is touched if somebody else holds the
        wanted port.
    """
    if state.status != RUNNING or state.process is None:
        raise TimesTenError(f"cannot restart the exporter on port {wanted.port}: {state.why}")
    if state.port_holder is not None:
        raise TimesTenError(
            f"cannot restart the exporter on port {wanted.port}: the port is held by {state.port_holder}; end "
            "that, or choose another port; "
            f"process {state.pid} was left as it is"
        )
    if state.manager is None or wanted.unit not in (None, state.manager):
        wanted.utility.check()
        stop(wanted, state, stop_signal, stop_timeout, force_kill)
        return start(wanted, ready, start_timeout)
    if wanted.unit is not None and wanted.script is not None:
        write_script(wanted.run_file, wanted.script)
    _end(state.process, stop_signal, stop_timeout, force_kill)
    now, problem = _await_unit(wanted, ready, start_timeout, state.process)
    if now is None:
        raise TimesTenError(
            f"process {state.pid} on port {wanted.port} was ended for a restart, but the systemd unit "
            f"{state.manager} did not bring it back as wanted "
            f"within {start_timeout:g} s: {problem}; look at: systemctl status {state.manager}"
        )
    return now


def _start_by_unit(wanted: Wanted, unit: str, ready: Ready | None, timeout: float) -> ProcessState:
    """Let systemd start the exporter, which it does when the file ``start`` is written."""
    if wanted.script is None:
        raise ValueError("no script for the unit to run")
    write_script(wanted.run_file, wanted.script)
    _files.write(os.path.join(os.path.dirname(wanted.run_file), "start"), b"")
    found, problem = _await_unit(wanted, ready, timeout)
    if found is None:
        raise TimesTenError(
            f"the systemd unit {unit} did not start the exporter on port {wanted.port} as wanted within {timeout:g} s: {problem}; "
            f"the log is {wanted.log_file}; look also at: systemctl status {unit}"
        )
    return found


def _await_unit(
    wanted: Wanted, ready: Ready | None, timeout: float, ended: Process | None = None
) -> tuple[ProcessState | None, str | None]:
    """Wait until a unit runs the exporter as wanted, and record it; return it, or None and what is missing.

    :param ended: the process in whose place it is expected.
    """
    found: list[ProcessState] = []

    def missing() -> str | None:
        try:
            now = inspect(wanted)
        except TimesTenError as error:
            return error.message
        if now.process is None:
            return now.why
        if ended is not None and (now.process.pid, now.process.start_ticks) == (ended.pid, ended.start_ticks):
            return f"process {now.pid} is still there"
        if now.drift:
            return f"process {now.pid} differs: {', '.join(now.drift)}"
        found[:] = [now]
        return None if ready is None else ready()

    problem = wait_until(missing, timeout)
    if problem is not None:
        return None, problem
    # What another unit sets as environment is not known.
    write_state(wanted, found[0], None if wanted.unit is None else wanted.utility.environment_sha256())
    return found[0], None


def write_script(path: str, text: str) -> None:
    """Write a start script, which holds the values of the environment: nobody else may read it."""
    data = text.encode("utf-8", "surrogateescape")
    with contextlib.suppress(FileNotFoundError):
        # A flush to disk may take as long as the restart that it comes before.
        if _files.read(path) == data:
            return
    _files.write(path, data, 0o700)


def remove_script(path: str) -> None:
    """Remove a start script: from now on nothing starts the exporter at boot, and its unit does not bring it back."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def write_state(wanted: Wanted, state: ProcessState, environment_sha256: str | None) -> None:
    """Write ``state.json``: which process this is and what it was started with.

    :param environment_sha256: None where somebody else started it, so that it is not known.
    """
    if state.process is None:
        raise ValueError("no process to record")
    _files.write_json(
        wanted.state_file,
        {
            "pid": state.process.pid,
            "start_ticks": state.process.start_ticks,
            "boot_id": boot_id(),
            "argv": wanted.utility.argv(*wanted.arguments),
            "certificate_directory": state.certificate_directory,
            "environment_sha256": environment_sha256,
            "executable": list(wanted.utility.executable_identity()),
        },
    )


def send_signal(process: Process, number: int) -> bool:
    """Send a signal to exactly this process, if it is still the one that was seen; tell whether it was there.

    :raises TimesTenError: if it is not ours to signal.
    """
    handle = None
    # Python 3.9 and Linux 5.3 have it: whatever takes the number between check and signal is then not hit.
    pidfd_open: Any = getattr(os, "pidfd_open", None)
    pidfd_send: Any = getattr(signal, "pidfd_send_signal", None)
    if pidfd_open is not None and pidfd_send is not None:
        with contextlib.suppress(OSError):
            handle = pidfd_open(process.pid)
    try:
        now = read_process(process.pid)
        if now is None or (now.start_ticks, now.uid) != (process.start_ticks, process.uid):
            return False
        if handle is not None:
            pidfd_send(handle, number)
        else:
            os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    except PermissionError as error:
        raise TimesTenError(
            f"{user_name(os.geteuid())} may not signal process {process.pid} of {process.owner} "
            f"({process.command}); run as {process.owner}"
        ) from error
    finally:
        if handle is not None:
            os.close(handle)
    return True


def _alive(process: Process) -> bool:
    now = read_process(process.pid)
    return now is not None and now.start_ticks == process.start_ticks


def _end(process: Process, stop_signal: str, timeout: float, force_kill: bool) -> str:
    """Signal a process and wait until it is gone and nobody of its family listens any more."""
    members = family(process, processes())
    held = {inode for member in members for inode in sockets(member.pid)} & set(listeners())

    def missing() -> str | None:
        for child in _children:
            child.poll()
        if _alive(process):
            return f"process {process.pid} ({process.command}) is still there"
        left = held & set(listeners())
        if not left:
            return None
        holders = [member for member in members if _alive(member) and sockets(member.pid) & left]
        if holders:
            return f"process {holders[0].pid} ({holders[0].command}), which it started, still listens"
        return "its port still listens"

    send_signal(process, {"TERM": signal.SIGTERM, "INT": signal.SIGINT}[stop_signal])
    problem = wait_until(missing, timeout)
    if problem is None:
        return f"stopped by SIG{stop_signal}"
    if force_kill:
        for member in members:
            send_signal(member, signal.SIGKILL)
        problem = wait_until(missing, _CLEANUP_TIMEOUT)
        if problem is None:
            return f"killed: it did not end within {timeout:g} s of SIG{stop_signal}"
        raise TimesTenError(
            f"SIG{stop_signal} and SIGKILL did not end the exporter: {problem}; it may hang in the kernel: look "
            "at its state in ps"
        )
    raise TimesTenError(
        f"the exporter did not end within {timeout:g} s of SIG{stop_signal}: {problem}; give it longer "
        "(stop_timeout), or set force_kill to true"
    )


def _end_half_started(wanted: Wanted, child: subprocess.Popen[bytes], began: int) -> None:
    """End everything that one unsuccessful start left: the command, its children, and an exporter that detached."""

    def left() -> list[Process]:
        reaped = child.poll() is not None
        everyone = processes()
        # As long as anybody is in its session, a command's number is not used again.
        session = None if reaped and child.pid in everyone else child.pid
        roots = [
            process
            for process in everyone.values()
            if process.start_ticks >= began
            and process.uid == os.geteuid()
            and (process.session == session or names_our_pid_file(process))
        ]
        found = {member.pid: member for root in roots for member in family(root, everyone)}
        return [process for process in found.values() if process.start_ticks >= began]

    def names_our_pid_file(process: Process) -> bool:
        given = (exporter_options(process.argv) or {}).get("pid-file")
        return given is not None and _same_path(process, given, wanted.pid_file)

    signalled: set[tuple[int, int]] = set()

    def missing(number: int) -> str | None:
        processes_left = left()
        for process in processes_left:
            # One that was being forked while the others were signalled shows up late.
            if (process.pid, number) not in signalled:
                signalled.add((process.pid, number))
                send_signal(process, number)
        return "some are left" if processes_left else None

    if wait_until(lambda: missing(signal.SIGTERM), _CLEANUP_TIMEOUT) is not None:
        wait_until(lambda: missing(signal.SIGKILL), _CLEANUP_TIMEOUT)
    child.wait()
    with contextlib.suppress(TimesTenError, FileNotFoundError):
        pid = parse_pid(_files.read(wanted.pid_file, _PID_FILE_LIMIT), wanted.pid_file)
        if pid is None or read_process(pid) is None:
            os.unlink(wanted.pid_file)


def _remove_pid_file(path: str, pid: int) -> None:
    """Remove the pid file of a process that we ended, unless somebody else wrote it again."""
    with contextlib.suppress(FileNotFoundError):
        if parse_pid(_files.read(path, _PID_FILE_LIMIT), path) == pid:
            os.unlink(path)


def _ended(status: int) -> str:
    if status < 0:
        return f"was ended by signal {-status} ({signal.strsignal(-status)})"
    return f"ended with exit status {status}"


def _open_log(path: str) -> tuple[int, int]:
    """Open the log for appending and return (descriptor, size); a large one is renamed first."""
    try:
        with contextlib.suppress(FileNotFoundError):
            info = os.lstat(path)
            if stat.S_ISREG(info.st_mode) and info.st_size > LOG_LIMIT:
                os.rename(path, f"{path}.1")
        descriptor = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        raise TimesTenError(
            f"log_file: cannot open {path}: {error.strerror}; it has to be a regular file, no link, in an "
            "existing directory"
        ) from error
    info = os.fstat(descriptor)
    if not stat.S_ISREG(info.st_mode):
        os.close(descriptor)
        raise TimesTenError(f"log_file: {path} is not a regular file")
    return descriptor, info.st_size


def _log_lines(path: str, offset: int) -> list[str]:
    """Return the last lines, at most five, that this start wrote."""
    with open(path, "rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(offset, size - 4096))
        text = stream.read().decode("utf-8", "replace")
    lines = ["".join(character for character in line if character.isprintable()).strip() for line in text.splitlines()]
    return [line[:300] for line in lines if line][-5:]
