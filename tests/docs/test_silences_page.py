# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of docs/silences.md are taken, and the page has all of them."""

from __future__ import annotations

import re

import yaml

from ansible_collections.timesten.monitoring.plugins.plugin_utils import fleet
from gates.doc_examples import example
from gates.environments import ROOT


def test_the_variables_of_the_page() -> None:
    run = yaml.safe_load(example("silences"))
    # What the lookups stand for.
    run = {name: "word" if "lookup" in value else value for name, value in run.items()}
    variables = {"exp1": {"exporter_host_timesten_home": "/opt/tt", **run}, "prom1": run}
    groups = {"timesten_exporters": ["exp1"], "prometheus_servers": ["prom1"]}
    assert fleet.problems(variables, groups, ["exp1", "prom1"], operation="verify", extra_vars=run) == []
    page = (ROOT / "docs/silences.md").read_text()
    told = set(re.findall(r"`(\w+)`", "".join(re.findall(r"(?m)^\| `rotate_.*", page))))
    assert {name for name in fleet.RUN if re.match(r"rotate_(silence|annotation)", name)} <= told
