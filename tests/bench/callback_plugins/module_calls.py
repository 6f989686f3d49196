# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Callback: writes a line for each module call to the file $BENCH_CALLS, and at the end the recap to $BENCH_CALLS.recap.

A task is no measure of calls: ``copy`` and ``template`` make up to three per file, ``set_fact`` makes none. So the calls are
counted where an action makes them. Workers are forked from this process after it has loaded its callbacks.
"""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: module_calls
type: aggregate
short_description: Count module calls
description: Writes a line for each module call to the file that the environment variable BENCH_CALLS names.
"""


class CallbackModule(CallbackBase):
    """Counts."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "module_calls"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        # One short write to a file opened for appending is not torn, whichever worker makes it.
        calls = os.open(os.environ["BENCH_CALLS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        execute = ActionBase._execute_module

        def counted(action: ActionBase, module_name: str | None = None, *args: Any, **kwargs: Any) -> Any:
            os.write(calls, f"{module_name or action._task.action}\n".encode())
            return execute(action, module_name, *args, **kwargs)

        ActionBase._execute_module = counted

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Write the recap as JSON."""
        recap = {host: stats.summarize(host) for host in stats.processed}
        with open(os.environ["BENCH_CALLS"] + ".recap", "w", encoding="utf-8") as file:
            json.dump(recap, file)
