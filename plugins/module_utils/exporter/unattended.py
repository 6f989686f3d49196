# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a restart that finishes even if the module, its connection or the controller is killed between stop and start."""

from __future__ import annotations

import contextlib
import os
from typing import Callable

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError, system_error
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import ExporterDirectory
from ansible_collections.timesten.monitoring.plugins.module_utils.machine.detached import Record


class WorkFailed(TimesTenError):
    """The work failed by itself, and has already cleaned up after that."""


def unattended(directory: ExporterDirectory, work: Callable[[], object]) -> bool:
    """Let a detached process do some work, and wait for its end. The caller and that process both hold the lock.

    :param work: everything that it imports must be imported already.
    :returns: whether the work was done; False if somebody ended that process.
    :raises WorkFailed: if the work raised a TimesTenError or OSError.
    :raises TimesTenError: if that process could not be started, or the work raised another exception.
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
                # The message does not need details that cannot be written as JSON.
                record.write(status="failed", error=failed.message, details={})
        except Exception as error:
            # A process without a terminal has nobody who reads a traceback, so the record gets the error.
            record.write(status="broken", error=f"{type(error).__name__}: {error}")
        else:
            record.write(status="done")

    launched = record.launch(carry_out, (directory.lock_descriptor,), status="restarting")
    with contextlib.suppress(ChildProcessError):
        os.waitpid(launched["pid"], 0)
    # The work may have made another generation current.
    directory.forget()
    outcome = record.read() or {}
    with contextlib.suppress(FileNotFoundError):
        os.unlink(directory.restart_file)
    if outcome.get("status") == "failed":
        raise WorkFailed(outcome["error"], **outcome["details"])
    if outcome.get("status") == "broken":
        raise TimesTenError(outcome["error"])
    return outcome.get("status") == "done"
