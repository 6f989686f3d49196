# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rotation of an exporter that takes longer to end than stop_timeout: the signal was sent, so it is followed, and its successor comes up."""

from __future__ import annotations

import pathlib

import pytest

from integration import rotation_kit
from integration.exporter_kit import until

pytestmark = [pytest.mark.slow, pytest.mark.alone]


def test_an_end_that_takes_longer_than_stop_timeout(tmp_path: pathlib.Path) -> None:
    # Of the default, 10 s.
    with rotation_kit.fleet(tmp_path, 2.0, ("3.5",), RATE="unlimited", STOP_DELAY="12") as fleet:
        fleet.play("site")
        before, (old,) = fleet.current(), fleet.instances["exp1"].exporters()
        # Twelve seconds are no gap between scrapes of two.
        output = fleet.play("rotate", "-e", "rotate_force=true")
        report = fleet.report()
        assert report["rotations"][0].partition(": ")[2].startswith("switched, "), output
        assert {pair["state"] for pair in report["pairs"]} == {"proven"}
        assert fleet.current() != before and fleet.record()["window"] > 12
        (new,) = fleet.instances["exp1"].exporters()
        assert new.pid != old.pid
        until(fleet.quiet, 60, "the end of the detached processes")
        assert [process.pid for process in fleet.instances["exp1"].exporters()] == [new.pid]
        assert fleet.targets("prom1") == {"timesten-exp1": ("up", f"localhost:{fleet.port('exp1')}")}
