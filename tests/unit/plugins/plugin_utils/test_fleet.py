# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory, read once: types, refusals, and generated values of every variable."""

from __future__ import annotations

import collections
import copy
import itertools
import json
import time

import pytest

pytest.importorskip("ansible", reason="used on the controller alone")

from ansible_collections.timesten.monitoring.plugins.plugin_utils import fleet, steps, words

pytestmark = pytest.mark.controller

GROUPS = {"timesten_exporters": ["exp1", "exp2"], "prometheus_servers": ["prom1", "prom2"]}
ALL = ["exp1", "exp2", "prom1", "prom2"]
SECRET = "s3cr3t-Value"


def hostvars(changes=None, everywhere=None):
    """The variables of a fleet that is right, but for the changes."""
    right = {name: {"exporter_host_timesten_home": "/opt/tt"} for name in GROUPS["timesten_exporters"]}
    right |= {name: {} for name in GROUPS["prometheus_servers"]}
    return {name: {**own, **(everywhere or {}), **(changes or {}).get(name, {})} for name, own in right.items()}


def problems(changes=None, everywhere=None, **more):
    extra = list(everywhere or {}) if more.pop("extra", False) else ()
    return fleet.problems(hostvars(changes, everywhere), GROUPS, ALL, extra_vars=extra, **more)


def test_what_is_read():
    changes = {
        "exp1": {
            "exporter_host_exporters": [{"instance": "a", "port": "9000"}, {"instance": "b", "state": "stopped"}],
            "exporter_host_spare_port": "9100",
            "exporter_host_environment": {"A": SECRET},
        },
        "prom1": {
            "prometheus_host_url_password": SECRET,
            "prometheus_host_running": "false",
            "prometheus_host_exporter_hosts": "exp2",
        },
    }
    changes["exp1"]["exporter_host_exporters"][1]["spare_port"] = 9101
    read_fleet, messages = fleet.read(hostvars(changes), GROUPS)
    assert messages == []
    assert list(read_fleet.exporters) == ["exp1-a", "exp1-b", "exp2"]
    first = read_fleet.exporters["exp1-a"]
    assert (first.host, first.address, first.port, first.spare_port, first.state) == (
        "exp1",
        "exp1",
        9000,
        9100,
        "started",
    )
    assert read_fleet.exporters["exp1-b"].state == "stopped"
    assert first.definition["certificate_directory"] == "/opt/tt/monitoring/exp1-a"
    assert first.definition["environment"] == {"A": SECRET}
    assert read_fleet.clients["prom1"].options["prometheus_running"] is False
    assert read_fleet.clients["prom1"].options["url_password"] == SECRET
    assert SECRET not in repr(read_fleet)
    assert [client.name for client in read_fleet.clients_of("exp1")] == ["prom2"]
    assert fleet.counts(read_fleet, ALL) == "2 exporter hosts, 3 exporters, 2 Prometheus hosts, 2 clients, 4 pairs"
    assert (
        fleet.counts(read_fleet, ["exp2", "prom1"])
        == "1 exporter host, 1 exporter, 1 Prometheus host, 1 client, 1 pair"
    )


def test_paths_are_the_hosts():
    """~ is the home directory of somebody on the host, not of whoever runs Ansible."""
    read_fleet, messages = fleet.read(hostvars({"exp1": {"exporter_host_timesten_home": "~/tt"}}), GROUPS)
    assert messages == []
    assert read_fleet.exporters["exp1"].definition["certificate_directory"] == "~/tt/monitoring/exp1"


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("exporter_host_insecure", "false", False),
        ("exporter_host_force_kill", "yes", True),
        ("exporter_host_become", "no", False),
        ("exporter_host_make_directory", "1", True),
        ("exporter_host_port", "9000", 9000),
        ("exporter_host_spare_port", "9001", 9001),
        ("exporter_host_stop_timeout", "20", 20),
        ("exporter_host_rsa_key_size", "4096", 4096),
        ("exporter_host_rate_limit", "5", 5),
        ("exporter_host_keep_generations", "0", 0),
        ("exporter_host_alt_names", "a.example", ["a.example"]),
        ("exporter_host_alt_names", "a.example,b.example", ["a.example", "b.example"]),
        ("exporter_host_readmit", "prom1", ["prom1"]),
        ("exporter_host_prometheus_hosts", "prom2", ["prom2"]),
        ("exporter_host_environment", '{"A": "1"}', {"A": "1"}),
        ("prometheus_host_honor_labels", "false", False),
        ("prometheus_host_honor_labels", "true", True),
        ("prometheus_host_running", "off", False),
        ("prometheus_host_become", "False", False),
        ("prometheus_host_purge", "0", False),
        ("prometheus_host_keep_deliveries", "7", 7),
        ("prometheus_host_wait_timeout", "30", 30.0),
        ("prometheus_host_exporter_hosts", "exp1,exp2", ["exp1", "exp2"]),
        ("prometheus_host_labels", "team=db", {"team": "db"}),
        ("timesten_serial", "5", [5]),
        ("timesten_max_fail_percentage", "5", 5.0),
        ("rotate_only_due", "false", False),
        ("rotate_force", "false", False),
        ("rotate_wave", "3", 3),
        ("rotate_confirm", "60", 60.0),
        ("rotate_exporters", "exp1,exp2", ["exp1", "exp2"]),
        ("remove_everything", "false", False),
    ],
)
def test_a_text_is_the_value(variable, text, value):
    group = "prometheus_servers" if variable.startswith("prometheus") else "timesten_exporters"
    read = [fleet.read(hostvars({host: {variable: item} for host in GROUPS[group]}), GROUPS) for item in (text, value)]
    assert read[0] == read[1]
    assert read[0][1] == []


EXPORTER_FAULTS = [
    ("exporter_host_port", 0),
    ("exporter_host_port", 65536),
    ("exporter_host_port", True),
    ("exporter_host_port", "eighty"),
    ("exporter_host_spare_port", 8888),
    ("exporter_host_rsa_key_size", 1024),
    ("exporter_host_renew_before", "soon"),
    ("exporter_host_renew_before", ""),
    ("exporter_host_keep_generations", -1),
    ("exporter_host_stop_timeout", 0),
    ("exporter_host_start_timeout", 3601),
    ("exporter_host_rate_limit", 16),
    ("exporter_host_directory", "relative"),
    ("exporter_host_directory", ""),
    ("exporter_host_pid_file", "/x\0y"),
    ("exporter_host_log_file", "log"),
    ("exporter_host_address", "a b"),
    ("exporter_host_address", ""),
    *(
        (option, f"fe80::1%{scope}")
        for option in ("exporter_host_address", "exporter_host_common_name")
        for scope in ("\nevil", "a: b", '"', "\x1b[2J")
    ),
    ("exporter_host_alt_names", ["exp1", "fe80::1%\nevil"]),
    ("exporter_host_common_name", ["a"]),
    ("exporter_host_alt_names", "a b"),
    ("exporter_host_owner", ""),
    ("exporter_host_owner", "a b"),
    ("exporter_host_insecure", "maybe"),
    ("exporter_host_boot", "upstart"),
    ("exporter_host_timesten_home", None),
    ("exporter_host_exporters", []),
    ("exporter_host_exporters", "exp1"),
    ("exporter_host_exporters", [{"prot": 1}]),
    ("exporter_host_exporters", [{}, {}]),
    ("exporter_host_environment", {"A\nB": SECRET}),
    ("exporter_host_environment", {"FOO-BAR": SECRET}),
    ("exporter_host_environment", {"A;touch X;B": SECRET}),
    ("exporter_host_environment", {"": SECRET}),
    ("exporter_host_environment", {"A": SECRET + "\0"}),
    ("exporter_host_environment", {"A": SECRET + "\nx"}),
    ("exporter_host_environment", {"A": [SECRET]}),
    ("exporter_host_environment", [SECRET]),
    ("exporter_host_environment", SECRET),
    ("exporter_host_readmit", ["prom9x"]),
    ("exporter_host_prometheus_hosts", ["exp1"]),
]
PROMETHEUS_FAULTS = [
    ("prometheus_host_labels", {"__name__": "x"}),
    ("prometheus_host_labels", {"a-b": "x"}),
    ("prometheus_host_labels", {"a": 1}),
    ("prometheus_host_labels", {"a": "x\0"}),
    ("prometheus_host_job_label", "x\ny"),
    ("prometheus_host_metrics_path", "/x\ny"),
    ("prometheus_host_scrape_interval", "0s"),
    ("prometheus_host_scrape_interval", "soon"),
    ("prometheus_host_scrape_interval", ""),
    ("prometheus_host_scrape_timeout", "1"),
    ("prometheus_host_wait_timeout", "nan"),
    ("prometheus_host_wait_timeout", float("inf")),
    ("prometheus_host_wait_timeout", -1),
    ("prometheus_host_keep_deliveries", -1),
    ("prometheus_host_store", "/"),
    ("prometheus_host_store", "//"),
    ("prometheus_host_store", "x"),
    ("prometheus_host_config_file", ""),
    ("prometheus_host_url", "prom1:9090"),
    ("prometheus_host_url", "http://"),
    ("prometheus_host_url", f"http://admin:{SECRET}@prom1"),
    ("prometheus_host_url", "http://prom1:port"),
    ("prometheus_host_url_password", f"{SECRET}\n"),
    ("prometheus_host_url_password", [SECRET]),
    ("prometheus_host_url_password", {"a": SECRET}),
    ("prometheus_host_url_bearer_token", f"{SECRET}\n"),
    ("prometheus_host_url_bearer_token", f"a {SECRET}"),
    ("prometheus_host_url_bearer_token", [SECRET]),
    ("prometheus_host_url_bearer_token", ""),
    ("prometheus_host_url_bearer_token", f"{SECRET}\N{LATIN SMALL LETTER A WITH DIAERESIS}"),
    ("prometheus_host_url_headers", [SECRET]),
    ("prometheus_host_url_headers", {"X-Api-Key": f" {SECRET}"}),
    ("prometheus_host_url_headers", {"X-Api-Key": SECRET, "x-api-key": SECRET}),
    ("prometheus_host_url_headers", {"X-Api-Key": f"{SECRET}\N{LATIN SMALL LETTER A WITH DIAERESIS}"}),
    ("prometheus_host_url_headers", {"X Y": SECRET}),
    ("prometheus_host_url_headers", {"X-Api-Key": f"{SECRET}\r\nHost: other"}),
    ("prometheus_host_url_headers", {"X-Api-Key": {"a": SECRET}}),
    ("prometheus_host_url_headers", {"Host": SECRET}),
    ("prometheus_host_extra", {"scheme": SECRET}),
    ("prometheus_host_extra", {"params": {"a": [SECRET + "\0"]}}),
    ("prometheus_host_extra", SECRET),
    ("prometheus_host_extra", [SECRET]),
    ("prometheus_host_metrics_path", "metrics"),
    ("prometheus_host_job_label", ""),
    ("prometheus_host_user", ""),
    ("prometheus_host_group", "a:b"),
    ("prometheus_host_reload_unit", "a b"),
    ("prometheus_host_on_existing", "overwrite"),
    ("prometheus_host_exporter_hosts", ["exp9x"]),
    ("prometheus_host_instances", [{"instance": "a"}, {"instance": "b"}]),
]


@pytest.mark.parametrize(("variable", "value"), EXPORTER_FAULTS + PROMETHEUS_FAULTS)
def test_refused_with_host_and_variable(variable, value):
    host = "exp2" if variable.startswith("exporter") else "prom2"
    texts = problems({host: {variable: value}})
    assert any(message.startswith(f"{host}: ") and variable in message for message in texts), texts
    assert SECRET not in "".join(texts)
    assert fleet.problems(hostvars({host: {variable: value}}), GROUPS, [name for name in ALL if name != host]) == []


def test_a_scrape_file_shares_no_configuration_and_no_url():
    vm = {"instance": "vm", "kind": "scrape_file", "scrape_file": "/etc/vm/scrape.yml", "store": "/etc/vm/timesten"}
    instances = [{"instance": "a"}, vm]
    assert problems({"prom1": {"prometheus_host_instances": instances}}) == []
    read_fleet, _messages = fleet.read(hostvars({"prom1": {"prometheus_host_instances": instances}}), GROUPS)
    assert [read_fleet.clients[name].is_asked for name in ("prom1-a", "prom1-vm", "prom2")] == [True, False, True]
    for same in ({"scrape_file": vm["scrape_file"]}, {"store": vm["store"]}):
        other = {**vm, "instance": "vm2", "scrape_file": "/etc/vm2.yml", "store": "/etc/vm2", **same}
        (text,) = problems({"prom1": {"prometheus_host_instances": [*instances, other]}})
        assert f"prometheus_host_{next(iter(same))}" in text and "each needs its own" in text


LOGINS = {
    "prometheus_host_url_username": "admin",
    "prometheus_host_url_bearer_token": SECRET,
    "prometheus_host_url_headers": {"authorization": SECRET},
}


@pytest.mark.parametrize("names", list(itertools.combinations(LOGINS, 2)))
def test_two_logins_for_one_prometheus_are_refused(names):
    texts = problems({"prom1": {name: LOGINS[name] for name in names}})
    assert len(texts) == 1 and "cannot be used together with prometheus_host_url_" in texts[0], texts
    assert SECRET not in texts[0]
    for name in names:
        assert problems({"prom1": {name: LOGINS[name]}}) == []


def test_a_timeout_longer_than_its_interval():
    (message,) = problems(
        {"prom1": {"prometheus_host_scrape_interval": "10s", "prometheus_host_scrape_timeout": "11s"}}
    )
    assert "prometheus_host_scrape_timeout 11s is longer than prometheus_host_scrape_interval 10s" in message


def test_not_set():
    (message,) = problems({"exp1": {"exporter_host_timesten_home": None}})
    assert message.startswith("exp1: exporter_host_timesten_home is not set; ")


def test_an_element_is_named_where_it_says_it_itself():
    (message,) = problems({"exp1": {"exporter_host_exporters": [{"port": 0}]}})
    assert message.startswith("exp1: exporter_host_exporters[0].port: 0 is not between")
    (message,) = problems({"prom1": {"prometheus_host_instances": [{"url": "x"}]}})
    assert message.startswith("prom1: prometheus_host_instances[0].url: 'x' is not the address"), message


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("exporter_host_prot", "exporter_host_port"),
        ("exporter_host_zzz", None),
        ("exporter_port", "exporter_host_port"),
        ("exporters_port", "exporter_host_port"),
        ("exporterhost_port", "exporter_host_port"),
        ("exporter_hosts_port", "exporter_host_port"),
        ("exportr_host_port", "exporter_host_port"),
        ("EXPORTER_HOST_PORT", "exporter_host_port"),
        ("exporter_timesten_home", "exporter_host_timesten_home"),
        ("exporter_host_exporter", "exporter_host_exporters"),
        ("prometheus_hosts_url", "prometheus_host_url"),
        ("prometheushost_url", "prometheus_host_url"),
        ("promethus_host_url", "prometheus_host_url"),
        ("prometheus_host_on_exsting", "prometheus_host_on_existing"),
        ("timesten_seriall", "timesten_serial"),
        ("timesten_max_fail_percentge", "timesten_max_fail_percentage"),
        ("rotate_stratgy", "rotate_strategy"),
        ("rotate_exporter", "rotate_exporters"),
        ("remove_exporters", "remove_exporter"),
    ],
)
def test_misspelt(name, meant):
    texts = problems({"exp1": {name: 1}})
    assert any(message.startswith(f"exp1: {name} is not a variable of ") for message in texts), texts
    assert meant is None or any(f"; {meant} is" in message for message in texts), texts
    assert len(problems(everywhere={name: 1}, extra=True)) == 1


@pytest.mark.parametrize(
    "name",
    [
        "prometheus_version",
        "prometheus_config_file",
        "prometheus_config_dir",
        "prometheus_scrape_configs",
        "exporter_custom",
        "node_exporter_port",
        "timesten_home",
        "timesten_version",
        "rotate_logs",
        "remove_packages",
        "port",
        "url",
        "state",
        "owner",
        "on_existing",
        "reference_exporter_timesten_home",
        "ansible_host",
        "group_names",
        "oracle_timesten_home",
    ],
)
def test_innocent(name):
    assert problems({"exp1": {name: object()}, "prom1": {name: 1}}) == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("on_existing", "prometheus_host_on_existing"),
        ("regenerate", "exporter_host_regenerate"),
        ("strategy", "rotate_strategy"),
        ("serial", "timesten_serial"),
        ("certificate_directory", "exporter_host_directory"),
        ("prometheus_running", "prometheus_host_running"),
        ("become", "exporter_host_become or prometheus_host_become"),
        ("evicts", "evict"),
        ("rotate_zzzzzzzz", "there are "),
        ("timesten_report_path", "timesten_report"),
    ],
)
def test_given_with_e(name, meant):
    (message,) = problems(everywhere={name: "x"}, extra=True)
    assert message.startswith(f"-e {name} ")
    assert meant in message


def test_the_place_of_the_rule_file_is_one_that_a_container_sees() -> None:
    mounts = {"/srv/prometheus.d": "/etc/prometheus", "/srv/timesten": "/timesten"}
    inside = {
        "prometheus_host_config_file": "/srv/prometheus.d/prometheus.yml",
        "prometheus_host_store": "/srv/timesten",
    }
    given = {"prometheus_host_path_map": mounts, **inside}
    (message,) = fleet.problems(hostvars({"prom1": given}), GROUPS, ALL)
    assert "prometheus_host_path_map: prometheus_host_rules_file /srv/timesten.rules.yml is below none" in message, (
        message
    )
    for way_out in ({"prometheus_host_rules_file": "/srv/timesten/rules.yml"}, {"prometheus_host_rules": False}):
        assert fleet.problems(hostvars({"prom1": {**given, **way_out}}), GROUPS, ALL) == []


@pytest.mark.parametrize("name", sorted(fleet._FACTS))
def test_what_the_playbooks_set_themselves(name):
    """With -e it would stand above what a run finds out; among a host's variables it is from an earlier play of the same run."""
    (message,) = problems(everywhere={name: []}, extra=True)
    assert message == f"-e {name} is not a variable for people: the playbooks set it themselves; leave it out"
    assert problems({"exp1": {name: []}}) == []


def test_a_variable_of_the_other_role():
    (message,) = problems({"prom1": {"exporter_host_pid_file": "/x/pid"}})
    assert message == (
        "prom1: exporter_host_pid_file is a variable of the role exporter_host, and no host of the group timesten_exporters has it; set it there"
    )
    assert problems(everywhere={"exporter_host_rate_limit": 5, "prometheus_host_user": "prom"}) == []
    assert problems({"exp1": {"prometheus_host_purge": False}})[0].startswith(
        "exp1: prometheus_host_purge is a variable of"
    )


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ({"rotate_exporters": "exp12"}, "rotate_exporters: 'exp12' is not an exporter; exp1 is"),
        (
            {"rotate_exporters": ["exp1", "nosuch"]},
            "rotate_exporters: 'nosuch' is not an exporter; there are exp1, exp2",
        ),
        ({"rotate_exporters": "exp1 exp2"}, "rotate_exporters: 'exp1 exp2' is not an exporter"),
        ({"rotate_exporters": "exp1, exp2"}, None),
        ({"rotate_hosts": ["prom1"]}, "rotate_hosts: 'prom1' is not a host of the group timesten_exporters"),
        ({"rotate_optional": "prom"}, "rotate_optional: 'prom' is not a client; prom"),
        ({"rotate_optional": ["prom1"]}, None),
        ({"rotate_strategy": "sparport"}, "value of rotate_strategy must be one of: gap, spare_port, got: sparport"),
        ({"rotate_to": "old"}, "value of rotate_to must be one of: new, previous, got: old"),
        ({"rotate_wave": "0"}, "rotate_wave: 0 is not between 1"),
        ({"rotate_wave": "x"}, "rotate_wave"),
        ({"rotate_confirm": "nan"}, "rotate_confirm: nan is not between 1"),
        ({"rotate_since": "yesterday"}, "rotate_since: 'yesterday' is not a time"),
        ({"rotate_since": "2026-11-24T10:49:00Z"}, None),
        ({"rotate_force": "perhaps"}, "rotate_force"),
        ({"timesten_serial": "abc"}, "timesten_serial: 'abc' is neither"),
        ({"timesten_serial": "0%"}, "timesten_serial: '0%' is neither"),
        ({"timesten_serial": 0}, "timesten_serial: '0' is neither"),
        ({"timesten_serial": "1,5"}, "timesten_serial: '1,5' is neither"),
        ({"timesten_serial": [1, "50%"]}, None),
        ({"timesten_serial": []}, "timesten_serial: [] is empty"),
        ({"timesten_max_fail_percentage": "5%"}, "timesten_max_fail_percentage"),
        ({"timesten_max_fail_percentage": 101}, "timesten_max_fail_percentage: 101 is not between 0 and 100"),
        ({"timesten_max_fail_percentage": "nan"}, "timesten_max_fail_percentage: 'nan' is not between"),
        ({"timesten_report": ""}, "timesten_report: '' is empty"),
        ({"evict": "nosuch"}, "evict: 'nosuch' is not a client; there are prom1, prom2"),
        (
            {"evict": "nosuch"},
            "timesten.monitoring.remove -e remove_prometheus=nosuch, and then ansible-playbook timesten.monitoring.rotate -e",
        ),
        ({"evict": "prmo1"}, "evict: 'prmo1' is not a client; prom1 is"),
        ({"evict": "exp1"}, "evict: 'exp1' is an exporter"),
        ({"evict": "prom3"}, None),
    ],
)
def test_the_run(run, expected):
    texts = problems(everywhere=run, extra=True)
    if expected is None:
        assert texts == []
    else:
        (message,) = texts
        assert expected in message


def test_what_a_playbook_needs():
    assert "evict is not set" in problems(operation="evict")[0]
    assert "nothing was named to be removed" in problems(operation="remove")[0]
    assert "2 things were named" in problems(everywhere={"remove_exporter": "exp1", "remove_everything": "yes"}, operation="remove")[0]  # fmt: skip
    assert problems(everywhere={"remove_exporter": "exp9", "remove_everything": "no"}, operation="remove") == []
    # What has left the inventory may be called almost as what has not: the hosts say whether it exists.
    for gone in ({"remove_exporter": "exp-a"}, {"remove_exporter": "expp1"}, {"remove_prometheus": "pram1"}):
        assert problems(everywhere=gone, operation="remove") == []
    (message,) = fleet.problems(hostvars(everywhere={"rotate_exporters": "exp1"}), GROUPS, ALL[1:], operation="rotate")
    assert "the host of exp1, exp1, is not part of this run" in message


@pytest.mark.parametrize("groups", [{}, {"all": []}, {**GROUPS, "prometheus_servers": []}])
@pytest.mark.parametrize("operation", fleet.OPERATIONS)
def test_no_inventory(groups, operation):
    assert "the inventory has no host in the group" in fleet.problems({}, groups, [], operation=operation)[0]
    assert "no host of timesten_exporters or prometheus_servers" in fleet.problems(hostvars(), GROUPS, [])[0]


def test_purge_and_limit():
    values = {"prom1": {"prometheus_host_purge": "true"}}
    assert problems(values) == []
    assert "prometheus_host_purge looks at every exporter" in fleet.problems(hostvars(values), GROUPS, ALL[1:])[0]


def test_the_variables_of_a_host_are_asked_for_once():
    """Ansible puts them together each time, which grows with the inventory."""
    asked = collections.Counter()

    class Hostvars(dict):
        def __getitem__(self, host):
            asked[host] += 1
            return super().__getitem__(host)

    for read in (
        lambda variables: fleet.problems(variables, GROUPS, ALL),
        lambda variables: fleet.read(variables, GROUPS),
    ):
        asked.clear()
        read(Hostvars(hostvars(everywhere={"rotate_strategy": "gap"})))
        assert asked == dict.fromkeys(ALL, 1)


def test_reading_leaves_the_specifications_as_they_are():
    """They are read once, and Ansible's validator fills in what it is given."""
    before = copy.deepcopy({role: words.specs(role) for role in fleet.ROLES})
    instance = {"prometheus_host_instances": [{"name": "a"}], "exporter_host_exporters": [{"port": 1}]}
    assert problems(everywhere={"exporter_host_prometheus_hosts": ["prom1"]}) is not None
    fleet.read(hostvars({"prom1": instance, "exp1": instance}), GROUPS)
    assert {role: words.specs(role) for role in fleet.ROLES} == before


def test_the_same_fault_of_many_is_told_once():
    assert problems(everywhere={"exporter_host_prot": 1}) == [
        "exp1 (and 3 more hosts): exporter_host_prot is not a variable of the role exporter_host; exporter_host_port is"
    ]


def test_remember(monkeypatch):
    monkeypatch.setattr(fleet, "_remembered", [])
    fresh = fleet.recall(hostvars(), GROUPS)
    monkeypatch.setattr(fleet, "read", None)
    assert fleet.recall({}, GROUPS) is fresh
    monkeypatch.undo()
    fleet.remember(fresh)
    other = {**GROUPS, "timesten_exporters": ["exp1"]}
    assert list(fleet.recall(hostvars(), other).exporters) == ["exp1"]
    with pytest.raises(fleet.Problems):
        fleet.recall(hostvars({"exp1": {"exporter_host_port": 0}}), GROUPS)


# --- every variable, generated values ---------------------------------------------------------------------------------

BAD = ["", " ", "\0", "a\nb", "a b", "../x", "é\u2028", "-1", "nan", "inf", "1e400", "0", "99999999999", "{{ x }}", "a,b", "~", "$(x)",
       0, -1, 1.5, 10**30, float("nan"), float("inf"), True, False, [], [1], [[]], [None], [{}], [""], ["\0"], {}, {"a": 1}, {1: 2},
       {"": ""}, {"a": {"b": "\0"}}, "x" * 5000, b"x"]  # fmt: skip


def _cases():
    for role in words.ROLES:
        host = "exp1" if role == words.EXPORTER else "prom1"
        for name, spec in words.specs(role).items():
            for value in BAD:
                yield host, name, value, {name: value}
                if spec.get("elements") == "dict":
                    for key in spec["options"]:
                        yield host, name, value, {name: [{key: value}]}
    for name in fleet.RUN:
        for value in BAD:
            yield "exp1", name, value, {name: value}


def test_every_variable_with_generated_values():
    """Each value is refused with the name of its variable, or it is one that the arguments of the modules hold as its type says."""
    count = refused = 0
    unnamed = []
    longest = 0.0
    for host, name, value, variables in _cases():
        count += 1
        began = time.process_time()
        messages = problems({host: variables})
        longest = max(longest, time.process_time() - began)
        if messages:
            refused += 1
            given = variables[name]
            is_element = isinstance(given, list) and bool(given) and isinstance(given[0], dict)
            key = next(iter(given[0]), "") if is_element else ""
            role = name.rpartition("_")[0]
            if not any(name in message or f"{role}_{key}" in message for message in messages):
                unnamed.append((variables, messages))
            assert all("\n" not in message and len(message) < 6000 for message in messages), (variables, messages)
            assert "Traceback" not in "".join(messages)
        else:
            read_fleet, _none = fleet.read(hostvars({host: variables}), GROUPS)
            _fits(read_fleet, host, name, value)
    print(f"\n{count} cases, {refused} refused, longest {longest * 1000:.0f} ms")
    assert unnamed == []
    assert count >= 600
    assert longest < 2


def _fits(read_fleet, host, name, value):
    """What was accepted can be sent to a host, and holds no control character and no number that is none."""
    options = (
        [dict(item.definition) for item in read_fleet.exporters.values() if item.host == host]
        + [dict(item.options) for item in read_fleet.clients.values() if item.host == host]
        + [{"run": vars(read_fleet.run)}]
    )
    for item in options:
        text = json.dumps(item, allow_nan=False)
        assert "\\u0000" not in text and "\\n" not in text, (name, value)


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({}, False),
        ({name: {"rotate_strategy": "spare_port"} for name in ("exp1", "exp2")}, True),
        ({"prom1": {"rotate_strategy": "spare_port"}}, True),
        ({"exp1": {"rotate_strategy": "gap"}}, False),
        ({name: {"rotate_strategy": "spare_port"} for name in ALL}, False),
    ],
)
def test_one_strategy_for_all_hosts(changes, refused):
    """Each host decides by its own variables in which steps of a rotation it takes part."""
    texts = [text for text in problems(changes) if text.startswith("rotate_strategy differs from host to host")]
    assert bool(texts) is refused


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, None),
        ({"skip_tags": [], "tags": ["nosuch"], "subset": "exp1", "start_at_task": None}, None),
        ({"skip_tags": ("all", "untagged", "nosuch")}, None),
        ({"skip_tags": ["always"]}, "--skip-tags always leaves out the check"),
        ({"skip_tags": ["x", "tagged"]}, "--skip-tags tagged leaves out the check"),
        ({"start_at_task": "Converge"}, "--start-at-task 'Converge' leaves out what stands before"),
    ],
)
def test_what_every_run_needs_is_not_left_out(options, said):
    texts = fleet.left_out({"all": ["exp1"]}, options)
    assert texts is None if said is None else texts.startswith(said)


def test_a_limit_without_an_inventory_finds_nobody():
    assert fleet.left_out({"all": []}, {"subset": "all"}).startswith(
        "the inventory has no hosts at all, so that --limit all"
    )
    assert fleet.left_out({}, {"subset": None}) is None


@pytest.mark.parametrize("name", ["exporter_host_owner", "timesten_report", "prometheus_host_answer", "rotate_due"])
def test_a_host_chooses_no_variable_by_its_facts(name):
    """A fact cache, or a playbook that gathers facts, puts them above the inventory."""
    told = {"exp2": {"ansible_facts": {name: "x", "hostname": "exp2"}}}
    (message,) = problems(told)
    assert message.startswith(f"exp2: {name}: among the facts of the host") and "--flush-cache" in message
    assert problems({"exp2": {"ansible_facts": {"hostname": "exp2", "exporter": 1}}}) == []
    # What is set for the run counts for all, whoever has it: also of a host outside of a limit, or where a role is used alone.
    limited = fleet.problems(hostvars(told), GROUPS, {*ALL} - {"exp2"}, limit="exp1:prometheus_servers")
    assert [text for text in limited if "among the facts" in text] == [message]
    assert fleet.read(hostvars(told), GROUPS)[1] == [message]


def test_an_earlier_playbook_of_the_same_run_answers_nothing():
    assert problems() == []
    registered = {"clients": [], "reading": steps.reading()}
    assert steps.current(registered) is registered
    assert steps.current({"clients": []}) == {"clients": []}
    assert problems({"exp1": {"exporter_host_port": 0}}) != [] and steps.current(registered) is registered
    assert problems() == []
    assert steps.current(registered) is None


class Vaulted(str):
    """As ansible-core before 2.19 has a value from a vault."""

    _ciphertext = b"$ANSIBLE_VAULT;1.1;AES256"


@pytest.mark.parametrize(
    "secret",
    [
        SECRET,
        f"{SECRET}\n",
        SECRET * 20,
        f"is {SECRET}",
        f"\xdf{SECRET}",
        f"'{SECRET}'",
        f"pw {SECRET}",
        f"\t {SECRET}",
    ],
)
def test_a_value_from_a_vault_is_in_no_message(secret):
    wrong = [
        {"exporter_host_port": Vaulted(secret)},
        {"exporter_host_renew_before": Vaulted(secret)},
        {"exporter_host_exporters": [{"alt_names": ["exp1", Vaulted(f"{secret} ")]}]},
    ]
    for variables in wrong:
        (message,) = problems({"exp1": variables})
        assert "s3cr" not in message and message.startswith("exp1: ") and "from a vault" in message
        assert next(iter(variables)).rpartition("_")[2][:4] in message or "alt_names" in message


def test_a_value_from_a_vault_that_is_like_a_variable_hides_no_reason():
    (message,) = problems(
        {
            "prom1": {
                "prometheus_host_url_username": Vaulted("prometheus"),
                "prometheus_host_scrape_interval": "5 bananas",
            }
        }
    )
    assert message.startswith("prom1: prometheus_host_scrape_interval: ") and "5 bananas" in message


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("0.0.0.0", "is the address of no host"),
        ("::", "is the address of no host"),
        ("224.0.0.1", "is the address of no host"),
        ("ff02::1", "is the address of no host"),
        ("::ffff:0.0.0.0", "is the address of no host"),
        ("255.255.255.255", "is the address of no host"),
        ("fe80::1%eth0", None),
        ("169.254.1.1", None),
        ("localhost", None),
    ],
)
def test_an_address_that_no_host_has(address, said):
    texts = problems({"exp1": {"exporter_host_address": address}})
    assert texts == [] if said is None else f"exporter_host_address: {address} {said}" in texts[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("db.example", "DB.Example"),
        ("::1:2", "0:0:0:0:0:0:1:2"),
        ("::FFFF:10.0.0.1", "10.0.0.1"),
        ("fe80::0:1%eth0", "FE80::1%eth0"),
    ],
)
def test_one_target_in_two_spellings(one, other):
    texts = problems({"exp1": {"exporter_host_address": one}, "exp2": {"exporter_host_address": other}})
    assert (
        len(texts) == 1 and texts[0].startswith("the target ") and texts[0].endswith("is there 2 times: on exp1, exp2")
    )
    changes = {
        "exp1": {"exporter_host_address": one},
        "exp2": {"exporter_host_address": other, "exporter_host_port": 1},
    }
    assert problems(changes) == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("exprter_hst_port", "exporter_host_port"),
        ("promtheus_hst_url", "prometheus_host_url"),
        ("exporteer_hosst_port", "exporter_host_port"),
    ],
)
def test_two_letters_away(name, meant):
    assert fleet.unknown(name).endswith(f"; {meant} is")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("timesten_exporter_port", "exporter_host_port"),
        ("take_over", "exporter_host_takeover"),
        ("on_existng", "prometheus_host_on_existing"),
        ("stores", None),
        ("users", None),
    ],
)
def test_an_option_of_a_module_with_e(name, meant):
    said = fleet.unknown(name, extra=True)
    assert said is None if meant is None else said.endswith(f"; {meant} is")
    assert fleet.unknown(name) is None
