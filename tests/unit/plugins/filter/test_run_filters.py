# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters around a run: what is wrong with it before it begins, and what is missing from it at its end."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("ansible", reason="filters run on the controller")

from ansible.errors import AnsibleError

from ansible_collections.timesten.monitoring.plugins.filter.run_problems import run_problems

GROUPS = {"timesten_exporters": ["exp1", "exp2"], "prometheus_servers": ["prom1", "prom2"]}
ALL = ["exp1", "exp2", "prom1", "prom2"]


def hostvars(**changes):
    """The variables of a fleet that is right, but for the changes."""
    right = {name: {"exporter_host_timesten_home": "/opt/tt"} for name in GROUPS["timesten_exporters"]}
    right |= {name: {} for name in GROUPS["prometheus_servers"]}
    return {name: {**own, **changes.get(name, {})} for name, own in right.items()}


def test_nothing_is_wrong():
    assert run_problems(hostvars(), GROUPS, ALL) == []
    assert run_problems(hostvars(), GROUPS, ALL, "") == []
    assert run_problems(hostvars(exp1={"exporter_host_port": "9000", "unrelated": object()}), GROUPS, ALL) == []


@pytest.mark.parametrize("group", list(GROUPS))
@pytest.mark.parametrize("value", [None, []])
def test_missing_group(group, value):
    (problem,) = run_problems({}, {**GROUPS, group: value}, [], "exp1")
    assert f"no host in the group {group}," in problem


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        (["exp2", "prom1", "prom2"], None),
        (["exp2"], "leaves out prom1, prom2; .*--limit 'exp2:prometheus_servers'"),
        (["exp2", "prom2"], "leaves out prom1; .*--limit 'exp2:prometheus_servers'"),
        (["exp1", "exp2", "prom2"], "leaves out prom1; .*--limit 'exp1:prometheus_servers'"),
        (["prom1", "prom2"], "leaves out every exporter host; .*--limit 'exp1:prometheus_servers'"),
    ],
)
def test_limit(hosts, expected):
    messages = run_problems(hostvars(), GROUPS, hosts, "PATTERN")
    assert run_problems(hostvars(), GROUPS, hosts) == [], "where the limit does not matter"
    if expected is None:
        assert messages == []
    else:
        (problem,) = messages
        assert problem.startswith("--limit PATTERN leaves out ")
        assert re.search(expected, problem)


@pytest.mark.parametrize(
    ("host", "variables", "expected"),
    [
        ("exp1", {"exporter_host_prot": 1}, "exporter_host_prot is not a variable of the role exporter_host; exporter_host_port is"),
        ("exp1", {"exporter_host_zzz": 1}, "exporter_host_zzz is not a variable of the role exporter_host"),
        ("exp1", {"exporter_host_port": 0}, "exporter_host_port: 0 is not between 1 and 65535"),
        ("exp1", {"exporter_host_rate_limit": 16}, "exporter_host_rate_limit: 16 is not between 1 and 15"),
        ("exp1", {"exporter_host_renew_before": "soon"}, "exporter_host_renew_before: 'soon'"),
        ("exp1", {"exporter_host_address": "a b"}, "exporter_host_address: 'a b' is neither a host name nor an IP address"),
        ("exp1", {"exporter_host_timesten_home": None}, "exporter_host_timesten_home is not set; "),
        ("exp1", {"exporter_host_exporters": [{}, {}]}, "exporter_host_exporters[0] of exp1 has no 'instance'"),
        ("exp1", {"exporter_host_exporters": [{"instance": "../x"}]}, "exporter_host_exporters[0].instance: 'exp1-../x' is not a usable name"),
        ("exp1", {"exporter_host_exporters": "exp1"}, "exporter_host_exporters is not a list of mappings"),
        ("prom1", {"prometheus_host_stoer": "/x"}, "prometheus_host_stoer is not a variable of the role prometheus_host; prometheus_host_store is"),
        ("prom1", {"prometheus_host_layout": "x"}, "value of prometheus_host_layout must be one of: inline, files, template, got: x"),
        ("prom1", {"prometheus_host_instances": [{"instance": "a b"}]}, "prometheus_host_instances[0].instance: 'prom1-a b' is not a usable name"),
    ],
)  # fmt: skip
def test_wrong_value_names_host_place_and_value(host, variables, expected):
    problems = run_problems(hostvars(**{host: variables}), GROUPS, ALL)
    assert [problem for problem in problems if problem.startswith(f"{host}: {expected}")], problems
    others = [name for name in ALL if name != host]
    assert run_problems(hostvars(**{host: variables}), GROUPS, others) == [], "it is not part of the run"


def test_a_value_that_cannot_be_read():
    class Broken(dict):
        def __getitem__(self, key):
            if key == "exporter_host_port":
                raise AnsibleError("'nowhere' is undefined")
            return super().__getitem__(key)

    variables = hostvars()
    variables["exp2"] = Broken(variables["exp2"], exporter_host_port="{{ nowhere }}")
    assert run_problems(variables, GROUPS, ALL) == ["exp2: exporter_host_port: 'nowhere' is undefined"]


def test_same_name_target_and_client():
    changes = {
        "exp1": {"exporter_host_address": "exp2"},
        "prom1": {"prometheus_host_instances": [{"instance": "a"}]},
    }
    variables = {**hostvars(**changes), "prom1-a": {}}
    groups = {**GROUPS, "prometheus_servers": ["prom1", "prom1-a"]}
    assert run_problems(variables, groups, [*ALL, "prom1-a"]) == [
        "the target exp2:8888 is there 2 times: on exp1, exp2",
        "the client name prom1-a is there 2 times: on prom1, prom1-a",
    ]


def test_spare_ports_count_as_targets():
    shared = {"exporter_host_address": "both", "exporter_host_spare_port": 8889}
    assert run_problems(
        hostvars(exp1={**shared, "exporter_host_port": 1}, exp2={**shared, "exporter_host_port": 2}), GROUPS, ALL
    ) == ["the target both:8889 is there 2 times: on exp1, exp2"]
    assert (
        run_problems(
            hostvars(exp1={"exporter_host_spare_port": 8889}, exp2={"exporter_host_spare_port": 8889}), GROUPS, ALL
        )
        == []
    )
