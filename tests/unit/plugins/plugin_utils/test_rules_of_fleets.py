# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rule file of two fleets that share a Prometheus: each has alerts about its own exporters, with its own thresholds, once."""

from __future__ import annotations

import collections
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ansible", reason="used on the controller alone")

import yaml

from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import config, rule_file
from ansible_collections.timesten.monitoring.plugins.plugin_utils import rules
from lab import packages

pytestmark = pytest.mark.controller

NORTH, SOUTH = "north", 'it\'s "south"'
VIEW = config.read(config.Files(b"", "/etc/prometheus/prometheus.yml", "/store", "/etc/prometheus/timesten.yml"))
OWNERS = {"exp1": NORTH, "exp2": SOUTH, "exp3": SOUTH}
HONORS = "exp3"
EVERY = dict.fromkeys(rules.all_alerts(), True)


def entry(name: str, fleet: str) -> dict[str, Any]:
    honors = {"honor_labels": True} if name == HONORS else {}
    target = {"name": name, "address": name, "port": 8888, "insecure": True, **honors}
    subject = rules.Subject(name, "prom1", not_after={"ca": 3 * 86400.0}, honors_labels=bool(honors))
    return {"definition": target, "fleet": fleet, "rules": rules.of_exporter(subject)}


ENTRIES: dict[str, Any] = {name: entry(name, fleet) for name, fleet in OWNERS.items()}


def both(north: dict[str, Any], south: dict[str, Any], switches: dict[str, bool] | None = None) -> str:
    common = {NORTH: rules.common(north, switches or EVERY), SOUTH: rules.common(south, EVERY)}
    return rule_file.compose(common, ENTRIES, VIEW).decode()


def full(name: str, used: float) -> list[dict[str, str]]:
    """The permanent space of the database of an exporter."""
    instance = '"tt1"' if name == HONORS else f'"{name}:8888",exported_instance="tt1"'
    labels = f'{{job="timesten-{name}",instance={instance},dsn="sales"}}'
    sizes = {"timesten_perm_in_use_bytes": used, "timesten_perm_allocated_bytes": 1000}
    series = [{"series": metric + labels, "values": f"{value}x60"} for metric, value in sizes.items()]
    return [*series, {"series": f'up{{job="timesten-{name}",instance="{name}:8888"}}', "values": "1x60"}]


@pytest.mark.parametrize("version", ["2.42", "3.5"])
def test_each_fleet_is_told_of_its_own_exporters_once(tmp_path: Path, version: str) -> None:
    promtool = str(packages.prometheus(version).promtool)
    (tmp_path / "both.yml").write_text(both({"permanent_space_share": 0.5}, {"permanent_space_share": 0.8}))
    text = (tmp_path / "both.yml").read_text()
    groups = [group["name"] for group in yaml.safe_load(text)["groups"]]

    def alerts(name: str, *jobs: str) -> dict[str, Any]:
        expr = f'sum by (job) (ALERTS{{alertname="{name}",alertstate="firing"}})'
        told = [{"labels": f'{{job="timesten-{job}"}}', "value": 1} for job in jobs]
        return {"expr": expr, "eval_time": "50m", "exp_samples": told}

    certificates = 'sum by (exporter) (ALERTS{alertname="TimesTenCertificateEndsThisWeek",alertstate="firing"})'
    tests = {
        "rule_files": ["both.yml"],
        "evaluation_interval": "1m",
        "group_eval_order": sorted(groups, key=lambda name: (" of " in name, name)),
        "tests": [
            {
                "interval": "1m",
                # 0.6 is above the threshold of north alone; exp3 is full for south, and exp2 down.
                "input_series": [
                    *full("exp1", 600),
                    *full("exp2", 600)[:2],
                    *full("exp3", 900),
                    {"series": 'up{job="timesten-exp2",instance="exp2:8888"}', "values": "0x60"},
                    {"series": 'prometheus_config_last_reload_successful{job="prometheus"}', "values": "0x60"},
                ],
                "promql_expr_test": [
                    alerts("TimesTenPermanentSpaceHigh", "exp1", "exp3"),
                    alerts("TimesTenExporterDown", "exp2"),
                    {
                        "expr": 'count(ALERTS{alertname="TimesTenPrometheusReloadFails",alertstate="firing"})',
                        "eval_time": "50m",
                        "exp_samples": [{"labels": "{}", "value": 1}],
                    },
                    {
                        "expr": certificates,
                        "eval_time": "50m",
                        "exp_samples": [{"labels": f'{{exporter="{name}"}}', "value": 1} for name in OWNERS],
                    },
                ],
            }
        ],
    }
    (tmp_path / "both.test").write_text(json.dumps(tests))
    for command in (["check", "rules", "both.yml"], ["test", "rules", "both.test"]):
        done = subprocess.run([promtool, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "duplicate" not in done.stdout, done.stdout + done.stderr


def test_groups_of_two_fleets() -> None:
    data = both({}, {}, {"TimesTenDeadlocks": False}).encode()
    groups = yaml.safe_load(data)["groups"]
    names = [group["name"] for group in groups]
    assert rule_file.group_names(data) == names and len(names) == len(set(names))
    assert f"timesten space of {SOUTH}" in names and "timesten space of north" in names
    counted = collections.Counter(
        (rule.get("record"), rule["labels"].get("kind"), rule["labels"].get("exporter"), rule["labels"].get("fleet"))
        if "record" in rule
        else (rule["alert"], group["name"])
        for group in groups
        for rule in [{"labels": {}, **one} for one in group["rules"]]
    )
    twice = [sign for sign, number in counted.items() if number > 1]
    # One for each exporter of a fleet, of different targets.
    assert twice == [("target:timesten_fleet:info", None, None, SOUTH)]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    scoped = [rule for rule in alerts if "timesten_fleet" in rule["expr"]]
    assert {rule["alert"] for rule in alerts} - {rule["alert"] for rule in scoped} == {"TimesTenPrometheusReloadFails"}
    deadlocks = [rule["expr"] for rule in alerts if rule["alert"] == "TimesTenDeadlocks"]
    assert len(deadlocks) == 1 and 'fleet="it\'s \\"south\\""' in deadlocks[0]


def test_a_fleet_that_wants_none_has_none() -> None:
    text = rule_file.compose({NORTH: "", SOUTH: rules.common({}, {})}, ENTRIES, VIEW).decode()
    assert "timesten exporter exp1" not in text and "timesten exporter exp2" in text and "of north" not in text


@pytest.mark.parametrize("fleet", ["", "auto-0123456789ab"])
def test_one_fleet_has_the_rules_as_they_are_rendered(fleet: str) -> None:
    entries = {name: {**kept, "fleet": fleet} for name, kept in ENTRIES.items()}
    text = rule_file.compose({fleet: rules.common({}, EVERY)}, entries, VIEW).decode()
    exprs = [rule["expr"] for group in yaml.safe_load(text)["groups"] for rule in group["rules"] if "alert" in rule]
    assert sorted(exprs) == sorted(
        rules._filled(alert.expr, {name: rules._number(value) for name, value in rules.THRESHOLDS.items()})
        for alert in rules.all_alerts().values()
    )
    assert "fleet" not in text
