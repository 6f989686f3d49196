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


def unattended(directory: ExporterDirectory, work: Callable[[], object]) -> bool:
    """Have a detached process do some work, and wait for its end. The caller holds the lock, and that process holds it too.

    :param work: whatever it imports has to be imported already.
    :returns: whether the work was done; False if that process was ended from outside.
    :raises TimesTenError: what the work raised.
    """
    record = Record(directory.restart_file)

    def carry_out(_token: str) -> None:
        try:
            work()
        except (TimesTenError, OSError) as error:
            failed = system_error(error)
            record.write(status="failed", error=failed.message, details=failed.details)
        except Exception as error:
            # Nobody reads a traceback of a process without a terminal.
            record.write(status="failed", error=f"{type(error).__name__}: {error}", details={})
        else:
            record.write(status="done")

    launched = record.launch(carry_out, (directory.lock_descriptor,), status="restarting")
    os.waitpid(launched["pid"], 0)
    # It may have changed what is current.
    directory.forget()
    outcome = record.read() or {}
    with contextlib.suppress(FileNotFoundError):
        os.unlink(directory.restart_file)
    if outcome.get("status") == "failed":
        raise TimesTenError(outcome["error"], **outcome["details"])
    return outcome.get("status") == "done"
