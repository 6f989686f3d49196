# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells how far a task is: how many hosts are done, and how long the others will take."""

from __future__ import annotations

import math

LEAST = 10
"""For fewer hosts nothing is printed: Ansible shows them one by one, and they are done soon."""
_QUIET = 10.0
"""The longest time in seconds between two lines, as long as hosts finish."""


class Progress:
    """One task over all hosts of its play, in all batches. It is told of events with their times, and returns the lines
    to print.
    """

    def __init__(self, task: str, total: int, began: float) -> None:
        self.task, self.total = task, total
        self.done = self.worked = self._tenths = 0
        self._began = self._said = began

    def host(self, now: float, skipped: bool = False) -> str | None:
        """Count one more host. Return a line if it is time for one."""
        self.done += 1
        if skipped:
            # A skipped host took no time, so it says nothing about the others.
            return None
        self.worked += 1
        tenths = self.done * 10 // self.total if self.total else 10
        if self.total < LEAST or (tenths == self._tenths and now - self._said < _QUIET):
            return None
        self._tenths, self._said = tenths, now
        spent, left = now - self._began, max(self.total - self.done, 0)
        text = f"{self.task}: {self.done} of {self.total} hosts after {duration(spent)}"
        return f"{text}, about {duration(spent / self.worked * left)} to go" if left else text


def duration(seconds: float) -> str:
    """Return a duration in a form for people."""
    whole = math.ceil(seconds)
    if whole < 120:
        return f"{whole} s"
    return f"{math.ceil(whole / 60)} min" if whole < 7200 else f"{whole / 3600:.1f} h"
