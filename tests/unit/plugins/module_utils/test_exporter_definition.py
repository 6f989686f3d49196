# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the modules, checked before anything is touched."""

from __future__ import annotations

import os

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import definition as _exporter_definition
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.host import seen_by
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import seal as _seal

LEAST = {"timesten_home": "/opt/tt", "certificate_directory": "/opt/mon/exp1"}
EXPORTER = {**LEAST, "name": "exp1", "address": "exp1.example.com", "port": 8888}


def failure(call, *arguments):
    with pytest.raises(TimesTenError) as caught:
        call(*arguments)
    return caught.value.message


def test_defaults_of_a_small_module():
    defined = _exporter_definition.define(LEAST)
    assert (defined.name, defined.asked, defined.port, defined.regenerate) == ("exp1", None, None, "never")
    assert (defined.pid_file, defined.log_file) == ("/opt/mon/exp1/exporter.pid", "/opt/mon/exp1/exporter.log")
    assert (defined.state, defined.rate_limit, defined.stop_timeout, defined.start_timeout) == ("started", 15, 10, 30)


def test_the_names_follow_the_address():
    asked = _exporter_definition.define(EXPORTER).asked
    assert asked.as_dict() == {
        "common_name": "exp1.example.com",
        "alt_names": ["exp1.example.com"],
        "rsa_key_size": None,
    }
    asked = _exporter_definition.define({**EXPORTER, "common_name": "other"}).asked
    assert asked.alt_names == ("other",)
    asked = _exporter_definition.define({**EXPORTER, "alt_names": ["a", "10.0.0.1"]}).asked
    assert (asked.common_name, asked.alt_names) == ("exp1.example.com", ("a", "10.0.0.1"))


def test_paths_are_made_plain():
    defined = _exporter_definition.define(
        {**LEAST, "certificate_directory": "/opt//mon/./exp1/", "pid_file": "/run/../run/x"}
    )
    assert (defined.certificate_directory, defined.pid_file) == ("/opt/mon/exp1", "/run/x")


def test_environment_is_text():
    defined = _exporter_definition.define({**LEAST, "environment": {"A": 1, "B": True, "C": "x"}})
    assert defined.environment == {"A": "1", "B": "True", "C": "x"}
    for value in ({}, [], None):
        message = failure(_exporter_definition.define, {**LEAST, "environment": {"A": value}}, "exporters[0].")
        assert message == "exporters[0].environment: A is not a text; quote its value"


def test_home_is_refused_also_through_a_link(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to("home")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("home", "link", "home/"):
        options = {**LEAST, "certificate_directory": f"{tmp_path}/{name}"}
        assert "is the home directory" in failure(_exporter_definition.define, options)
        assert _exporter_definition.define({**options, "allow_home": True})
    assert "is the home directory" in failure(
        _exporter_definition.define, {**LEAST, "certificate_directory": os.path.expanduser(f"~{_user()}")}
    )


def _user():
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


def test_the_place_is_named():
    message = failure(_exporter_definition.define_all, [EXPORTER, {**EXPORTER, "port": 0}])
    assert message == "exporters[1].port: 0 is not between 1 and 65535"


def test_clients():
    _private, public = _seal.new_transport_key()
    stored = {"exp1": {"delivery": "d"}}
    clients = _exporter_definition.define_clients(
        [
            {"name": "prom1", "recipient": public, "scrape_interval": 15.0, "stored": stored},
            {"name": "prom2"},
        ]
    )
    assert [(client.name, client.recipient, client.scrape_interval, client.stored) for client in clients] == [
        ("prom1", public, 15.0, stored),
        ("prom2", None, None, {}),
    ]
    assert failure(_exporter_definition.define_clients, [{"name": "Probe"}]).startswith(
        "clients[0].name: 'Probe' is reserved"
    )
    assert failure(_exporter_definition.define_clients, [{"name": "prom2", "recipient": ""}]).startswith(
        "clients[0].recipient: ''"
    )


def test_spare_port():
    defined = _exporter_definition.define({**EXPORTER, "spare_port": 8889})
    other = defined.on_other_port()
    assert (defined.job, defined.port, defined.spare) == ("exp1", 8888, False)
    assert (other.job, other.port, other.spare) == ("exp1.spare", 8889, True)
    assert other.pid_file == "/opt/mon/exp1/exporter.pid.spare"
    assert other.on_other_port() == defined


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spare_port": 8888}, "exporters[0].spare_port: 8888 is the port itself; choose another"),
        ({"spare_port": 70000}, "exporters[0].spare_port: 70000 is not between 1 and 65535"),
        ({"name": "exp1.spare"}, "exporters[0].name: 'exp1.spare' ends with .spare"),
        ({"name": "e" * 95, "spare_port": 1}, "exporters[0].name (with what a spare_port adds)"),
    ],
)
def test_wrong_spare_ports(change, message):
    assert failure(_exporter_definition.define_all, [{**EXPORTER, **change}]).startswith(message)


@pytest.mark.parametrize("ports", [{"port": 8889}, {"port": 1, "spare_port": 8889}, {"port": 1, "spare_port": 8888}])
def test_ports_of_a_host_are_distinct(ports):
    second = {**EXPORTER, "name": "exp2", "certificate_directory": "/opt/mon/exp2", **ports}
    message = failure(_exporter_definition.define_all, [{**EXPORTER, "spare_port": 8889}, second])
    assert message.startswith("exporters: exp1 and exp2 have the same ")
    free = {**second, "port": 1, "spare_port": 2}
    assert len(_exporter_definition.define_all([{**EXPORTER, "spare_port": 8889}, free])) == 2


def test_a_client_may_take_some_exporters_alone():
    recipient = "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg"
    clients = _exporter_definition.define_clients(
        [
            {"name": "team-b", "recipient": recipient, "exporters": ["exp2"], "scrape_interval": 30.0},
            {"name": "team-c", "recipient": recipient, "exporters": []},
            {"name": "prom1"},
        ]
    )
    seen = {
        name: [client.name for client in seen_by(_exporter_definition.define({**EXPORTER, "name": name}), clients)]
        for name in ("exp1", "exp2")
    }
    assert seen == {"exp1": ["prom1"], "exp2": ["team-b", "prom1"]}
    assert "exporters" in failure(_exporter_definition.define_clients, [{"name": "prom1", "exporters": ["../x"]}])
    assert failure(
        _exporter_definition.define_clients, [{"name": "prom1", "recipient": recipient[:-1] + "q"}]
    ).startswith("clients[0].recipient: ")


@pytest.mark.parametrize(
    ("option", "path", "message"),
    [
        ("pid_file", "/m/exp1/state.json", "is kept for another file"),
        ("pid_file", "/m/exp1/exporter.log", "is kept for another file"),
        ("pid_file", "/m/exp1/lock", "is kept for another file"),
        ("pid_file", "/m/exp1/current", "is kept for another file"),
        ("pid_file", "/m/exp1/current/exporter.pid", "is kept for another file"),
        ("log_file", "/m/exp1/../exp1/run", "is kept for another file"),
        ("log_file", "/m/exp1/exporter.pid", "is kept for another file"),
        ("log_file", "/m/exp1/./lock", "is kept for another file"),
        ("log_file", "/m/exp1/exporter.pid.spare", "is kept for another file"),
        ("log_file", "/v/exporter.pid", "is also log_file"),
        ("log_file", "/v/exporter.pid.spare", "is also log_file"),
        ("pid_file", "/m/exp1/exporter.log.1", "is kept for another file|is also log_file"),
        ("pid_file", "/m/exp1/exporter.pid", None),
        ("pid_file", "/m/exp1/tt.pid", None),
        ("pid_file", "/m/exp1/var/exporter.pid", None),
        ("log_file", "/m/state.json", None),
        ("log_file", "/m/exp1/tt.log", None),
    ],
)
def test_pid_file_and_log_are_nothing_else(option, path, message):
    given = {"timesten_home": "/t", "certificate_directory": "/m/exp1", "pid_file": "/v/exporter.pid", option: path}
    if message is None:
        _exporter_definition.define(given)
        return
    with pytest.raises(TimesTenError, match=message):
        _exporter_definition.define(given)


@pytest.mark.parametrize(
    ("option", "path"),
    [
        ("pid_file", "/opt/mon/exp1/state.json"),
        ("log_file", "/opt/mon/exp1/exporter.log.old"),
        ("log_file", "/opt/mon/exp1/lock"),
        ("certificate_directory", "/opt/mon/exp1/generations"),
        ("certificate_directory", "/opt/mon/exp1/generations/x/exp2"),
        ("certificate_directory", "/opt/mon/exp1/exp2"),
        ("pid_file", "/opt/mon/exp1/exp2.pid"),
    ],
)
def test_nothing_of_an_exporter_is_in_the_place_of_another_one_s(option, path):
    second = {**EXPORTER, "name": "exp2", "certificate_directory": "/opt/mon/exp2", "port": 1, option: path}
    both = [{**EXPORTER, "certificate_directory": "/opt/mon/exp1"}, second]
    if path.rpartition("/")[2] in ("exp2", "exp2.pid", "exporter.log.old") and "generations" not in path:
        assert len(_exporter_definition.define_all(both)) == 2
    else:
        assert failure(_exporter_definition.define_all, both) == (
            f"exporters: {option} {path} of exp2 is in the place of a file of exp1; choose another"
        )
