# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may rotate what another run has leased."""

from __future__ import annotations

import json
import time

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.machine import lease as _lease

NOW = 1_800_000_000.0
ALICE = {"name": "alice@ctl1 (process 7)", "controller": "ctl1/1", "process": "7/100"}
LEASE = {"run": ALICE, "until": NOW + 60}


def run(controller="ctl1/1", process="8/200", running=("8/200",)):
    return {"name": "bob", "controller": controller, "process": process, "running": running and list(running)}


@pytest.mark.parametrize(
    ("lease", "who", "free"),
    [
        (None, run(), True),
        ({**LEASE, "until": NOW}, run("ctl2/1"), True),
        (LEASE, run("ctl2/1"), False),
        (LEASE, {}, False),
        ({"until": NOW + 60}, {}, False),
        (LEASE, run(process="7/100", running=None), True),
        (LEASE, run(), True),
        (LEASE, run(running=("8/200", "7/100")), False),
        # Another process got the number.
        (LEASE, run(running=("8/200", "7/999")), True),
        # The controller's system does not tell what runs.
        (LEASE, run(running=None), False),
        # A container of the same name.
        (LEASE, run("ctl1/2"), False),
    ],
)
def test_who_may_take_it(lease, who, free):
    hindered = _lease.hindrance(lease, who, NOW)
    assert (hindered is None) == free
    if not free and lease.get("run"):
        assert hindered == "alice@ctl1 (process 7), until 2027-01-15T08:01:00Z at the latest"


def test_taken_extended_and_given_back(tmp_path):
    directory = str(tmp_path)
    _lease.take(directory, ALICE, 60)
    _lease.take(directory, {**ALICE, "running": ["7/100"]}, 300)
    written = json.loads((tmp_path / "lease.json").read_text())
    assert written["run"] == ALICE
    assert 290 < written["until"] - time.time() <= 300
    stranger = run("ctl2/1")
    for call in (lambda: _lease.take(directory, stranger, 60), lambda: _lease.check(directory, stranger)):
        with pytest.raises(TimesTenError, match=r"is being rotated by alice@ctl1 \(process 7\), until 20"):
            call()
    assert json.loads((tmp_path / "lease.json").read_text()) == written
    _lease.give_back(directory)
    _lease.give_back(directory)
    _lease.take(directory, stranger, 60)
    assert json.loads((tmp_path / "lease.json").read_text())["run"]["controller"] == "ctl2/1"


def test_a_caller_without_a_name_can_go_on(tmp_path):
    """The modules' option run may be left out; who did that could not be told from the next one."""
    for _step in ("stage", "switch"):
        _lease.take(str(tmp_path), {"name": "", "controller": "", "process": "", "running": None}, 60)
        _lease.check(str(tmp_path), {})
    _lease.take(str(tmp_path), ALICE, 60)
    with pytest.raises(TimesTenError, match="is being rotated by alice"):
        _lease.take(str(tmp_path), {}, 60)


def test_a_damaged_one_keeps_nobody_away(tmp_path):
    (tmp_path / "lease.json").write_text("{")
    _lease.check(str(tmp_path), run())
    _lease.take(str(tmp_path), run(), 60)
    _lease.check(str(tmp_path), run())
