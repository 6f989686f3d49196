# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads processes and listening sockets from /proc, and signals exactly one process."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import re
import shlex
import signal
import time
from typing import Any, Callable, Iterable, Iterator, Mapping

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError

_LISTEN = "0A"


@dataclasses.dataclass(frozen=True)
class Process:
    """One running process.

    :ivar uid: effective user.
    :ivar start_ticks: its start in clock ticks since boot. With the pid and the boot id it identifies the process.
    """

    pid: int
    parent: int
    session: int
    start_ticks: int
    uid: int
    argv: tuple[str, ...]

    @property
    def owner(self) -> str:
        """Return the user's name, or the number if it has none."""
        return user_name(self.uid)

    @property
    def command(self) -> str:
        """Return the program and its arguments up to the first option; later arguments may be secret."""
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


def proc_text(pid: int, name: str) -> str:
    """Return the text of a file in /proc/<pid>.

    :raises OSError: if the process is gone, or its files may not be read.
    """
    with open(f"/proc/{pid}/{name}", encoding="utf-8", errors="surrogateescape") as stream:
        return stream.read()


def read_process(pid: int) -> Process | None:
    """Return a process, or None if there is none. A zombie does not count, nor does the number of a thread."""
    try:
        state, parent, session, start_ticks = parse_stat(proc_text(pid, "stat"))
        thread_group, uid = parse_status(proc_text(pid, "status"))
        argv = proc_text(pid, "cmdline")
    except (OSError, ValueError, IndexError):
        return None
    if state in "ZXx" or thread_group != pid:
        return None
    return Process(pid, parent, session, start_ticks, uid, tuple(argv.split("\0")[:-1]))


def processes() -> dict[int, Process]:
    """Return all running processes that are visible."""
    found = (read_process(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {process.pid: process for process in found if process is not None}


def is_alive(process: Process) -> bool:
    """Tell whether this process still runs, and not another one with its pid."""
    now = read_process(process.pid)
    return now is not None and now.start_ticks == process.start_ticks


def is_recorded(process: Process, record: Mapping[str, Any] | None, boot: str) -> bool:
    """Tell whether a process is the recorded one, and not a later one with its pid."""
    return record is not None and (record["pid"], record["start_ticks"], record["boot_id"]) == (
        process.pid,
        process.start_ticks,
        boot,
    )


def boot_id() -> str:
    """Return the id of this boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        return stream.read().strip()


def age(process: Process) -> float:
    """Return the seconds since a process began."""
    with open("/proc/uptime", encoding="ascii") as stream:
        uptime = float(stream.read().split()[0])
    return max(0.0, uptime - process.start_ticks / os.sysconf("SC_CLK_TCK"))


def user_name(uid: int) -> str:
    """Return the name of a user, or the number if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def environment(pid: int) -> dict[str, str]:
    """Return the environment variables at the start of a process; empty if they may not be read."""
    try:
        pairs = (item.partition("=") for item in proc_text(pid, "environ").split("\0") if "=" in item)
        return {name: value for name, _equals, value in pairs}
    except OSError:
        return {}


def ignores(pid: int, number: int) -> bool:
    """Tell whether a process ignores a signal."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = proc_text(pid, "status").splitlines()
        mask = int(next(line for line in lines if line.startswith("SigIgn:")).split()[1], 16)
        return bool(mask >> number - 1 & 1)
    return False


# ---------------------------------------------------------------------------------------------------------------------
# Sockets


@dataclasses.dataclass(frozen=True)
class Listener:
    """A listening TCP socket."""

    inode: int
    port: int
    uid: int


def parse_listeners(text: str) -> Iterator[Listener]:
    """Yield the listening sockets in the text of /proc/net/tcp or tcp6."""
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _LISTEN:
            yield Listener(int(fields[9]), int(fields[1].rsplit(":", 1)[1], 16), int(fields[7]))


def all_listeners() -> list[Listener]:
    """Return the listening TCP sockets, IPv4 and IPv6."""
    found: list[Listener] = []
    for name in ("tcp", "tcp6"):
        # A host without IPv6 has no tcp6.
        with contextlib.suppress(FileNotFoundError), open(f"/proc/self/net/{name}", encoding="ascii") as stream:
            found += parse_listeners(stream.read())
    return found


def listeners(port: int | None = None) -> dict[int, int]:
    """Return uid by inode of the listening TCP sockets, for one port or all."""
    return {one.inode: one.uid for one in all_listeners() if port in (None, one.port)}


def sockets(pid: int) -> set[int]:
    """Return the inodes of a process's open sockets; empty if they may not be read."""
    found = set()
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/{pid}/fd/{name}")
                if target.startswith("socket:["):
                    found.add(int(target[8:-1]))
    return found


class Snapshot:
    """All processes and listening sockets at one moment, read once for a whole call.

    :ivar processes: the processes by pid.
    """

    def __init__(self) -> None:
        self.boot_id = boot_id()
        self.processes = processes()
        self._listeners = all_listeners()
        self._sockets: dict[int, set[int]] = {}

    def sockets(self, pid: int) -> set[int]:
        """Return the inodes of a process's open sockets."""
        if pid not in self._sockets:
            self._sockets[pid] = sockets(pid)
        return self._sockets[pid]

    def listens(self, pids: Iterable[int], port: int) -> bool:
        """Tell whether any of these processes listens on a port."""
        inodes = {one.inode for one in self._listeners if one.port == port}
        return bool(inodes) and any(self.sockets(pid) & inodes for pid in pids)

    def holders(self, port: int, but_not: Iterable[int] = ()) -> tuple[list[Process], list[str]]:
        """Return the processes that listen on a port, and the users of those that are not visible.

        :param but_not: pids to ignore.
        """
        left = {one.inode: one.uid for one in self._listeners if one.port == port}
        for pid in but_not if left else ():
            for inode in self.sockets(pid):
                left.pop(inode, None)
        found: list[Process] = []
        for process in self.processes.values() if left else ():
            held = self.sockets(process.pid) & set(left)
            if held:
                found.append(process)
        seen = {inode for process in found for inode in self.sockets(process.pid)}
        return found, sorted({user_name(uid) for inode, uid in left.items() if inode not in seen})


# ---------------------------------------------------------------------------------------------------------------------
# Signals, and waiting


def send_signal(process: Process, number: int) -> bool:
    """Send a signal to exactly this process. Return whether it was still running.

    :raises TimesTenError: if this user may not signal it.
    """
    handle = None
    # Python 3.9 and Linux 5.3 have pidfd. It never hits another process that gets the pid between check and signal.
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


Condition = Callable[[], "str | None"]
"""Returns None if the condition is met, else what is missing, for messages."""


def wait_until(condition: Condition, timeout: float, over: Callable[[], bool] = lambda: False) -> str | None:
    """Wait until a condition returns None, at most ``timeout`` seconds. Return its last answer. The condition is called
    at least once.

    :param over: tells whether waiting longer is pointless.
    """
    deadline = time.monotonic() + timeout
    pause = 0.02
    while True:
        missing = condition()
        if missing is None or over() or time.monotonic() >= deadline:
            return missing
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
