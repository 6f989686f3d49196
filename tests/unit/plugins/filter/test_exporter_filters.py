# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters that carry the results of one play to the arguments of the next."""

from __future__ import annotations

import pytest

pytest.importorskip("ansible", reason="filters run on the controller")

from ansible.errors import AnsibleFilterError

from ansible_collections.timesten.monitoring.plugins.filter import (
    exporter_clients,
    exporter_definitions,
    failure_advice,
    prometheus_exporters,
)


def inspected(name="prom1", **more):
    return {
        "name": name,
        "transport_key": f"key of {name}",
        "stored": {"exp1": {"delivery": "d1"}, "exp9": {"delivery": "d9"}},
        "scrape_interval": 60.0,
        "scrape_intervals": {"exp1": 15.0, "exp9": 5.0},
        **more,
    }


def test_exporter_clients():
    hostvars = {
        "one": {"prometheus_host_inspected": [inspected("one"), inspected("one-long", stored={})]},
        "two": {"prometheus_host_inspected": [inspected("two", failed=True)]},
        "three": {},
        "four": {"prometheus_host_inspected": [{"name": "four", "unreachable": True}]},
        "not asked for": {"prometheus_host_inspected": [inspected("other")]},
    }
    found = exporter_clients.exporter_clients(hostvars, ["one", "two", "three", "four"], ["exp1", "exp2"])
    assert [{key: value for key, value in client.items() if key != "readmit"} for client in found] == [
        {
            "name": "one",
            "recipient": "key of one",
            "scrape_interval": 60.0,
            "stored": {"exp1": {"delivery": "d1", "scrape_interval": 15.0}},
        },
        {
            "name": "one-long",
            "recipient": "key of one-long",
            "scrape_interval": 60.0,
            "stored": {"exp1": {"scrape_interval": 15.0}},
        },
    ]
    # The facts of the other play stay as they were.
    assert hostvars["one"]["prometheus_host_inspected"][0]["stored"]["exp1"] == {"delivery": "d1"}


def test_exporter_definitions():
    defaults = {"directory": "/opt/mon", "timesten_home": "/opt/tt", "port": 8888, "rsa_key_size": None}
    assert exporter_definitions.exporter_definitions([{}], defaults, "exp1") == [
        {
            "name": "exp1",
            "address": "exp1",
            "port": 8888,
            "timesten_home": "/opt/tt",
            "certificate_directory": "/opt/mon/exp1",
        }
    ]
    two = [{"instance": "sales", "timesten_home": "/opt/sales"}, {"instance": "stock", "port": 8889, "address": "s"}]
    found = exporter_definitions.exporter_definitions(two, {**defaults, "directory": None}, "exp3")
    assert [(item["name"], item["address"], item["port"], item["certificate_directory"]) for item in found] == [
        ("exp3-sales", "exp3", 8888, "/opt/sales/monitoring/exp3-sales"),
        ("exp3-stock", "s", 8889, "/opt/tt/monitoring/exp3-stock"),
    ]
    assert two[0] == {"instance": "sales", "timesten_home": "/opt/sales"}


def test_several_exporters_need_instances():
    with pytest.raises(AnsibleFilterError, match=r"exporter_host_exporters\[1\] of exp3 has no 'instance'"):
        exporter_definitions.exporter_definitions([{"instance": "a"}, {}], {}, "exp3")


PAIR = {
    "client": "prom1",
    "delivery": "g-1",
    "sha256": "s",
    "certificate": "cert",
    "bundle": "sealed",
    "not_after": "x",
}
ANSWER = {
    "name": "exp1",
    "generation": "g",
    "ca_sha256": "c",
    "ca_certificate": "ca",
    "alt_names": ["exp1"],
    "address": "evil.example.com",
    "port": 1,
    "pairs": [{"client": "prom2", "delivery": "g-2"}, PAIR],
}


def host(answers, failed=False, **definition):
    defined = {"name": "exp1", "address": "exp1.example.com", "port": 8888, **definition}
    return {"exporter_host_definitions": [defined], "exporter_host_result": {"exporters": answers, "failed": failed}}


def test_prometheus_exporters_takes_the_address_from_the_inventory():
    assert prometheus_exporters.prometheus_exporters({"h": host([ANSWER])}, ["h"], "prom1") == [
        {
            "name": "exp1",
            "address": "exp1.example.com",
            "port": 8888,
            "insecure": False,
            "generation": "g",
            "ca_sha256": "c",
            "alt_names": ["exp1"],
            "delivery": "g-1",
            "sha256": "s",
            "certificate": "cert",
            "bundle": "sealed",
            "ca_certificate": "ca",
        }
    ]


def test_only_fingerprints_where_the_client_has_the_pair():
    answer = {**ANSWER, "pairs": [{"client": "prom1", "delivery": "g-1", "sha256": "s"}]}
    [found] = prometheus_exporters.prometheus_exporters({"h": host([answer])}, ["h"], "prom1")
    assert set(found) == {
        "name",
        "address",
        "port",
        "insecure",
        "generation",
        "ca_sha256",
        "alt_names",
        "delivery",
        "sha256",
    }


def test_insecure_exporters_have_no_pair():
    answer = {"name": "exp1", "generation": None, "pairs": []}
    [found] = prometheus_exporters.prometheus_exporters({"h": host([answer], insecure=True)}, ["h"], "prom1")
    assert found == {"name": "exp1", "address": "exp1.example.com", "port": 8888, "insecure": True}


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"exporter_host_definitions": [{"name": "exp1"}]},
        host([{"name": "exp1", "failed": True, "msg": "no"}], failed=True),
        host([{**ANSWER, "name": "not-in-the-inventory"}]),
        host([{**ANSWER, "pairs": []}]),
        host([ANSWER], state="stopped"),
    ],
    ids=["unreachable", "no answer", "failed", "unknown", "no pair", "stopped"],
)
def test_what_has_nothing_to_deliver_is_left_out(variables):
    assert prometheus_exporters.prometheus_exporters({"h": variables}, ["h"], "prom1") == []


def test_the_others_of_a_failed_host_are_delivered():
    variables = host([{"name": "exp0", "failed": True}, ANSWER], failed=True)
    assert [item["name"] for item in prometheus_exporters.prometheus_exporters({"h": variables}, ["h"], "prom1")] == [
        "exp1"
    ]


@pytest.mark.parametrize(
    ("result", "advice"),
    [
        (
            {"msg": "Failed to import the required Python library (cryptography >= 3.3) on exp1's Python"},
            "python3-cryptography",
        ),
        ({"msg": "MODULE FAILURE", "module_stderr": "/bin/sh: /usr/bin/python3: not found"}, "Python 3.8 or later"),
        ({"msg": "x", "module_stderr": "SyntaxError: future feature annotations is not defined"}, "Oracle Linux 8"),
        (
            {"msg": "ansible-core requires a minimum of Python version 3.8. Current version: 3.6.8"},
            "Python 3.8 or later",
        ),
        ({"msg": "Failed to set permissions on the temporary files Ansible needs to create"}, "pipelining = True"),
        ({"msg": "x", "exception": "ModuleNotFoundError: No module named 'cryptography'"}, "python3-cryptography"),
    ],
)
def test_failure_advice(result, advice):
    found = failure_advice.failure_advice(result)
    assert advice in found and "\n" not in found


def test_failure_advice_has_none_to_give():
    assert failure_advice.failure_advice({"msg": "port 8888 is held by nginx"}) == "port 8888 is held by nginx"
    assert failure_advice.failure_advice({"msg": "a", "module_stdout": "b", "module_stderr": "a"}) == "a; b"
    assert failure_advice.failure_advice({}) == "the module call failed without a message"


@pytest.mark.parametrize("module", [exporter_clients, exporter_definitions, failure_advice, prometheus_exporters])
def test_each_file_has_the_filter_of_its_name(module):
    name = module.__name__.rpartition(".")[2]
    assert list(module.FilterModule().filters()) == [name]


def test_an_exporter_on_its_spare_port():
    variables = {"h": host([{**ANSWER, "spare": True}], spare_port=9999)}
    [found] = prometheus_exporters.prometheus_exporters(variables, ["h"], "prom1")
    assert (found["name"], found["port"], found["usual_port"]) == ("exp1.spare", 9999, 8888)
    # The answer alone moves nothing: ports come from the inventory.
    for answer, definition in (({"spare": True}, {}), ({"spare": False}, {"spare_port": 9999})):
        variables = {"h": host([{**ANSWER, **answer}], **definition)}
        [found] = prometheus_exporters.prometheus_exporters(variables, ["h"], "prom1")
        assert (found["name"], found["port"]) == ("exp1", 8888) and "usual_port" not in found


def test_what_is_stored_of_both_ports_reaches_the_exporter():
    stored = {"exp1": {"delivery": "d1"}, "exp1.spare": {"delivery": "d2"}, "exp10.spare": {"delivery": "d3"}}
    variables = {"one": {"prometheus_host_inspected": [inspected("one", stored=stored, scrape_intervals={})]}}
    [client] = exporter_clients.exporter_clients(variables, ["one"], ["exp1"])
    assert client["stored"] == {"exp1": {"delivery": "d1"}, "exp1.spare": {"delivery": "d2"}}
