# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the measurements and keeps their results in .cache/bench, for report.py.

How fast something is depends on what else the machine does, so no test here judges a time. They judge what does not depend on
it: numbers of module calls and of files written, and the seconds of CPU and the memory of one module call.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench import fleet, one_host


@pytest.mark.skipif(os.geteuid() != 0, reason="the lab makes namespaces and mounts: run as root")
@pytest.mark.parametrize(("exporters", "servers"), fleet.SIZES, ids=[f"{n}x{m}" for n, m in fleet.SIZES])
def test_fleet(exporters: int, servers: int, rounds: int) -> None:
    name = f"fleet-{exporters}x{servers}"
    summary = fleet.measure(exporters, servers, rounds, fleet.keeper(name))["summary"]
    sizes = {
        "first": (exporters, servers),
        "second": (exporters, servers),
        "exporter": (exporters + 1, servers),
        "prometheus": (exporters + 1, servers + 1),
    }
    for operation, (n, m) in sizes.items():
        assert summary[operation]["ours"]["calls"] == n + 2 * m
        assert summary[operation]["floor"]["calls"] == n + 2 * m
        assert summary[operation]["book"]["calls"] > n * m


def test_one_host(rounds: int) -> None:
    rows = {(row["exporters"], row["call"]): row for row in one_host.run(rounds=rounds)["summary"]}
    first = [rows[count, "first"] for count in one_host.COUNTS]
    assert first[-1]["cpu"] < 5
    assert first[-1]["peak_mib"] < 200
    per_exporter = [
        (after["cpu"] - before["cpu"]) / (after["exporters"] - before["exporters"])
        for before, after in zip(first, first[1:])
    ]
    assert per_exporter[1] < 1.5 * per_exporter[0], "more than linear"
    edit = rows[one_host.COUNTS[-1], "edit"]
    assert edit["edit_and_promtool_to_promtool_cpu"] <= 3
    changed = rows[one_host.COUNTS[-1], "one job changed"]
    assert changed["writes_beside_prometheus_yml"] == 1
    assert changed["promtool_runs"] == 1


def test_floor_has_as_many_plays_as_site() -> None:
    def plays(playbook: str) -> int:
        command = [
            str(Path(sys.executable).with_name("ansible-playbook")),
            "--list-tasks",
            "-i",
            "timesten_exporters,",
            playbook,
        ]
        environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(fleet.PROJECT / "collections")}
        listed = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
        return len(re.findall(r"^  play #", listed, re.MULTILINE))

    assert plays(str(fleet.BENCH / "floor.yml")) == plays(str(fleet.PROJECT / "playbooks" / "site.yml")) > 3
