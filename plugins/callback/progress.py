# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Callback that shows the progress of a task with many hosts."""

from __future__ import annotations

DOCUMENTATION = r"""
name: progress
type: aggregate
short_description: How many hosts are done, and how long the others will take
version_added: 1.0.0
description:
  - After each tenth of a task's hosts, and at least every ten seconds, it prints how many hosts are done and about how
    long the others will take.
  - It is for tasks with ten hosts or more. The hosts of later batches (C(serial)) count too.
  - It works together with any callback that shows the output.
requirements:
  - enabled in C(callbacks_enabled)
"""

import time
from typing import Any

from ansible.plugins.callback import CallbackBase

from ansible_collections.timesten.monitoring.plugins.plugin_utils.progress import Progress


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Counts the finished hosts of the running task."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "timesten.monitoring.progress"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, display: Any = None, options: Any = None) -> None:
        super().__init__(display, options)
        self._total = 0
        self._play = ""
        self._running: dict[tuple[str, str], Progress] = {}

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Count the hosts of all batches. Ansible announces each batch as a play of the same name."""
        self._total = len(play.get_variable_manager().get_vars(play=play).get("ansible_play_hosts_all") or ())
        if play.get_name() != self._play:
            self._play, self._running = play.get_name(), {}

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Begin to count, or continue with the next batch."""
        key = self._key(task)
        known = self._running.get(key)
        # A task of an included file runs again for the next wave.
        if known is None or known.done >= known.total:
            total = 1 if task.run_once else self._total
            self._running[key] = Progress(task.get_name(), total, time.monotonic())

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """Begin to count a handler, such as a step of a rotation. Only the notified hosts take part."""
        total = 1 if task.run_once else len(task.notified_hosts)
        self._running[self._key(task)] = Progress(task.get_name(), total, time.monotonic())

    def _key(self, task: Any) -> tuple[str, str]:
        return self._play, str(task.get_path() or task.get_name())

    def _count(self, result: Any, skipped: bool = False) -> None:
        progress = self._running.get(self._key(result._task))
        line = None if progress is None else progress.host(time.monotonic(), skipped)
        if line:
            self._display.display(line)

    def v2_runner_on_ok(self, result: Any) -> None:
        """Count a host that is done."""
        self._count(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Count a host that failed."""
        self._count(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Count a host that was not reached."""
        self._count(result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Count a host that has nothing to do."""
        self._count(result, skipped=True)
