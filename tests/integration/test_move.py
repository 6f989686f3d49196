# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An exporter without TLS whose port changes while nobody who scrapes it can be reached: no file of it says who does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from integration import rotation_kit
from integration.exporter_kit import free_port, until
from integration.rotation_kit import said

pytestmark = [pytest.mark.slow]
PLAIN = {"exporter_host_insecure": True}


def test_plain_http_moves_with_its_prometheus_alone(tmp_path: Path) -> None:
    with rotation_kit.fleet(tmp_path, 1.0, versions=("3.5",), variables=PLAIN, RATE="unlimited") as fleet:
        fleet.play("site")
        port = fleet.port("exp1")
        until(lambda: fleet.targets("prom1") == {"timesten-exp1": ("up", f"localhost:{port}")}, 20, "the first scrape")
        file = fleet.root / "inventory.json"
        inventory = json.loads(file.read_text())
        groups = inventory["all"]["children"]
        groups["timesten_exporters"]["hosts"]["exp1"]["exporter_host_exporters"][0]["port"] = moved = free_port()
        away = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
        groups["prometheus_servers"]["hosts"]["prom1"].update(away)
        file.write_text(json.dumps(inventory))
        for options in (("--check",), ()):
            refused = said(fleet.play("site", *options, fails=True))
            assert (
                f"port {port} -> {moved} is for its clients to follow, and prom1, which scrapes it, could not"
                in refused
            )
        assert fleet.targets("prom1") == {"timesten-exp1": ("up", f"localhost:{port}")}
        for key in away:
            del groups["prometheus_servers"]["hosts"]["prom1"][key]
        file.write_text(json.dumps(inventory))
        fleet.play("site")
        assert fleet.targets("prom1") == {"timesten-exp1": ("up", f"localhost:{moved}")}
