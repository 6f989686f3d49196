# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restarts the exporter: waits for the end of the old process, then starts the new one."""

from __future__ import annotations

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.identity import (
    RUNNING,
    ProcessState,
    Wanted,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.start import await_unit, start
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.start_script import write_script
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.stop import end, stop
from ansible_collections.timesten.monitoring.plugins.module_utils.machine.processes import Condition


def restart(
    wanted: Wanted,
    state: ProcessState,
    ready: Condition | None = None,
    start_timeout: float = 30.0,
    stop_signal: str = "TERM",
    stop_timeout: float = 10.0,
    force_kill: bool = False,
) -> ProcessState:
    """Stop the exporter that :func:`inspect` found, and start it as wanted. If systemd runs it, signal it and wait for
    systemd's new process.

    :raises TimesTenError: as :func:`start` and :func:`stop`. If another process holds the wanted port, it is raised
        before the old process is touched. ``changed`` in the details says whether the old process has ended.
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
        try:
            return start(wanted, ready, start_timeout)
        except TimesTenError as error:
            raise TimesTenError(error.message, **{**error.details, "changed": True}) from error
    if wanted.unit is not None and wanted.script is not None:
        write_script(wanted.run_file, wanted.script)
    end(state.process, stop_signal, stop_timeout, force_kill)
    now, problem = await_unit(wanted, state.manager, ready, start_timeout, state.process)
    if now is None:
        raise TimesTenError(
            f"process {state.pid} on port {wanted.port} was ended for a restart, but the systemd unit "
            f"{state.manager} did not bring it back as wanted "
            f"within {start_timeout:g} s: {problem}; look at: systemctl status {state.manager}",
            changed=True,
        )
    return now
