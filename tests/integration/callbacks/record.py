# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes every result of a run, whole, as one line of JSON to the file that RECORD_FILE names."""

from __future__ import annotations

import json
import os

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: record
type: aggregate
short_description: Writes every result of a run to a file
description: For the tests, which read from it what happened, and search it for secrets.
"""


class CallbackModule(CallbackBase):
    """One line for each result of a task or an item, and for each start of a task."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "record"

    def __init__(self) -> None:
        super().__init__()
        self._file = open(os.environ["RECORD_FILE"], "a", encoding="utf-8")  # noqa: SIM115  (open until the run ends)

    def _write(self, event, result):
        task = result._task
        line = {
            "event": event,
            "host": result._host.name,
            "task": task.get_name(),
            "action": task.action,
            "arguments": task.args,
            "result": result._result,
        }
        self._file.write(json.dumps(line, default=str) + "\n")
        self._file.flush()

    def v2_runner_on_ok(self, result):
        self._write("ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._write("failed", result)

    def v2_runner_on_unreachable(self, result):
        self._write("unreachable", result)

    def v2_runner_on_skipped(self, result):
        self._write("skipped", result)

    def v2_runner_item_on_ok(self, result):
        self._write("item_ok", result)

    def v2_runner_item_on_failed(self, result):
        self._write("item_failed", result)
