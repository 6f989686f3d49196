# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the process that is the exporter.

A pid in a file proves nothing, because another process may have that number by now. A process is ours if it began when
``state.json`` says. If there is no record (somebody started it by hand), it is ours if its owner and the values in its
command line are ours. If it also rewrote its command line, it is ours if it is older than the pid file that names it
and listens on our port. The name of the program is never used.
"""

from __future__ import annotations

import dataclasses
import os
import time
from typing import Any, Iterable, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import utility as _utility
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.layout import Layout
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.command_line import (
    described,
    exporter_options,
    is_named,
    resolved,
    same_path,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.drift import Drift, find_drift
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.pid_file import (
    read_pid_file,
    written_at,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.machine import systemd
from ansible_collections.timesten.monitoring.plugins.module_utils.machine.processes import (
    Process,
    Snapshot,
    age,
    environment,
    is_recorded,
    user_name,
)

RUNNING = "running"
STOPPED = "stopped"
FOREIGN = "foreign"

_CLOCK_TOLERANCE = 2.0
"""The time of a file and the start of a process may differ by so many seconds."""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The process that should run.

    :ivar arguments: from :func:`exporter.utility.start_arguments`, with absolute paths.
    :ivar state_file: path of ``state.json`` in the exporter's directory.
    :ivar unit: the systemd unit that has to run ``script``; None if systemd is not used.
    :ivar script: text of the start script; None if there is none.
    :ivar takes: a process that somebody else started and that this one replaces.
    """

    utility: _utility.Utility
    arguments: Sequence[str]
    state_file: str
    log_file: str
    unit: str | None = None
    script: str | None = None
    takes: Process | None = None

    @property
    def run_file(self) -> str:
        """Return the path of the start script; the unit runs the exporter only while it exists."""
        return os.path.join(os.path.dirname(self.state_file), "run")

    @property
    def options(self) -> dict[str, str | None]:
        """Return the arguments as a mapping of options."""
        return _utility.parse_options(self.arguments)

    @property
    def port(self) -> int:
        """Return the TCP port."""
        return int(self.options["port"] or 0)

    @property
    def pid_file(self) -> str:
        """Return the path of the pid file."""
        return str(self.options["pid-file"])


@dataclasses.dataclass(frozen=True)
class ProcessState:
    """The exporter's process as it is now.

    :ivar status: ``running``: our exporter runs (see ``drift``). ``stopped``: it does not run. ``foreign``: another
        user runs an exporter on our pid file.
    :ivar why: the evidence for the status, for messages.
    :ivar drift: differences from the wanted process; each is a reason for a restart.
    :ivar port_holder: description of another process that listens on the wanted port.
    :ivar held_by_neighbour: whether that process is another exporter of this collection, with its own directory.
    :ivar listening: whether this exporter listens on the wanted port.
    :ivar age: seconds since the process began.
    :ivar adopted: whether it was identified although the pid file does not name it.
    :ivar stale_pid_file: whether there is a pid file that names no exporter of ours.
    :ivar manager: the systemd unit that starts the process again when it ends.
    :ivar starting: whether that unit is still starting it.
    :ivar certificate_directory: the wallet's directory at the start of the process.
    """

    status: str
    why: str
    process: Process | None = None
    drift: tuple[str, ...] = ()
    port_holder: str | None = None
    held_by_neighbour: bool = False
    listening: bool = False
    age: float | None = None
    adopted: bool = False
    stale_pid_file: bool = False
    manager: str | None = None
    starting: bool = False
    certificate_directory: str | None = None

    @property
    def pid(self) -> int | None:
        """Return the pid, or None."""
        return None if self.process is None else self.process.pid


def read_state(path: str) -> dict[str, Any] | None:
    """Return the content of ``state.json``. None if it is missing, damaged or not ours: owner and command line then
    identify the process.
    """
    try:
        record = files.read_json(path)
    except TimesTenError:
        return None
    if record is None or not all(isinstance(record.get(key), int) for key in ("pid", "start_ticks")):
        return None
    return record if isinstance(record.get("boot_id"), str) else None


def ancestors(process: Process, everyone: Mapping[int, Process]) -> list[Process]:
    """Return the wrappers or supervisors that started a process under the exporter's command line, innermost first.

    One in another session is none: ``screen`` or ``ssh`` may have the same command line, and other work to do.
    """
    found: list[Process] = []
    one = everyone.get(process.parent)
    while one is not None and (one.session, one.uid) == (process.session, process.uid):
        if exporter_options(one.argv) is None:
            break
        found.append(one)
        one = everyone.get(one.parent)
    return found


def descendants(pids: Iterable[int], everyone: Mapping[int, Process]) -> list[Process]:
    """Return all that these processes have started, and what that has started."""
    found = more = set(pids)
    while more:
        more = {other.pid for other in everyone.values() if other.parent in more} - found
        found = found | more
    return [everyone[pid] for pid in sorted(found - set(pids)) if pid in everyone]


def family(process: Process, everyone: Mapping[int, Process]) -> list[Process]:
    """Return the process, the wrapper or master that started it with the exporter's command line, and all descendants.

    Any of them may hold the port. Process groups do not help: if one script starts two exporters, both are in its
    group.
    """
    top = [process, *ancestors(process, everyone)][-1]
    members = {top.pid, process.pid, *(one.pid for one in descendants([top.pid, process.pid], everyone))}
    return [everyone[pid] for pid in sorted(members) if pid in everyone]


def port_holder(port: int, but_not: Sequence[int] = (), snapshot: Snapshot | None = None) -> str | None:
    """Describe the process that listens on a TCP port: pid, command and user if they are visible, else the user. None
    if the port is free.

    :param but_not: pids to ignore.
    """
    seen, unseen = (snapshot or Snapshot()).holders(port, but_not)
    if seen:
        return f"process {seen[0].pid} of user {seen[0].owner} ({described(seen[0])})"
    if unseen:
        return f"a process of user {unseen[0]} (which one is visible to {unseen[0]} and root only)"
    return None


def inspect(wanted: Wanted, settle: float = 0.0, snapshot: Snapshot | None = None) -> ProcessState:
    """Find the exporter's process. Tell whether it is ours and how it differs from the wanted one. Changes nothing.

    :param settle: a process younger than this many seconds may still be starting; wait until it listens or is older.
    :param snapshot: processes and sockets that were read a moment ago.
    :raises TimesTenError: if the pid file cannot be trusted (link, directory that others can write to, content), or if
        several processes may be the exporter.
    """
    while True:
        state = look(wanted, snapshot=snapshot)
        ready = state.listening and not state.starting
        if state.status != RUNNING or ready or state.age is None or state.age >= settle:
            return state
        snapshot = None
        time.sleep(0.1)


def look(wanted: Wanted, since: int | None = None, snapshot: Snapshot | None = None) -> ProcessState:
    """Do once what :func:`inspect` does, without waiting.

    :param since: the pid file names the process that we have just started if that process has at least these start
        ticks, whatever its command line.
    """
    snapshot = snapshot or Snapshot()
    search = _Search(wanted, snapshot, since)
    found = search.taken_over() or search.by_pid_file()
    if found.status == FOREIGN:
        return ProcessState(FOREIGN, found.why, found.process)
    adopted = False
    if found.process is None:
        other = search.without_pid_file()
        if other.process is not None:
            found, adopted = dataclasses.replace(other, why=f"{found.why}; {other.why}"), True
    if found.process is None:
        return _stopped(wanted, found.why, snapshot)
    return _running(wanted, found, search, adopted)


@dataclasses.dataclass(frozen=True)
class _Found:
    status: str
    why: str
    process: Process | None = None


class _Search:
    """Looks for the exporter's process in one snapshot."""

    def __init__(self, wanted: Wanted, snapshot: Snapshot, since: int | None) -> None:
        self.wanted = wanted
        self.snapshot = snapshot
        self.since = since
        self.record = read_state(wanted.state_file)
        self.boot = snapshot.boot_id

    def recorded(self, process: Process) -> bool:
        """Tell whether a process is the one that was recorded at its start."""
        return is_recorded(process, self.record, self.boot)

    def fresh(self, process: Process) -> bool:
        """Tell whether a process began after we started the exporter."""
        return self.since is not None and process.start_ticks >= self.since

    def taken_over(self) -> _Found | None:
        """Return the process that is taken over; None if it is gone."""
        takes = self.wanted.takes
        now = None if takes is None else self.snapshot.processes.get(takes.pid)
        if takes is None or now is None or now.start_ticks != takes.start_ticks:
            return None
        return _Found(RUNNING, f"process {now.pid} is taken over", now)

    def by_pid_file(self) -> _Found:
        """Decide whether the process that the pid file names is our exporter."""
        pid_file = self.wanted.pid_file
        named, note = read_pid_file(pid_file)
        if named is None:
            return _Found(STOPPED, note)
        process = self.snapshot.processes.get(named)
        if process is None:
            return _Found(STOPPED, f"{pid_file} names process {named}, which does not exist")
        if process.uid == os.geteuid() and self.recorded(process):
            return _Found(RUNNING, f"process {named} is the one that was started and recorded", process)
        if process.uid == os.geteuid() and self.fresh(process):
            return _Found(RUNNING, f"process {named} has just been started", process)
        status, text = self._judge(process)
        why = f"{pid_file} names process {named}: {text}"
        if status == FOREIGN:
            why += f"; stop it as {process.owner} (or root), and remove the pid file"
        return _Found(status, why, None if status == STOPPED else process)

    def _judge(self, process: Process) -> tuple[str, str]:
        """Decide by owner, command line, age and port whether a process that the pid file names is our exporter."""
        options = self.options_of(process)
        mine = process.uid == os.geteuid()
        if options is None:
            if mine and self._is_older_than_pid_file(process) and self._serves(process):
                return RUNNING, "told by owner, age and port"
            return STOPPED, f"that is {described(process)}, the number was used again"
        pid_file = options.get("pid-file")
        if pid_file:
            ours = same_path(process, pid_file, self.wanted.pid_file)
        else:
            ours = options.get("port") == str(self.wanted.port)
        if not ours:
            return STOPPED, f"that is another exporter ({described(process)}), the number was used again"
        if not mine:
            return FOREIGN, f"that exporter is run by {process.owner}, not by {user_name(os.geteuid())}"
        return RUNNING, "told by owner and command line"

    def options_of(self, process: Process) -> dict[str, str | None] | None:
        """Return the options of a process or, as a child may have another command line, of the process that started it."""
        everyone = self.snapshot.processes
        one: Process | None = process
        while one is not None and one.uid == process.uid and one.pid != os.getpid():
            options = exporter_options(one.argv)
            if options is not None:
                return options
            one = everyone.get(one.parent)
        return None

    def _is_older_than_pid_file(self, process: Process) -> bool:
        written = written_at(self.wanted.pid_file)
        return written is not None and time.time() - age(process) <= written + _CLOCK_TOLERANCE

    def _serves(self, process: Process) -> bool:
        """Tell whether a process of which nothing else is known has our port: itself or, in the environment of the instance, by a child.

        Without that it may be the shell or the module that has started the exporter.
        """
        if self.snapshot.listens([process.pid], self.wanted.port):
            return True
        home = environment(process.pid).get("TIMESTEN_HOME")
        same_home = home is not None and os.path.realpath(home) == os.path.realpath(self.wanted.utility.timesten_home)
        return same_home and self._listens(process)

    def _listens(self, process: Process) -> bool:
        members = [member.pid for member in family(process, self.snapshot.processes)]
        return self.snapshot.listens(members, self.wanted.port)

    def without_pid_file(self) -> _Found:
        """Find our exporter without its pid file.

        :raises TimesTenError: if several processes may be it.
        """
        mine = [process for process in self.snapshot.processes.values() if process.uid == os.geteuid()]
        for process in mine:
            if self.recorded(process):
                return _Found(RUNNING, f"process {process.pid} is the one that was started and recorded", process)
        found = [process for process in mine if self._has_our_values(process)]
        # A wrapper has the same arguments as the exporter that it waits for; take the innermost process.
        parents = {process.parent for process in found}
        innermost = [process for process in found if process.pid not in parents]
        holding = [process for process in innermost if self.snapshot.listens([process.pid], self.wanted.port)]
        holding = holding or innermost
        if len(holding) > 1:
            listed = ", ".join(f"{process.pid} ({described(process)})" for process in holding)
            raise TimesTenError(f"several processes may be this exporter: {listed}; end those that are not wanted")
        if not holding:
            return _Found(STOPPED, "")
        why = f"process {holding[0].pid} ({described(holding[0])}) is told by owner and command line"
        return _Found(RUNNING, why, holding[0])

    def _has_our_values(self, process: Process) -> bool:
        """Tell whether a command line has our pid file, or our port and a wallet of ours, or is a ttExporter on our
        port.
        """
        options = exporter_options(process.argv)
        if options is None:
            return False
        pid_file, wallet = options.get("pid-file"), options.get("certificate-directory")
        if pid_file and same_path(process, pid_file, self.wanted.pid_file):
            return True
        if options["port"] != str(self.wanted.port) or not self._listens(process):
            return False
        if is_neighbour(process, pid_file, os.path.dirname(self.wanted.state_file)):
            return False
        ours = os.path.realpath(os.path.dirname(self.wanted.state_file)) + os.sep
        if wallet and f"{resolved(process, wallet)}{os.sep}".startswith(ours):
            return True
        home = environment(process.pid).get("TIMESTEN_HOME")
        same_home = home is None or os.path.realpath(home) == os.path.realpath(self.wanted.utility.timesten_home)
        return is_named(process.argv) and same_home


def is_neighbour(process: Process, pid_file: str | None, own_directory: str) -> bool:
    """Tell whether a process is another exporter of this collection: its pid file lies beside a state file, outside our
    directory.

    A pid file in our directory proves nothing: somebody else's process may have come back with it after a failed
    takeover.
    """
    if not pid_file:
        return False
    there = Layout(os.path.dirname(resolved(process, pid_file)))
    if there.path == os.path.realpath(own_directory):
        return False
    return any(os.path.lexists(there.state_file(spare)) for spare in (False, True))


def _stopped(wanted: Wanted, why: str, snapshot: Snapshot) -> ProcessState:
    holder = port_holder(wanted.port, (), snapshot)
    neighbour = False
    if holder is not None:
        why = f"{why}; port {wanted.port} is held by {holder}"
        seen, unseen = snapshot.holders(wanted.port)
        pid_files = [(exporter_options(process.argv) or {}).get("pid-file") for process in seen]
        neighbour = not unseen and all(
            is_neighbour(process, pid_file, os.path.dirname(wanted.state_file))
            for process, pid_file in zip(seen, pid_files)
        )
    stale = os.path.lexists(wanted.pid_file)
    return ProcessState(STOPPED, why, port_holder=holder, held_by_neighbour=neighbour, stale_pid_file=stale)


def _running(wanted: Wanted, found: _Found, search: _Search, adopted: bool) -> ProcessState:
    process, snapshot = found.process, search.snapshot
    if process is None:
        raise ValueError("no process")
    recorded = search.record if search.recorded(process) else None
    started_with: Sequence[str] = ()
    if recorded is not None:
        started_with = [str(argument) for argument in recorded.get("argv") or ()]
    elif search.fresh(process):
        started_with = wanted.utility.argv(*wanted.arguments)
    # A child may have rewritten its command line; the one at its start counts.
    options = exporter_options(process.argv) or exporter_options(started_with) or search.options_of(process)
    members = [member.pid for member in family(process, snapshot.processes)]
    holder = port_holder(wanted.port, members, snapshot)
    listening = snapshot.listens(members, wanted.port)
    found_drift: Drift = find_drift(process, options, wanted.options, wanted.utility, recorded)
    drift = list(found_drift.reasons)
    managed = systemd.manager(process.pid)
    starting = False
    if wanted.unit is not None and managed != wanted.unit:
        drift.append(f"it is not run by {wanted.unit}")
    elif wanted.unit is not None:
        unit_state = systemd.active_state(wanted.unit)
        starting = unit_state == "activating"
        if unit_state != "active":
            drift.append(f"{wanted.unit} is {unit_state}")
    if holder is not None:
        drift.append(f"port {wanted.port} is held by {holder}")
    if not listening:
        drift.append(f"it does not listen on port {wanted.port}")
    return ProcessState(
        RUNNING,
        found.why,
        process,
        tuple(drift),
        holder,
        listening=listening,
        age=age(process),
        adopted=adopted,
        stale_pid_file=adopted and os.path.lexists(wanted.pid_file),
        manager=managed,
        starting=starting,
        certificate_directory=found_drift.certificate_directory,
    )
