# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exporter's process, under one name: which one it is, start and stop. The callers hold the exporter's lock."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.command_line import (
    arguments,
    described,
    exporter_options,
    home_of,
    located,
    resolved,
    same_path,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.identity import (
    FOREIGN,
    RUNNING,
    STOPPED,
    ProcessState,
    Wanted,
    family,
    inspect,
    is_neighbour,
    port_holder,
    read_state,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.pid_file import read_pid_file
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.start_script import (
    remove_script,
    write_script,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.machine.processes import (
    Condition,
    Process,
    Snapshot,
    boot_id,
    is_recorded,
    processes,
    read_process,
    user_name,
    wait_until,
)

if TYPE_CHECKING:
    from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.restart import restart
    from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.start import start, write_state
    from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.stop import longest_stop, stop

_WHERE = {"restart": "restart", "start": "start", "write_state": "start", "longest_stop": "stop", "stop": "stop"}
"""Rooms of what is imported when it is used: most calls start and stop nothing, and Ansible compiles at every call what a module imports."""


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = importlib.import_module(f"{__package__}.running.{_WHERE[name]}")
    return getattr(room, name)


def load() -> None:
    """Import what starts and stops processes now, for a detached process: it outlives the archive that the module came in."""
    for name in _WHERE:
        globals()[name] = __getattr__(name)


Ready = Condition

__all__ = [
    "FOREIGN",
    "RUNNING",
    "STOPPED",
    "Condition",
    "Process",
    "ProcessState",
    "Ready",
    "Snapshot",
    "Wanted",
    "arguments",
    "boot_id",
    "described",
    "exporter_options",
    "family",
    "home_of",
    "inspect",
    "is_neighbour",
    "is_recorded",
    "load",
    "located",
    "longest_stop",
    "port_holder",
    "processes",
    "read_pid_file",
    "read_process",
    "read_state",
    "remove_script",
    "resolved",
    "restart",
    "same_path",
    "start",
    "stop",
    "user_name",
    "wait_until",
    "write_script",
    "write_state",
]
