# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collects the functions for the exporter's process under one name: identity, start and stop. The callers hold the
exporter's lock.
"""

from __future__ import annotations

from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.command_line import (
    arguments,
    described,
    exporter_options,
    home_of,
    located,
    resolved,
    same_path,
    wallet_of,
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
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.restart import restart
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.start import start, write_state
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.start_script import (
    remove_script,
    write_script,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.stop import longest_stop, stop
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
    "wallet_of",
    "write_script",
    "write_state",
]
