# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a removal takes away, where, and what stops it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

pytest.importorskip("ansible", reason="the inventory is read on the controller")

from ansible_collections.timesten.monitoring.plugins.filter.removal_problems import removal_problems
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import seal
from ansible_collections.timesten.monitoring.plugins.plugin_utils import fleet, removal, steps
from ansible_collections.timesten.monitoring.plugins.plugin_utils.answers import PrometheusAnswer
from ansible_collections.timesten.monitoring.plugins.plugin_utils.fleet import NEW_WALLETS, ONE_OF

pytestmark = pytest.mark.controller
GROUPS = {"timesten_exporters": ["exp1", "exp3"], "prometheus_servers": ["prom1", "prom2"]}
ALL = ("exp1", "exp3", "prom1", "prom2")
CLIENTS = ("prom1", "prom2-short", "prom2-long")
KEY = seal.new_transport_key()[1]


def hostvars(**run: Any) -> dict[str, dict[str, Any]]:
    """Two exporter hosts, of which one has two exporters; two Prometheus hosts, of which one has two clients."""
    exporters = [{"instance": "sales", "port": 1}, {"instance": "stock", "port": 2}]
    long = {"instance": "long", "config_file": "/l.yml", "store": "/l", "url": "http://l:9091"}
    own: dict[str, dict[str, Any]] = {
        "exp1": {"exporter_host_timesten_home": "/opt/ttinst"},
        "exp3": {"exporter_host_timesten_home": "/opt/ttinst", "exporter_host_exporters": exporters},
        "prom1": {},
        "prom2": {"prometheus_host_instances": [{"instance": "short"}, long]},
    }
    return {host: {**variables, **run} for host, variables in own.items()}


def looked(**jobs: Sequence[str] | str) -> dict[str, PrometheusAnswer]:
    """What the clients answered when they were looked at: the exporters that they have, or why they failed."""
    answers = {}
    for name in CLIENTS:
        had = jobs.get(name.replace("-", "_"), ("exp1",))
        if isinstance(had, str):
            answers[name] = steps.failed_client(name.partition("-")[0], "inspected", name, had)
        else:
            definitions: dict[str, dict[str, Any]] = {job: {} for job in had}
            answers[name] = PrometheusAnswer(name.partition("-")[0], "inspected", name, False, definitions=definitions)
    return answers


def plan(
    answers: Mapping[str, PrometheusAnswer] | None = None, hosts: Sequence[str] = ALL, **run: Any
) -> removal.Removal:
    known, messages = fleet.read(hostvars(**run), GROUPS)
    assert messages == []
    return removal.plan(known, hosts, answers)


@pytest.mark.parametrize(
    ("options", "which"),
    [
        ({}, "nothing was named"),
        ({"remove_everything": False}, "nothing was named"),
        ({"remove_exporter": "exp1", "remove_prometheus": "prom1"}, "2 things were named"),
        ({"remove_exporter": "exp1", "remove_prometheus": "prom1", "remove_everything": True}, "3 things were named"),
    ],
)
def test_exactly_one(options: dict[str, Any], which: str) -> None:
    assert plan(**options) == removal.Removal(problems=(f"{which} to be removed; say {ONE_OF}",))


def test_an_exporter_of_the_inventory() -> None:
    removal_plan = plan(remove_exporter="exp3-sales")
    assert removal_plan.exporters == {"exp3": ["exp3-sales"]}
    assert removal_plan.clients == {"prom1": ["prom1"], "prom2": ["prom2-short", "prom2-long"]}
    assert (removal_plan.forget, removal_plan.unlisted, removal_plan.problems) == ((), False, ())
    assert removal_plan.jobs == ("exp3-sales", "exp3-sales.spare"), "both ports belong to the exporter"
    assert removal_plan.advice == (
        "Take exp3-sales out of the inventory, or the next run of timesten.monitoring.site brings it back.",
    )


@pytest.mark.parametrize("job", ["exp9", "exp9.spare"])
def test_an_exporter_that_left(job: str) -> None:
    removal_plan = plan(looked(prom1=("exp1", job)), remove_exporter="exp9")
    assert (removal_plan.exporters, removal_plan.unlisted, removal_plan.problems) == ({}, True, ())
    assert "nothing was done on its host" in removal_plan.advice[0]


def test_an_exporter_that_never_was() -> None:
    (problem,) = plan(looked(prom1=("exp1", "exp9")), remove_exporter="exp").problems
    assert problem == (
        "there is no exporter 'exp', neither in the inventory nor on a Prometheus host; there are exp1, exp3-sales, exp3-stock, exp9"
    )
    # Before anybody was asked, nothing is known of it.
    assert plan(remove_exporter="exp").problems == ()


@pytest.mark.parametrize(
    ("name", "clients", "forget"),
    [
        ("prom1", {"prom1": ["prom1"]}, ("prom1",)),
        ("prom2", {"prom2": ["prom2-short", "prom2-long"]}, ("prom2-long", "prom2-short")),
        ("prom2-long", {"prom2": ["prom2-long"]}, ("prom2-long",)),
        ("prom9", {}, ("prom9",)),
        ("pram1", {}, ("pram1",)),
    ],
)
def test_a_prometheus(name: str, clients: dict[str, list[str]], forget: tuple[str, ...]) -> None:
    removal_plan = plan(remove_prometheus=name)
    assert (removal_plan.clients, removal_plan.forget, removal_plan.unlisted) == (clients, forget, not clients)
    assert removal_plan.exporters == {"exp1": ["exp1"], "exp3": ["exp3-sales", "exp3-stock"]}
    assert removal_plan.jobs == (), "all that is ours goes"
    # What is advised is taken: the playbook evict takes no name that is like none of the inventory.
    advised = (
        [NEW_WALLETS] if name == "pram1" else [f"timesten.monitoring.evict -e evict={client}" for client in forget]
    )
    assert all(text in removal_plan.advice[number] for number, text in enumerate(advised))


def test_everything() -> None:
    removal_plan = plan(remove_everything=True)
    assert set(removal_plan.exporters) == {"exp1", "exp3"} and set(removal_plan.clients) == {"prom1", "prom2"}
    assert (removal_plan.forget, removal_plan.problems) == ((), ())


@pytest.mark.parametrize(
    ("options", "hosts", "left_out"),
    [
        ({"remove_exporter": "exp1"}, ("exp1", "prom1"), "prom2"),
        ({"remove_exporter": "exp1"}, ("prom1", "prom2"), "exp1"),
        ({"remove_exporter": "exp1"}, ("exp1", "prom1", "prom2"), None),
        ({"remove_prometheus": "prom1"}, ("exp1", "exp3", "prom1"), None),
        ({"remove_prometheus": "prom1"}, ("exp1", "prom1"), "exp3"),
        ({"remove_everything": True}, ("exp1", "exp3"), "prom1, prom2"),
    ],
)
def test_a_limit_must_not_leave_out_who_is_concerned(
    options: dict[str, Any], hosts: tuple[str, ...], left_out: str | None
) -> None:
    expected = (
        (f"--limit leaves out {left_out}, where something has to be removed: run without --limit",) if left_out else ()
    )
    assert plan(hosts=hosts, **options).problems == expected


@pytest.mark.parametrize("options", [{"remove_exporter": "exp1"}, {"remove_everything": True}])
def test_a_prometheus_that_does_not_answer_stops_it(options: dict[str, Any]) -> None:
    answers = looked(prom2_long="it could not be reached: No route to host")
    (problem,) = plan(answers, **options).problems
    assert problem.startswith("prom2: it could not be reached: No route to host. Nothing was changed")
    assert "take its host out of the inventory and run this again" in problem
    del answers["prom2-long"]
    assert plan(answers, **options).problems[0].startswith("prom2: it was not looked at. ")
    # It does not matter to the other one.
    assert plan(answers, remove_prometheus="prom1").problems == ()


def test_who_has_not_let_go_keeps_the_exporters() -> None:
    """The answer to the removal itself counts, not that to the look before it."""
    variables = hostvars(remove_exporter="exp1")

    def registered(host: str, step: str, state: str, **failed: str) -> None:
        raw: dict[str, Any] = {"changed": False, "revision": "empty"}
        if state == "inspected":
            raw.update(
                stored={}, scrape_interval=15.0, scrape_intervals={"exp1": 15.0}, definitions={}, transport_key=KEY
            )
        else:
            raw.update(removed=["exp1"], reloaded="http")
        variables[host][step] = {
            "clients": [
                {
                    "asked": {"state": state, "client": name, "exporters": None, "check_mode": False},
                    "answer": {
                        **raw,
                        "name": name,
                        **({"failed": True, "msg": failed[name]} if name in failed else {}),
                    },
                }
                for name in CLIENTS
                if name.startswith(host)
            ]
        }

    fleet._remembered.clear()
    for host in ("prom1", "prom2"):
        registered(host, steps.LOOKED, "inspected")
    assert removal_problems(variables, GROUPS, ALL) == []
    assert removal_problems(variables, GROUPS, ALL, cleared=True) == [f"{name} has not let go" for name in CLIENTS]
    for host in ("prom1", "prom2"):
        registered(host, steps.ANSWERED, "absent", **{"prom2-long": "no space left"})
    assert removal_problems(variables, GROUPS, ALL, cleared=True) == ["prom2-long has not let go"]
    registered("prom2", steps.ANSWERED, "absent")
    assert removal_problems(variables, GROUPS, ALL, cleared=True) == []
