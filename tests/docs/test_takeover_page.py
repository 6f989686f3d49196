# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/takeover.md: what it shows is what the code says. Its commands are run in tests/integration/test_takeover_site.py."""

from __future__ import annotations

import yaml

from ansible_collections.timesten.monitoring.plugins.plugin_utils import discovery, fleet
from gates.doc_examples import blocks, example

FOUND = {
    "pid": 4711,
    "port": 8888,
    "listening": True,
    "owner": "timesten",
    "timesten_home": "/opt/timesten/ttinst",
    "certificate_directory": "/home/timesten/mycertdir",
    "insecure": False,
    "not_after": "2036-11-21T10:49:00Z",
}
JOB = {"job": "tt_8888", "where": "/etc/prometheus/prometheus.yml: line 7", "targets": ["exp1:8888"], "interval": 15}


def test_table_and_inventory_are_what_the_playbook_says() -> None:
    exporters = {"exp1": discovery.parse_exporters({"exporters": [FOUND]})}
    jobs = {"prom1": discovery.parse_jobs({"jobs": [JOB]})}
    rows, left = discovery.matched(exporters, jobs, {"exp1": ["exp1"]})
    [table] = [block.text for block in blocks() if block.path == "docs/takeover.md" and block.text.startswith("host ")]
    assert table.splitlines() == discovery.lines(rows, left, {})
    assert yaml.safe_load(example("takeover-inventory")) == yaml.safe_load(discovery.inventory(rows, ["prom1"]))


def test_variables_of_the_page_make_these_exporters() -> None:
    hosts = {
        **yaml.safe_load(example("takeover-inventory"))["all"]["children"]["timesten_exporters"]["hosts"],
        **{name: {} for name in ("second", "renamed", "host")},
    }
    hosts["second"] = yaml.safe_load(example("second-exporter"))["timesten_exporters"]["hosts"]["exp1-stock"]
    hosts["renamed"] = yaml.safe_load(example("renamed-exporter"))["exp1"]
    hosts["host"] = yaml.safe_load(example("renamed-host"))["exp1"]
    names = {"exp1": "exp1", "second": "exp1-stock", "renamed": "exp1", "host": "exp1"}
    exporters = {}
    for key, variables in hosts.items():
        given = {"exporter_host_timesten_home": "/opt/timesten/ttinst", **variables}
        (exporter,) = fleet.exporter_host(names[key], given).exporters
        exporters[key] = (exporter.name, exporter.address, exporter.port, bool(exporter.definition.get("takeover")))
    assert exporters == {
        "exp1": ("exp1", "exp1", 8888, True),
        "second": ("exp1-stock", "exp1", 8889, False),
        "renamed": ("exp1-a", "exp1", 8888, True),
        "host": ("exp1", "exp1", 8888, False),
    }
