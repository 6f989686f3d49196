# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of docs/which-prometheus.md, read as the playbooks read them. What they do is tried by tests/integration/test_takers.py."""

from __future__ import annotations

import re

import pytest
import yaml

from ansible_collections.timesten.monitoring.plugins.plugin_utils import fleet
from gates.doc_examples import example

EXAMPLES = {
    "binary": example("taker-binary"),
    "container": example("taker-container"),
    "web": example("taker-web"),
    "proxy": example("taker-proxy"),
    "role": example("taker-role"),
    "vmagent": example("taker-vmagent"),
}
GROUPS = {"timesten_exporters": ["exp1"], "prometheus_servers": ["prom1"]}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_variables_of_each_reader_are_taken(name: str) -> None:
    own = yaml.safe_load(re.sub(r"\{\{ vault_\w+ \}\}", "from-the-vault", EXAMPLES[name]))
    hostvars = {"exp1": {"exporter_host_timesten_home": "/opt/tt"}, "prom1": own}
    assert fleet.problems(hostvars, GROUPS, ["exp1", "prom1"]) == []
    read_fleet, _messages = fleet.read(hostvars, GROUPS)
    options = read_fleet.clients["prom1"].options
    for variable, value in own.items():
        assert options[variable.removeprefix("prometheus_host_")] == value
