# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be removed, and what has left the inventory."""

from __future__ import annotations

import pytest

pytest.importorskip("ansible", reason="filters run on the controller")

from ansible_collections.timesten.monitoring.plugins.filter.departed_exporters import departed_exporters
from ansible_collections.timesten.monitoring.plugins.filter.removal import ONE_OF, removal
from ansible_collections.timesten.monitoring.plugins.filter.run_problems import run_problems

GROUPS = {"timesten_exporters": ["exp1", "exp3"], "prometheus_servers": ["prom1", "prom2"]}
ALL = ("exp1", "exp3", "prom1", "prom2")


def hostvars(**more):
    """Two exporter hosts, of which one has two exporters; two Prometheus hosts, of which one has two clients."""
    found = {
        "exp1": {"exporter_host_timesten_home": "/opt/ttinst"},
        "exp3": {
            "exporter_host_timesten_home": "/opt/ttinst",
            "exporter_host_exporters": [{"instance": "sales", "port": 1}, {"instance": "stock", "port": 2}],
        },
        "prom1": {},
        "prom2": {
            "prometheus_host_instances": [
                {"instance": "short"},
                {"instance": "long", "config_file": "/l.yml", "store": "/l", "url": "http://l:9091"},
            ]
        },
    }
    for host, variables in more.items():
        found[host].update(variables)
    return found


def asked(*names):
    """What a Prometheus host answers that has these exporters."""
    client = {"name": "prom1", "definitions": {name: {} for name in names}, "scrape_intervals": {}}
    return {"prometheus_host_inspected": [client], "prometheus_host_result": {"results": [client]}}


def found(*arguments, hosts=ALL, variables=None, **options):
    return removal(variables or hostvars(), GROUPS, hosts, *arguments, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, f"nothing was named to be removed; say {ONE_OF}"),
        ({"exporter": "", "everything": False}, f"nothing was named to be removed; say {ONE_OF}"),
        ({"exporter": "exp1", "prometheus": "prom1"}, f"2 things were named to be removed; say {ONE_OF}"),
        (
            {"exporter": "exp1", "prometheus": "prom1", "everything": True},
            f"3 things were named to be removed; say {ONE_OF}",
        ),
    ],
)
def test_exactly_one(options, message):
    assert found(**options) == {"problems": [message]}


def test_an_exporter_of_the_inventory():
    plan = found(exporter="exp3-sales")
    assert plan["exporters"] == {"exp3": ["exp3-sales"]}
    assert plan["clients"] == {"prom1": ["prom1"], "prom2": ["prom2-short", "prom2-long"]}
    assert (plan["forget"], plan["unlisted"], plan["problems"]) == ([], False, [])
    assert plan["advice"] == [
        "Take exp3-sales out of the inventory, or the next run of timesten.monitoring.site brings it back."
    ]


def test_an_exporter_that_left():
    variables = hostvars(prom1=asked("exp1", "exp9"), prom2=asked("exp1"))
    plan = found(exporter="exp9", variables=variables, inspected=True)
    assert (plan["exporters"], plan["unlisted"], plan["problems"]) == ({}, True, [])
    assert "nothing was done on its host" in plan["advice"][0]


def test_an_exporter_that_never_was():
    variables = hostvars(prom1=asked("exp1", "exp9"), prom2=asked("exp1"))
    (problem,) = found(exporter="exp", variables=variables, inspected=True)["problems"]
    assert problem == (
        "there is no exporter 'exp', neither in the inventory nor on a Prometheus host; there are exp1, exp3-sales, exp3-stock, exp9"
    )
    # Before anybody was asked, nothing is known of it.
    assert found(exporter="exp")["problems"] == []


@pytest.mark.parametrize(
    ("name", "clients", "forget"),
    [
        ("prom1", {"prom1": ["prom1"]}, ["prom1"]),
        ("prom2", {"prom2": ["prom2-short", "prom2-long"]}, ["prom2-long", "prom2-short"]),
        ("prom2-long", {"prom2": ["prom2-long"]}, ["prom2-long"]),
        ("prom9", {}, ["prom9"]),
    ],
)
def test_a_prometheus(name, clients, forget):
    plan = found(prometheus=name)
    assert (plan["clients"], plan["forget"], plan["unlisted"]) == (clients, forget, not clients)
    assert plan["exporters"] == {"exp1": ["exp1"], "exp3": ["exp3-sales", "exp3-stock"]}
    assert all(f"evict={client}" in plan["advice"][number] for number, client in enumerate(forget))


def test_everything():
    plan = found(everything=True)
    assert set(plan["exporters"]) == {"exp1", "exp3"} and set(plan["clients"]) == {"prom1", "prom2"}
    assert (plan["forget"], plan["problems"]) == ([], [])


@pytest.mark.parametrize(
    ("options", "hosts", "left_out"),
    [
        ({"exporter": "exp1"}, ["exp1", "prom1"], "prom2"),
        ({"exporter": "exp1"}, ["prom1", "prom2"], "exp1"),
        ({"exporter": "exp1"}, ["exp1", "prom1", "prom2"], None),
        ({"prometheus": "prom1"}, ["exp1", "exp3", "prom1"], None),
        ({"prometheus": "prom1"}, ["exp1", "prom1"], "exp3"),
        ({"everything": True}, ["exp1", "exp3"], "prom1, prom2"),
    ],
)
def test_a_limit_must_not_leave_out_who_is_concerned(options, hosts, left_out):
    expected = (
        [f"--limit leaves out {left_out}, where something has to be removed: run without --limit"] if left_out else []
    )
    assert found(hosts=hosts, **options)["problems"] == expected


def test_a_prometheus_that_does_not_answer_stops_it():
    variables = hostvars(
        prom1=asked("exp1"), prom2={"prometheus_host_result": {"unreachable": True, "msg": "No route to host"}}
    )
    (problem,) = found(exporter="exp1", variables=variables, inspected=True)["problems"]
    assert problem.startswith("prom2: it could not be reached: No route to host. Nothing was changed")
    assert "take its host out of the inventory and run this again" in problem
    # It does not matter to the other one.
    assert found(prometheus="prom1", variables=variables, inspected=True)["problems"] == []


def test_departed():
    variables = hostvars(
        prom1={"prometheus_host_result": {"results": [{"name": "prom1", "unmentioned": ["exp1", "exp9"]}]}},
        prom2={
            "prometheus_host_result": {
                "results": [
                    {"name": "prom2-short", "unmentioned": ["exp9", "exp8"]},
                    {"name": "prom2-long", "failed": True},
                ]
            }
        },
    )
    # exp1 is only not part of the run.
    assert departed_exporters(variables, GROUPS) == ["exp8 (prom2-short)", "exp9 (prom1, prom2-short)"]
    assert departed_exporters(hostvars(), GROUPS) == []


def test_purge_is_refused_with_a_limit():
    variables = hostvars(prom1={"prometheus_host_purge": True})
    (problem,) = run_problems(variables, GROUPS, ["exp1", "prom1", "prom2"], "exp1:prometheus_servers")
    assert (
        problem
        == "prom1: prometheus_host_purge looks at every exporter, and --limit leaves out exp3: run without --limit, or without purge"
    )
    assert run_problems(variables, GROUPS, ALL, "") == []
    assert (
        run_problems(
            hostvars(prom1={"prometheus_host_purge": "false"}),
            GROUPS,
            ["exp1", "prom1", "prom2"],
            "exp1:prometheus_servers",
        )
        == []
    )


def test_both_ports_belong_to_the_exporter():
    answer = asked("exp9.spare")
    answer["prometheus_host_result"]["results"][0]["unmentioned"] = ["exp1.spare", "exp9", "exp9.spare"]
    variables = hostvars(prom1=answer, prom2=asked())
    assert departed_exporters(variables, GROUPS) == ["exp9 (prom1)"]
    assert found("exp9", variables=variables, inspected=True)["problems"] == []
