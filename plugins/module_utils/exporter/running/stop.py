# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stops the exporter: signals it, and waits until nothing serves its port any more."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.command_line import (
    described,
    exporter_options,
    resolved,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.identity import (
    RUNNING,
    ProcessState,
    Wanted,
    ancestors,
    descendants,
    family,
    port_holder,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.pid_file import remove_pid_file
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.start import children
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.start_script import remove_script
from ansible_collections.timesten.monitoring.plugins.module_utils.machine.processes import (
    Process,
    all_listeners,
    ignores,
    is_alive,
    listeners,
    processes,
    send_signal,
    sockets,
    wait_until,
)

FOLLOW = 60.0
"""After stop_timeout, wait so many more seconds for a process that was signalled: if it ended later, when nobody waits
for it, it would stay down.
"""

_KILL_TIMEOUT = 5.0
_GRACE = 1.0
"""Seconds that the rest of a family gets to end by itself, after the process that was signalled."""


def longest_stop(stop_signal: str, timeout: float, force_kill: bool) -> float:
    """Return how many seconds :func:`stop` takes at most with the same arguments."""
    del stop_signal
    return timeout + (_KILL_TIMEOUT if force_kill else FOLLOW)


def stop(
    wanted: Wanted, state: ProcessState, stop_signal: str = "TERM", timeout: float = 10.0, force_kill: bool = False
) -> str:
    """Stop the exporter that :func:`inspect` found, wait until it is gone and its port is free, and return how it
    ended.

    :param stop_signal: ``TERM`` or ``INT``.
    :param force_kill: whether to send SIGKILL when the time is up.
    :raises TimesTenError: if systemd would start it again, it does not end, or another process serves its port.
    """
    if state.status != RUNNING or state.process is None:
        raise TimesTenError(f"cannot stop the exporter on port {wanted.port}: {state.reason}")
    if state.manager is not None and state.manager != wanted.unit:
        raise TimesTenError(
            f"the exporter on port {wanted.port} (process {state.pid}) is run by the systemd unit "
            f"{state.manager}, which would bring it back; "
            f"as root: systemctl disable --now {state.manager}"
        )
    if wanted.unit is not None:
        remove_script(wanted.run_file)
    # Its pid file and port at its start may differ from the wanted ones.
    options = exporter_options(state.process.argv) or {}
    pid_files = {wanted.pid_file, resolved(state.process, options.get("pid-file") or wanted.pid_file)}
    ports = (
        {wanted.port, int(options.get("port") or wanted.port)} if state.listening else {int(options.get("port") or 0)}
    )
    how = end(state.process, stop_signal, timeout, force_kill)
    for path in pid_files:
        remove_pid_file(path, state.process.pid)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(wanted.state_file)
    for port in sorted(ports):
        holder = port_holder(port) if port else None
        if holder is not None:
            raise TimesTenError(
                f"process {state.pid} was {how}, but port {port} is served by {holder}; end that", changed=True
            )
    return how


def end(process: Process, stop_signal: str, timeout: float, force_kill: bool) -> str:
    """Signal a process, wait until it and who started it are gone and no process of its family listens any more, and return how
    it ended.

    :raises TimesTenError: if it does not end.
    """
    number = {"TERM": signal.SIGTERM, "INT": signal.SIGINT}[stop_signal]
    ending = _Ending(process, number)
    began = time.monotonic()
    send_signal(process, number)
    problem = wait_until(ending.missing, timeout)
    if problem is None:
        return f"stopped by SIG{stop_signal}"
    if force_kill:
        for member in ending.members():
            # A member of another user stays, and is told as the one that is left.
            with contextlib.suppress(TimesTenError):
                send_signal(member, signal.SIGKILL)
        problem = wait_until(ending.missing, _KILL_TIMEOUT)
        if problem is None:
            return f"killed: it did not end within {timeout:g} s of SIG{stop_signal}"
        raise TimesTenError(
            f"SIG{stop_signal} and SIGKILL did not end the exporter: {problem}; it may hang in the kernel: look "
            "at its state in ps"
        )
    waited = timeout
    if any(not ignores(one.pid, number) for one in ending.left()):
        waited += FOLLOW
        problem = wait_until(ending.missing, FOLLOW)
        if problem is None:
            return f"stopped by SIG{stop_signal}, which took {time.monotonic() - began:.0f} s"
    raise TimesTenError(
        f"the exporter did not end within {waited:g} s of SIG{stop_signal}: {problem}; give it longer "
        f"(stop_timeout), use the other signal (stop_signal: {'INT' if stop_signal == 'TERM' else 'TERM'}), or set force_kill to true",
        changed=not is_alive(process),
    )


class _Ending:
    """A process that gets a signal, and what is left of its family.

    The signal alone may not be the end: a wrapper that was signalled leaves the child that serves, and a supervisor starts another one in the place of
    the child that was signalled. Who does not end with the process gets its signal too.
    """

    def __init__(self, process: Process, number: int) -> None:
        everyone = processes()
        self._process, self._number = process, number
        self._family = family(process, everyone)
        self._before = {(one.pid, one.start_ticks) for one in self._family}
        self._above = {one.pid for one in ancestors(process, everyone)}
        listening = {one.inode: one.port for one in all_listeners()}
        held = {inode for member in self._family for inode in sockets(member.pid)} & set(listening)
        self._held, self._ports = held, {listening[inode] for inode in held}
        self._signalled = {(process.pid, process.start_ticks)}
        self._gone_since: float | None = None

    def members(self) -> list[Process]:
        """Return who lives of the family, and what it has started since."""
        everyone = processes()
        living = {one.pid: one for one in self._family if is_alive(one)}
        for one in list(living.values()):
            living.update({member.pid: member for member in descendants([one.pid], everyone)})
        # Who has started them may be gone the next time.
        self._family = list(living.values())
        return self._family

    def left(self) -> list[Process]:
        """Return the process, or who has to end after it: who started it, and who serves in its place or is about to."""
        members = self.members()
        if is_alive(self._process):
            return [self._process]
        serving = {one.inode for one in all_listeners() if one.port in self._ports}
        return [one for one in members if one.pid in self._above or self._replaces(one) or sockets(one.pid) & serving]

    def _replaces(self, member: Process) -> bool:
        """Tell whether somebody has started the exporter anew; it may not listen yet."""
        return (member.pid, member.start_ticks) not in self._before and exporter_options(member.argv) is not None

    def missing(self) -> str | None:
        """Tell what has not ended yet."""
        for child in children:
            child.poll()
        left = self.left()
        if not left:
            return "its port still listens" if self._held & set(listeners()) else None
        if left[0] == self._process:
            return f"process {left[0].pid} ({described(left[0])}) is still there"
        self._gone_since = self._gone_since or time.monotonic()
        if time.monotonic() - self._gone_since >= _GRACE:
            for one in left:
                if (one.pid, one.start_ticks) not in self._signalled:
                    self._signalled.add((one.pid, one.start_ticks))
                    with contextlib.suppress(TimesTenError):
                        send_signal(one, self._number)
        what = "which it started, still listens"
        if left[0].pid in self._above:
            what = "which started it, is still there"
        elif self._replaces(left[0]):
            what = "which was started in its place, is still there"
        return f"process {left[0].pid} ({described(left[0])}), {what}"
