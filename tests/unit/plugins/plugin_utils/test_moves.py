# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exporters whose target moves: who is refused because somebody could not follow."""

from __future__ import annotations

import types
from typing import Any

import pytest

from ansible_collections.timesten.monitoring.plugins.plugin_utils import answers, moves, steps
from ansible_collections.timesten.monitoring.plugins.plugin_utils.answers import PrometheusAnswer
from ansible_collections.timesten.monitoring.plugins.plugin_utils.fleet import Exporter

EXPORTER = Exporter("exp1", "exp1", "exp1.example.com", 8888, 8889, False, "started", {})
KNOWN = {"address": "exp1.example.com", "port": 8888, "insecure": False}


def looked(definitions: dict[str, dict[str, Any]]) -> dict[str, PrometheusAnswer]:
    return {"prom1": PrometheusAnswer("prom1", "inspected", "prom1", False, None, definitions=definitions)}


@pytest.mark.parametrize(
    ("definitions", "refused"),
    [
        ({"exp1": KNOWN}, None),
        ({"exp1": {**KNOWN, "port": 8889}}, None),
        ({"exp1.spare": {**KNOWN, "port": 8889, "usual_port": 8888}}, None),
        ({"exp1": {key: KNOWN[key] for key in ("address", "port")}}, None),
        ({"exp1": {}}, None),
        ({}, None),
        ({"exp2": {**KNOWN, "port": 1}}, None),
        (
            {"exp1": {**KNOWN, "port": 9999}},
            "scrapes it at exp1.example.com:9999, the inventory says exp1.example.com:8888",
        ),
        ({"exp1.spare": {**KNOWN, "port": 9999}}, "scrapes it at exp1.example.com:9999, "),
        ({"exp1": {**KNOWN, "address": "::1"}}, "scrapes it at [::1]:8888, the inventory says exp1.example.com:8888"),
        ({"exp1": {**KNOWN, "insecure": True}}, "scrapes it over plain http, the inventory says over mutual TLS"),
    ],
)
@pytest.mark.parametrize("away", [[], ["prom2"], ["prom2", "prom3"]])
def test_nobody_moves_while_somebody_could_not_follow(
    definitions: dict[str, dict[str, Any]], refused: str | None, away: list[str]
) -> None:
    found = moves.cannot_follow([EXPORTER], away, looked(definitions))
    if refused is None or not away:
        assert found == {}
        return
    assert list(found) == ["exp1"] and found["exp1"].startswith(f"prom1 {refused}")
    assert (
        f"and {', '.join(away)}, which would have to follow, could not be looked at: nothing was changed"
        in found["exp1"]
    )


@pytest.mark.parametrize(("insecure", "known"), [(True, KNOWN), (True, {"address": "exp1.example.com", "port": 8888})])
def test_plain_http_is_to_be_followed_as_well(insecure: bool, known: dict[str, Any]) -> None:
    exporter = Exporter("exp1", "exp1", "exp1.example.com", 8888, None, insecure, "started", {})
    text = moves.cannot_follow([exporter], ["prom2"], looked({"exp1": known}))["exp1"]
    assert text.startswith("prom1 scrapes it over mutual TLS, the inventory says over plain http, and prom2, which")


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (
            {"address": "old.example.com"},
            "scrapes it at old.example.com:8888, the inventory says exp1.example.com:8888",
        ),
        ({"port": 9999}, "scrapes it at exp1.example.com:9999, the inventory says exp1.example.com:8888"),
        ({}, None),
    ],
)
def test_a_target_over_plain_http_is_to_be_followed_as_well(known: dict[str, Any], said: str | None) -> None:
    """Nobody has a pair of it, so what a client that could be asked scrapes is all there is to know."""
    exporter = Exporter("exp1", "exp1", "exp1.example.com", 8888, None, True, "started", {})
    found = moves.cannot_follow([exporter], ["prom2"], looked({"exp1": {**KNOWN, "insecure": True, **known}}))
    assert found == {} if said is None else found["exp1"].startswith(f"prom1 {said}, and prom2, which would have to")


def test_a_host_reads_its_own_part_alone() -> None:
    """What a Prometheus host has of all exporters grows with the fleet, and each exporter host would read it."""

    asked = {"state": "inspected", "client": "prom1", "exporters": None, "check_mode": False}
    known = {"name": "exp1", "address": "exp1", "port": 8888}
    answer = {
        "changed": False,
        "name": "prom1",
        "transport_key": answers.seal.new_transport_key()[1],
        "stored": {},
        "scrape_interval": 15.0,
        "scrape_intervals": {"exp1": 15.0, "exp2": "nonsense that nobody reads"},
        "definitions": {"exp1": known, "exp2": {**known, "name": "exp2"}},
        "other_definitions": {"exp3": {**known, "name": "exp3"}},
        "revision": "empty",
    }
    registered = {steps.INSPECTED: {"clients": [{"asked": asked, "answer": answer}]}}

    class Hostvars(dict[str, Any]):
        """As Ansible's: what is got by index was looked through for templates."""

        def raw_get(self, host: str) -> dict[str, Any]:
            return registered

    hostvars = Hostvars(prom1=types.MappingProxyType({}))
    found = steps.clients(hostvars, ["prom1", "prom9"], steps.INSPECTED, {"exp1", "exp1.spare"})
    assert dict(found["prom1"].definitions) == {"exp1": found["prom1"].definitions["exp1"]}
    assert dict(found["prom1"].scrape_intervals) == {"exp1": 15.0}
    assert steps.clients(hostvars, ["prom1"], steps.INSPECTED) == {}
