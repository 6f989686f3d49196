# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts say of exporters and jobs that were there before, as tables: what is believed, which belongs to which, what is said of it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ansible_collections.timesten.monitoring.plugins.plugin_utils import discovery, fleet
from ansible_collections.timesten.monitoring.plugins.plugin_utils.checks import Nonsense

pytestmark = pytest.mark.controller
FOUND: dict[str, Any] = {
    "pid": 4711,
    "port": 8888,
    "listening": True,
    "owner": "timesten",
    "unit": None,
    "timesten_home": "/opt/timesten/ttinst",
    "certificate_directory": "/home/timesten/mycertdir",
    "insecure": False,
    "exporter": None,
    "not_after": "2036-11-21T10:49:00Z",
}
JOB: dict[str, Any] = {
    "job": "tt_8888",
    "where": "/etc/prometheus/prometheus.yml: line 7",
    "targets": ["exp1:8888"],
    "interval": 15.0,
    "exporter": None,
}
GENERATION = "/opt/timesten/ttinst/monitoring/exp1/generations/20261124T104900Z-1a2b3c4d"


def exporter(**more: Any) -> discovery.SeenExporter:
    [parsed] = discovery.parse_exporters({"exporters": [{**FOUND, **more}]})
    return parsed


def job(**more: Any) -> discovery.Job:
    [parsed] = discovery.parse_jobs({"jobs": [{**JOB, **more}]})
    return parsed


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pid", "4711"),
        ("pid", 0),
        ("port", 65536),
        ("listening", 1),
        ("owner", None),
        ("owner", "{{ lookup('pipe', 'id') }}"),
        ("unit", "a unit"),
        ("timesten_home", "opt"),
        ("certificate_directory", "/tmp/{% raw %}"),
        ("certificate_directory", "/tmp/\x1b[2J"),
        ("exporter", "../exp1"),
        ("not_after", "tomorrow"),
    ],
)
def test_nonsense_of_an_exporter_host_costs_that_host(key: str, value: object) -> None:
    with pytest.raises(Nonsense, match=key):
        exporter(**{key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("job", None),
        ("job", "{{ x }}"),
        ("targets", "exp1:8888"),
        ("targets", [1]),
        ("targets", ["{{ x }}:8888"]),
        ("interval", 0),
        ("exporter", 7),
    ],
)
def test_nonsense_of_a_prometheus_host_costs_that_host(key: str, value: object) -> None:
    with pytest.raises(Nonsense, match=key):
        job(**{key: value})


TAKER: dict[str, Any] = {
    "kind": "prometheus",
    "pid": 4711,
    "user": "prometheus",
    "lifecycle": True,
    "config_file": "/etc/prometheus/prometheus.yml",
    "path_map": {},
    "port": 9090,
    "problem": None,
}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kind", "vmagent"),
        ("pid", 0),
        ("user", "{{ x }}"),
        ("user", None),
        ("lifecycle", 1),
        ("config_file", "{{ x }}"),
        ("config_file", "prometheus.yml"),
        ("path_map", None),
        ("path_map", {"/srv": "etc"}),
        ("path_map", {"/srv/{{ x }}": "/etc"}),
        ("path_map", {f"/{number}": "/etc" for number in range(11)}),
        ("port", 0),
        ("problem", "something else"),
    ],
)
def test_nonsense_of_what_scrapes_costs_that_host(key: str, value: object) -> None:
    with pytest.raises(Nonsense, match=key):
        discovery.parse_takers({"takers": [{**TAKER, key: value}]})


def taker(**more: Any) -> discovery.Taker:
    [parsed] = discovery.parse_takers({"takers": [{**TAKER, **more}]})
    assert discovery.parse_takers({"takers": [parsed.as_dict()]}) == (parsed,)
    return parsed


VM = {
    "kind": "scrape_file",
    "user": "vmagent",
    "config_file": "/etc/vmagent/scrape.yml",
    "port": 8429,
    "lifecycle": False,
}


@pytest.mark.parametrize(
    ("takers", "variables"),
    [
        pytest.param([], {}, id="nothing runs"),
        pytest.param([{}], {}, id="a package"),
        pytest.param(
            [{"config_file": "/opt/p/prometheus.yml", "user": "prom", "port": 9095}],
            {
                "prometheus_host_config_file": "/opt/p/prometheus.yml",
                "prometheus_host_store": "/opt/p/timesten",
                "prometheus_host_user": "prom",
                "prometheus_host_url": "http://127.0.0.1:9095",
            },
            id="a binary",
        ),
        pytest.param(
            [
                {
                    "config_file": "/srv/etc/prometheus.yml",
                    "path_map": {"/srv/etc": "/etc/p"},
                    "user": "65534",
                    "port": None,
                }
            ],
            {
                "prometheus_host_config_file": "/srv/etc/prometheus.yml",
                "prometheus_host_path_map": {"/srv/etc": "/etc/p"},
                "prometheus_host_store": "/srv/etc/timesten",
                "prometheus_host_user": "65534",
            },
            id="a container",
        ),
        pytest.param(
            [VM],
            {
                "prometheus_host_kind": "scrape_file",
                "prometheus_host_scrape_file": "/etc/vmagent/scrape.yml",
                "prometheus_host_store": "/etc/vmagent/timesten",
                "prometheus_host_user": "vmagent",
            },
            id="vmagent",
        ),
        pytest.param([{"config_file": None, "problem": "in the container alone"}], {}, id="it cannot be used"),
        pytest.param([{}, {"config_file": "/srv/p.yml", "problem": "mounted alone"}], {}, id="one of two cannot"),
        pytest.param(
            [{}, {"pid": 2, "config_file": "/etc/prometheus/b.yml", "port": 9091, "lifecycle": False}, VM],
            {
                "prometheus_host_instances": [
                    {
                        "instance": "9090",
                        "config_file": "/etc/prometheus/prometheus.yml",
                        "store": "/etc/prometheus/timesten-9090",
                        "url": "http://127.0.0.1:9090",
                    },
                    {
                        "instance": "9091",
                        "config_file": "/etc/prometheus/b.yml",
                        "store": "/etc/prometheus/timesten-9091",
                        "url": "http://127.0.0.1:9091",
                        "reload": "signal",
                    },
                    {
                        "instance": "vmagent",
                        "kind": "scrape_file",
                        "scrape_file": "/etc/vmagent/scrape.yml",
                        "store": "/etc/vmagent/timesten-vmagent",
                        "user": "vmagent",
                    },
                ]
            },
            id="several",
        ),
    ],
)
def test_variables_of_what_scrapes(takers: list[dict[str, Any]], variables: dict[str, Any]) -> None:
    text = discovery.inventory([], ["prom1"], {"prom1": [taker(**one) for one in takers]})
    assert yaml.safe_load(text)["all"]["children"]["prometheus_servers"]["hosts"] == {"prom1": variables}
    fleet.prometheus_host("prom1", variables)


@pytest.mark.parametrize("raw", [None, [], {"exporters": None}, {"exporters": [FOUND] * 101}, {"exporters": [7]}])
def test_no_list_or_too_long_a_one(raw: object) -> None:
    with pytest.raises(Nonsense):
        discovery.parse_exporters(raw)


def test_what_was_parsed_is_parsed_to_the_same() -> None:
    assert discovery.parse_exporters({"exporters": [exporter().as_dict()]}) == (exporter(),)
    assert discovery.parse_jobs({"jobs": [job().as_dict()]}) == (job(),)


@pytest.mark.parametrize(
    ("target", "fits"),
    [
        ("exp1:8888", True),
        ("EXP1:8888", True),
        ("10.0.0.1:8888", True),
        ("exp1:8889", False),
        ("exp2:8888", False),
        ("exp1.example.com:8888", False),
        ("8888", False),
    ],
)
def test_which_job_scrapes_which_exporter(target: str, fits: bool) -> None:
    known = {"exp1": ["exp1", "10.0.0.1"]}
    rows, left = discovery.matched({"exp1": [exporter()]}, {"prom1": [job(targets=[target])]}, known)
    assert [bool(row.jobs) for row in rows] == [fits]
    assert bool(left) is not fits


def shown(*rows: discovery.Scraped) -> dict[str, Any]:
    children = yaml.safe_load(discovery.inventory(rows, ["prom1", "prom2"]))["all"]["children"]
    return {group: children[group]["hosts"] for group in children}


INVENTORIES = {
    "by hand": (
        [{"jobs": (("prom1", job()),), "address": "exp1"}],
        {"owner": "timesten", "port": 8888, "timesten_home": "/opt/timesten/ttinst", "takeover": True},
    ),
    "another address, plain http": (
        [{"address": "10.0.0.1", "seen": {"insecure": True, "certificate_directory": None}}],
        {
            "owner": "timesten",
            "port": 8888,
            "timesten_home": "/opt/timesten/ttinst",
            "address": "10.0.0.1",
            "insecure": True,
            "takeover": True,
        },
    ),
    "ours": (
        [{"seen": {"exporter": "exp1", "certificate_directory": GENERATION}}],
        {"owner": "timesten", "port": 8888, "timesten_home": "/opt/timesten/ttinst"},
    ),
    "ours, elsewhere": (
        [{"seen": {"exporter": "exp1", "certificate_directory": GENERATION, "timesten_home": "/opt/other"}}],
        {
            "owner": "timesten",
            "port": 8888,
            "timesten_home": "/opt/other",
            "directory": "/opt/timesten/ttinst/monitoring",
        },
    ),
    "two instances": (
        [
            {"seen": {"timesten_home": "/opt/sales"}},
            {"seen": {"timesten_home": "/opt/stock", "port": 8889}},
        ],
        {
            "owner": "timesten",
            "exporters": [
                {"port": 8888, "timesten_home": "/opt/sales", "takeover": True, "instance": "sales"},
                {"port": 8889, "timesten_home": "/opt/stock", "takeover": True, "instance": "stock"},
            ],
        },
    ),
    "one instance, two users": (
        [{}, {"seen": {"port": 8889, "owner": "other"}}],
        {
            "exporters": [
                {"port": 8888, "timesten_home": "/opt/timesten/ttinst", "takeover": True, "instance": "8888"},
                {"port": 8889, "timesten_home": "/opt/timesten/ttinst", "takeover": True, "instance": "8889"},
            ]
        },
    ),
}


@pytest.mark.parametrize(("rows", "expected"), INVENTORIES.values(), ids=INVENTORIES.keys())
def test_the_inventory_that_describes_it(rows: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    made = [discovery.Scraped("exp1", **{**row, "seen": exporter(**row.get("seen", {}))}) for row in rows]
    hosts = shown(*made)
    assert hosts["timesten_exporters"] == {"exp1": {f"exporter_host_{key}": value for key, value in expected.items()}}
    by_hand = any(row.jobs for row in made)
    assert hosts["prometheus_servers"] == {
        "prom1": {"prometheus_host_on_existing": "adopt"} if by_hand else {},
        "prom2": {},
    }


def test_the_table() -> None:
    rows, left = discovery.matched(
        {
            "exp1": [
                exporter(unit="tt.service"),
                exporter(pid=None, port=None, not_after=None, certificate_directory="/w"),
            ]
        },
        {"prom1": [job(), job(job="other", targets=["elsewhere:8888"])], "prom2": []},
        {"exp1": ["exp1"]},
    )
    said = discovery.lines(rows, left, {"exp2": "no route to host"})
    assert [" ".join(line.split()) for line in said[:3]] == [
        "host port owner process wallet valid until exporter jobs",
        "exp1 8888 timesten 4711 (tt.service) /home/timesten/mycertdir 2036-11-21T10:49:00Z by hand prom1: tt_8888 (by hand)",
        "exp1 timesten stopped /w unknown by hand none",
    ]
    assert said[3:] == [
        "prom1: other (/etc/prometheus/prometheus.yml: line 7) scrapes elsewhere:8888, which is none of these",
        "exp2 could not be looked at: no route to host",
    ]
    assert discovery.lines([], [], {}) == ["No ttExporter runs, and no wallet was found."]
