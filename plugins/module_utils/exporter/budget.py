# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares the scrapes of one exporter with the GETs per minute that ttExporter accepts."""

from __future__ import annotations

from typing import Mapping, NamedTuple

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError

DOCUMENTED_RATE_LIMIT = 10
"""GETs per minute that ttExporter accepts if nobody sets its limit."""


class RateBudget(NamedTuple):
    """Says whether the scrapes of one exporter fit into its limit, with the numbers for a message."""

    fits: bool
    message: str


def rate_budget(intervals: Mapping[str, float], limit: int) -> RateBudget:
    """Compare the GETs per minute of all clients of one exporter with its limit.

    The sum is exact (an integer fraction of milliseconds, no floating point): three clients at 12 s are exactly 15 a
    minute.

    :param intervals: scrape interval in seconds, by client name.
    :param limit: GETs per minute that the exporter accepts.
    :raises TimesTenError: if an interval is not positive.
    """
    total, divisor, parts = 0, 1, []
    for client, seconds in sorted(intervals.items()):
        milliseconds = round(seconds * 1000)
        if milliseconds <= 0:
            raise TimesTenError(f"client {client}: a scrape interval of {seconds!r} seconds is impossible")
        total, divisor = total * milliseconds + 60000 * divisor, divisor * milliseconds
        parts.append(f"{client} every {_duration(milliseconds)}")
    # Round up, so that a sum just over the limit does not read like the limit.
    shown = -(-total * 100 // divisor) / 100
    message = f"{shown:g} scrapes a minute ({', '.join(parts) or 'no client'}), {limit} allowed"
    if total <= limit * divisor:
        return RateBudget(True, message)
    smallest = -(-60 * len(intervals) // limit)
    plural = "s" if len(intervals) > 1 else ""
    message += f"; {smallest}s is the smallest scrape_interval that fits for {len(intervals)} client{plural}"
    return RateBudget(False, message)


def _duration(milliseconds: int) -> str:
    """Write a duration as Prometheus does: 90500 becomes ``1m30s500ms``."""
    parts, rest = [], milliseconds
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, size)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts)
