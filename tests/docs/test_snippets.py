# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Short examples of pages and roles, each given to the code that it is about."""

from __future__ import annotations

from pathlib import Path

import yaml

from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import config as _prometheus_config
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import jobs as _prometheus_jobs
from ansible_collections.timesten.monitoring.plugins.plugin_utils import fleet
from gates import checkout
from gates.doc_examples import example

STORE = "/etc/prometheus/timesten"


def test_the_block_is_what_the_edit_makes() -> None:
    shown = example("block")
    begin, end = "  # BEGIN timesten.monitoring", "  # END timesten.monitoring\n"
    owners = shown[: shown.index(begin)] + shown[shown.index(end) + len(end) :]
    definition = {"name": "exp1", "address": "exp1.example.com", "port": 12345, "alt_names": ["exp1.example.com"]}
    job = _prometheus_jobs.build(definition, STORE)
    path = "/etc/prometheus/prometheus.yml"
    files = _prometheus_config.Files(owners.encode(), path, STORE, "/etc/prometheus/timesten.yml", client="prom1")
    edited = _prometheus_config.edit(files, [job])
    assert edited.config.decode() == shown


def test_the_line_of_rule_files_is_what_the_edit_makes() -> None:
    owners = b"rule_files:\n  - first_rules.yml                 # yours, untouched\n"
    path = "/etc/prometheus/prometheus.yml"
    assert _prometheus_config.name_rules(owners, path, f"{STORE}.rules.yml").decode() == example("rule-files")


def test_instances_are_clients_of_their_own() -> None:
    variables = yaml.safe_load(example("prometheus-instances"))
    clients = {client.name: client.options for client in fleet.prometheus_host("prom1", variables).clients}
    assert set(clients) == {"prom1-short", "prom1-long"}
    assert clients["prom1-long"]["scrape_interval"] == "60s"
    assert clients["prom1-short"]["store"] == STORE


def test_variables_of_the_boot_page_exist() -> None:
    variables = yaml.safe_load(example("boot"))["timesten_exporters"]["vars"]
    options = checkout.load("roles/exporter_host/meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    assert variables and set(variables) <= set(options)
    assert variables["exporter_host_boot"] in options["exporter_host_boot"]["choices"]


def test_playbook_of_the_reference_exporter(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(example("reference-exporter"), encoding="utf-8")
    (tmp_path / "inventory.ini").write_text("[timesten_exporters]\nexp1\n", encoding="utf-8")
    said = checkout.run(
        ["ansible-playbook", "-i", "inventory.ini", "--syntax-check", "play.yml"],
        cwd=tmp_path,
        env={"ANSIBLE_COLLECTIONS_PATH": str(checkout.copy().parents[2])},
    )
    assert "play.yml" in said
    options = checkout.load("roles/reference_exporter/meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    used = yaml.safe_load(example("reference-exporter"))[0]["roles"][0]
    assert set(used) - {"role"} <= set(options)
