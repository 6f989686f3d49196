# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A restart that comes to its end although the module, its connection or the controller is killed between stop and start."""

from __future__ import annotations

import contextlib
import os
from typing import Callable

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError, system_error
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import ExporterDirectory
from ansible_collections.timesten.monitoring.plugins.module_utils.machine.detached import Record


class WorkFailed(TimesTenError):
    """The work has failed by itself, and has done what it does in that case."""


def unattended(directory: ExporterDirectory, work: Callable[[], object]) -> bool:
    """Have a detached process do some work, and wait for its end. The caller holds the lock, and that process holds it too.

    :param work: whatever it imports has to be imported already.
    :returns: whether the work was done; False if that process was ended from outside.
    :raises WorkFailed: the TimesTenError or OSError that the work raised.
    :raises TimesTenError: if that process could not be started, or the work raised anything else.
    """
    if directory.lock_descriptor < 0:
        raise ValueError("the lock is not held")
    record = Record(directory.restart_file)

    def carry_out(_token: str) -> None:
        try:
            work()
        except (TimesTenError, OSError) as error:
            failed = system_error(error)
            try:
                record.write(status="failed", error=failed.message, details=failed.details)
            except TypeError:
                # A detail that no file can hold is none that the message needs.
                record.write(status="failed", error=failed.message, details={})
        except Exception as error:
            # Nobody reads a traceback of a process without a terminal.
            record.write(status="broken", error=f"{type(error).__name__}: {error}")
        else:
            record.write(status="done")

    launched = record.launch(carry_out, (directory.lock_descriptor,), status="restarting")
    with contextlib.suppress(ChildProcessError):
        os.waitpid(launched["pid"], 0)
    # It may have changed what is current.
    directory.forget()
    outcome = record.read() or {}
    with contextlib.suppress(FileNotFoundError):
        os.unlink(directory.restart_file)
    if outcome.get("status") == "failed":
        raise WorkFailed(outcome["error"], **outcome["details"])
    if outcome.get("status") == "broken":
        raise TimesTenError(outcome["error"])
    return outcome.get("status") == "done"
