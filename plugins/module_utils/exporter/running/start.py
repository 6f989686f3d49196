# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts the exporter, and ends what an unsuccessful start left."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.command_line import (
    described,
    exporter_options,
    same_path,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.identity import (
    STOPPED,
    ProcessState,
    Wanted,
    family,
    inspect,
    look,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.log import log_lines, open_log
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.start_script import write_script
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.utility import prepare_child
from ansible_collections.timesten.monitoring.plugins.module_utils.machine import systemd
from ansible_collections.timesten.monitoring.plugins.module_utils.machine.processes import (
    Condition,
    Process,
    Snapshot,
    boot_id,
    parse_stat,
    proc_text,
    send_signal,
    wait_until,
)

_CLEANUP_TIMEOUT = 5.0

children: list[subprocess.Popen[bytes]] = []
"""Exporters in the foreground. Without this reference Python would warn, and a zombie would stay until this process
ends.
"""


def start(wanted: Wanted, ready: Condition | None = None, timeout: float = 30.0) -> ProcessState:
    """Start the exporter, wait until it serves, and record it. It outlives this process and its terminal.

    :param ready: a further condition, for example a handshake, checked once the port listens.
    :raises TimesTenError: if it runs already, another process holds the port, it ends at once, or it is not ready in
        time. Whatever was started is then ended again.
    """
    _check_before(wanted)
    if wanted.unit is not None:
        return _start_by_unit(wanted, wanted.unit, ready, timeout)
    log, offset = open_log(wanted.log_file)
    try:
        attempt = _Attempt(wanted, log)
    finally:
        os.close(log)
    try:
        problem = wait_until(lambda: attempt.missing(ready), timeout, over=attempt.has_failed)
        if problem is None and attempt.state is not None:
            write_state(wanted, attempt.state, wanted.utility.environment_sha256())
            children.append(attempt.child)
            return attempt.state
    except BaseException:
        attempt.end()
        raise
    failed = attempt.child.poll()
    left = attempt.end()
    if failed:
        what = f"did not start: it {_ended(failed)}"
    else:
        what = f"was not ready within {timeout:g} s and was stopped again: {problem}"
        if left:
            what = f"was not ready within {timeout:g} s: {problem}; process {left[0].pid} ({described(left[0])}) could not be ended and runs on"
    lines = log_lines(wanted.log_file, offset)
    said = f"it said: {' | '.join(lines)}" if lines else "it said nothing"
    raise TimesTenError(
        f"the exporter on port {wanted.port} {what}; {said}; the log is {wanted.log_file}",
        cmd=wanted.utility.argv(*wanted.arguments),
        rc=failed,
        log=lines,
    )


def _check_before(wanted: Wanted) -> None:
    before = inspect(wanted)
    if before.status != STOPPED:
        raise TimesTenError(f"cannot start the exporter on port {wanted.port}: {before.why}")
    if before.port_holder is not None:
        raise TimesTenError(
            f"cannot start the exporter on port {wanted.port}: the port is held by {before.port_holder}; end "
            "that, or choose another port"
        )
    wanted.utility.check()
    if before.stale_pid_file:
        try:
            os.unlink(wanted.pid_file)
        except OSError as error:
            raise TimesTenError(f"pid_file: cannot remove the stale {wanted.pid_file}: {error.strerror}") from error


class _Attempt:
    """One start of the command, and its outcome."""

    def __init__(self, wanted: Wanted, log: int) -> None:
        self.wanted = wanted
        self.state: ProcessState | None = None
        command = wanted.utility.argv(*wanted.arguments)
        try:
            self.child = subprocess.Popen(
                command,
                cwd="/",
                env=wanted.utility.full_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: prepare_child(0o077),  # noqa: PLW1509 - one thread
            )
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise TimesTenError(f"cannot run {shlex.join(command)}: {error}", cmd=command) from error
        # The child is not reaped yet, even if it has ended, so this /proc entry is its own.
        self.began = parse_stat(proc_text(self.child.pid, "stat"))[3]

    def has_failed(self) -> bool:
        """Tell whether the command has ended with a status other than 0."""
        return bool(self.child.poll())

    def missing(self, ready: Condition | None) -> str | None:
        """Return what is still missing before it serves, None if nothing is."""
        status, wanted = self.child.poll(), self.wanted
        if status:
            return f"it {_ended(status)}"
        try:
            state = look(wanted, since=self.began)
        except TimesTenError as error:
            # While it detaches there may be several processes that look like it.
            return error.message
        problem = None
        if state.process is None and status == 0:
            problem = f"it ended with exit status 0, and no exporter runs: {state.why}"
        elif not os.path.lexists(wanted.pid_file):
            problem = "it has not written its pid file"
        elif state.process is None or state.process.start_ticks < self.began:
            problem = state.why
        elif state.adopted:
            problem = f"its pid file does not name it: {state.why}"
        elif state.port_holder is not None:
            problem = f"port {wanted.port} is also held by {state.port_holder}"
        elif not state.listening:
            problem = f"process {state.pid} does not listen on port {wanted.port}"
        if problem is None:
            self.state = state
            problem = None if ready is None else ready()
        return problem

    def end(self) -> list[Process]:
        """End everything that this start left: the command, its children, and an exporter that detached. Return the
        processes that could not be ended.
        """
        signalled: set[tuple[int, int]] = set()

        def missing(number: int) -> str | None:
            left = self._left()
            for process in left:
                # A process that was forked while the others were signalled shows up late.
                if (process.pid, number) not in signalled:
                    signalled.add((process.pid, number))
                    # One that has become another user's may not be ours to end: then it is among those that are left.
                    with contextlib.suppress(TimesTenError):
                        send_signal(process, number)
            return "some are left" if left else None

        if wait_until(lambda: missing(signal.SIGTERM), _CLEANUP_TIMEOUT) is not None:
            wait_until(lambda: missing(signal.SIGKILL), _CLEANUP_TIMEOUT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(_CLEANUP_TIMEOUT)
        left = self._left()
        if not left:
            # Before the start there was none, so whatever it holds, this start has left it.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.wanted.pid_file)
        return left

    def _left(self) -> list[Process]:
        reaped = self.child.poll() is not None
        snapshot = Snapshot()
        everyone = snapshot.processes
        # The number of a command is not used again while its session has any process.
        session = None if reaped and self.child.pid in everyone else self.child.pid
        since = [one for one in everyone.values() if one.start_ticks >= self.began]
        roots = [
            process
            for process in since
            if process.session == session
            or (
                process.uid == os.geteuid()
                and (self._has_our_pid_file(process) or snapshot.listens([process.pid], self.wanted.port))
            )
        ]
        found = {member.pid: member for root in roots for member in family(root, everyone)}
        return [process for process in found.values() if process.start_ticks >= self.began]

    def _has_our_pid_file(self, process: Process) -> bool:
        given = (exporter_options(process.argv) or {}).get("pid-file")
        return given is not None and same_path(process, given, self.wanted.pid_file)


def _ended(status: int) -> str:
    if status < 0:
        return f"was ended by signal {-status} ({signal.strsignal(-status)})"
    return f"ended with exit status {status}"


def _start_by_unit(wanted: Wanted, unit: str, ready: Condition | None, timeout: float) -> ProcessState:
    """Let systemd start the exporter: its path unit does so when the file ``start`` is written."""
    if wanted.script is None:
        raise ValueError("no script for the unit to run")
    offset = os.path.getsize(wanted.log_file) if os.path.isfile(wanted.log_file) else 0
    write_script(wanted.run_file, wanted.script)
    files.write(os.path.join(os.path.dirname(wanted.run_file), "start"), b"")
    found, problem = await_unit(wanted, unit, ready, timeout)
    if found is None:
        lines = log_lines(wanted.log_file, offset)
        said = f"it said: {' | '.join(lines)}; " if lines else ""
        raise TimesTenError(
            f"the systemd unit {unit} did not start the exporter on port {wanted.port} as wanted within {timeout:g} s: {problem}; "
            f"{said}the log is {wanted.log_file}; look also at: systemctl status {unit}"
        )
    return found


def await_unit(
    wanted: Wanted, unit: str, ready: Condition | None, timeout: float, ended: Process | None = None
) -> tuple[ProcessState | None, str | None]:
    """Wait until a unit is active and runs the exporter as wanted, and record it. Return it, or None and what is
    missing.

    :param ended: the process that the new one replaces.
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
        # The wanted unit's state was checked already.
        unit_state = "active" if unit == wanted.unit else systemd.active_state(unit)
        if unit_state != "active":
            return f"{unit} is {unit_state}"
        found[:] = [now]
        return None if ready is None else ready()

    problem = wait_until(missing, timeout)
    if problem is not None:
        return None, problem
    # The environment that another unit sets is unknown.
    write_state(wanted, found[0], None if wanted.unit is None else wanted.utility.environment_sha256())
    return found[0], None


def write_state(wanted: Wanted, state: ProcessState, environment_sha256: str | None) -> None:
    """Write ``state.json``: which process this is, and what it was started with.

    :param environment_sha256: None if somebody else started it, so that its environment is unknown.
    """
    if state.process is None:
        raise ValueError("no process to record")
    files.write_json(
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
