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
    family,
    port_holder,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.pid_file import remove_pid_file
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.start import children
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.start_script import remove_script
from ansible_collections.timesten.monitoring.plugins.module_utils.machine.processes import (
    Process,
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
        raise TimesTenError(f"cannot stop the exporter on port {wanted.port}: {state.why}")
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
    """Signal a process, wait until it is gone and no process of its family listens any more, and return how it ended.

    :raises TimesTenError: if it does not end.
    """
    members = family(process, processes())
    held = {inode for member in members for inode in sockets(member.pid)} & set(listeners())

    def missing() -> str | None:
        for child in children:
            child.poll()
        if is_alive(process):
            return f"process {process.pid} ({described(process)}) is still there"
        left = held & set(listeners())
        if not left:
            return None
        holders = [member for member in members if is_alive(member) and sockets(member.pid) & left]
        if holders:
            return f"process {holders[0].pid} ({described(holders[0])}), which it started, still listens"
        return "its port still listens"

    number = {"TERM": signal.SIGTERM, "INT": signal.SIGINT}[stop_signal]
    began = time.monotonic()
    send_signal(process, number)
    problem = wait_until(missing, timeout)
    if problem is None:
        return f"stopped by SIG{stop_signal}"
    if force_kill:
        for member in members:
            send_signal(member, signal.SIGKILL)
        problem = wait_until(missing, _KILL_TIMEOUT)
        if problem is None:
            return f"killed: it did not end within {timeout:g} s of SIG{stop_signal}"
        raise TimesTenError(
            f"SIG{stop_signal} and SIGKILL did not end the exporter: {problem}; it may hang in the kernel: look "
            "at its state in ps"
        )
    waited = timeout
    if is_alive(process) and not ignores(process.pid, number):
        waited += FOLLOW
        problem = wait_until(missing, FOLLOW)
        if problem is None:
            return f"stopped by SIG{stop_signal}, which took {time.monotonic() - began:.0f} s"
    raise TimesTenError(
        f"the exporter did not end within {waited:g} s of SIG{stop_signal}: {problem}; give it longer "
        f"(stop_timeout), use the other signal (stop_signal: {'INT' if stop_signal == 'TERM' else 'TERM'}), or set force_kill to true",
        changed=not is_alive(process),
    )
