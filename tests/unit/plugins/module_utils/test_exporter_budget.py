# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scrapes of one exporter cost, against what it allows."""

from __future__ import annotations

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.budget import rate_budget


@pytest.mark.parametrize(
    ("intervals", "limit", "per_minute", "fits", "smallest"),
    [
        ({}, 15, 0.0, True, 0),
        ({"a": 15.0, "b": 15.0}, 15, 8.0, True, 8),
        ({"a": 15.0, "b": 15.0, "c": 15.0}, 10, 12.0, False, 18),
        ({"a": 12.0, "b": 12.0, "c": 12.0}, 15, 15.0, True, 12),
        ({"a": 15.0, "b": 15.0, "c": 15.0, "d": 15.0}, 15, 16.0, False, 16),
        ({"a": 0.5}, 15, 120.0, False, 4),
        ({"a": 5.999}, 10, 60 / 5.999, False, 6),
        ({"a": 7.0, "b": 11.0, "c": 13.0}, 7, 60 / 7 + 60 / 11 + 60 / 13, False, 26),
    ],
)
def test_rate_budget(intervals, limit, per_minute, fits, smallest) -> None:
    budget = rate_budget(intervals, limit)
    assert float(budget.message.split()[0]) == pytest.approx(per_minute, abs=0.01)
    assert budget.fits is fits
    if not fits:
        assert f"{limit} allowed; {smallest}s is the smallest scrape_interval that fits" in budget.message
        assert rate_budget(dict.fromkeys(intervals, float(smallest)), limit).fits
        assert not rate_budget(dict.fromkeys(intervals, smallest - 1.0), limit).fits


def test_rate_budget_is_exact() -> None:
    """Thirty clients at thirty times the interval of one: floating point would miss 15 by a hair."""
    clients = {f"c{number}": 0.3 * 20 * 30 / 1.5 for number in range(30)}
    assert rate_budget(clients, 15).fits
    budget = rate_budget({**clients, "c0": 119.999}, 15)
    assert not budget.fits
    assert budget.message.startswith("15.01 scrapes a minute")


def test_an_impossible_interval_is_named() -> None:
    with pytest.raises(TimesTenError, match="client prom1: a scrape interval of 0"):
        rate_budget({"prom1": 0.0}, 15)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "500ms"), (15.0, "15s"), (90.5, "1m30s500ms"), (7200.0, "2h"), (90000.0, "1d1h")]
)
def test_intervals_are_written_as_prometheus_does(seconds, text) -> None:
    assert f"(prom1 every {text})" in rate_budget({"prom1": seconds}, 15).message
