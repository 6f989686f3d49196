# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares a running exporter with the wanted one."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import Any, Mapping

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.command_line import (
    compare_options,
    located,
    resolved,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.utility import PROGRAM, Utility
from ansible_collections.timesten.monitoring.plugins.module_utils.machine.processes import Process, environment


@dataclasses.dataclass(frozen=True)
class Drift:
    """The differences; each is a reason for a restart.

    :ivar certificate_directory: the wallet's directory at the start of the process.
    """

    reasons: tuple[str, ...]
    certificate_directory: str | None = None


def find_drift(
    process: Process,
    options: Mapping[str, str | None] | None,
    asked: Mapping[str, str | None],
    utility: Utility,
    record: Mapping[str, Any] | None,
) -> Drift:
    """Return how a process differs from the wanted one.

    :param options: its options at its start; None if they are unknown.
    :param record: the content of ``state.json`` if it describes this process.
    """
    if options is None:
        return Drift(("its command line cannot be read",))
    running, wanted = dict(options), dict(asked)
    for name in ("certificate-directory", "pid-file"):
        if running.get(name):
            running[name] = resolved(process, str(running[name]))
        if wanted.get(name):
            wanted[name] = os.path.realpath(str(wanted[name]))
    reasons = compare_options(running, wanted)
    given, directory = options.get("certificate-directory"), running.get("certificate-directory")
    if given and directory == wanted.get("certificate-directory") and os.path.islink(located(process, given)):
        reasons.append(f"wallet: it was started through the link {given}, so what it serves cannot be told")
    reasons += _environment_drift(process, utility, record)
    if is_replaced(process, utility, record):
        reasons.append(f"{PROGRAM} was replaced since the start")
    return Drift(tuple(reasons), directory)


def _environment_drift(process: Process, utility: Utility, record: Mapping[str, Any] | None) -> list[str]:
    reasons = []
    variables = environment(process.pid)
    home = variables.get("TIMESTEN_HOME")
    if home is not None and os.path.realpath(home) != os.path.realpath(utility.timesten_home):
        reasons.append(f"timesten_home {home} -> {utility.timesten_home}")
    if record is not None and record.get("environment_sha256") is not None:
        if record["environment_sha256"] != utility.environment_sha256():
            reasons.append("environment")
    elif variables:
        # ttenv may have changed a value, but has no reason to remove a variable.
        missing = sorted(set(utility.environment) - set(variables))
        if missing:
            reasons.append(f"environment: {', '.join(missing)} not set")
    return reasons


def is_replaced(process: Process, utility: Utility, record: Mapping[str, Any] | None) -> bool:
    """Tell whether the utility was upgraded while the process ran. Without a record that shows only if the utility is a
    binary, not if it is a script.
    """
    if record is not None and record.get("executable") is not None:
        # If the instance was removed, there is no other version to restart with.
        with contextlib.suppress(TimesTenError):
            return bool(record["executable"] != list(utility.executable_identity()))
    with contextlib.suppress(OSError):
        path, deleted, _rest = os.readlink(f"/proc/{process.pid}/exe").partition(" (deleted)")
        instance = os.path.realpath(utility.timesten_home) + os.sep
        return bool(deleted) and (os.path.basename(path) == PROGRAM or path.startswith(instance))
    return False
