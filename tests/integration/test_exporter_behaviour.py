# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules with an exporter that behaves as TimesTen's own may: another name, late, slow, noisy."""

from __future__ import annotations

import os
import signal
import time

import pytest

from integration import exporter_kit as kit

WAYS = [
    {"NAME": "exec"},
    {"NAME": "exec", "RUN": "detach", "PID_FILE": "blanks", "PID_FILE_DELAY": "2"},
    {"NAME": "rewritten", "RUN": "detach"},
    {"RUN": "child", "PID_FILE": "blanks"},
    {"NOISE": "locale", "HELP": "empty"},
]


@pytest.fixture
def instance(tmp_path):
    made = kit.Instance(tmp_path / "instance").install()
    yield made
    made.end()


def options(instance, port, **more):
    """Arguments of tt_exporter_host, for one exporter."""
    directory = str(instance.root.parent / "monitoring" / "exp1")
    exporter = {"name": "exp1", "timesten_home": instance.home, "certificate_directory": directory}
    return {"exporters": [{**exporter, "address": "localhost", "port": port, **more}], "clients": []}


def pid_of(answer):
    return answer["exporters"][0]["process"]["pid"]


def nothing_listens(port):
    return not kit._kernel.listeners(port)


@pytest.mark.parametrize("variants", WAYS, ids=lambda variants: "-".join(variants.values()))
@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "by hand"])
def test_start_restart_stop(instance, variants, recorded):
    """Also where nothing is recorded, as for one that was started by hand."""
    instance.install(**variants)
    port = kit.free_port()
    first = kit.succeed("tt_exporter_host", options(instance, port), changed=True)
    state_file = os.path.join(options(instance, port)["exporters"][0]["certificate_directory"], "state.json")
    kit.succeed("tt_exporter_host", options(instance, port), changed=False)
    second = kit.succeed("tt_exporter_host", options(instance, port, state="restarted"), changed=True)
    assert pid_of(second) not in (None, pid_of(first))
    if not recorded:
        os.unlink(state_file)
    stopped = kit.succeed("tt_exporter_host", options(instance, port, state="stopped"), changed=True)
    assert stopped["exporters"][0]["process"]["state"] == "stopped"
    assert nothing_listens(port)
    assert instance.exporters() == []
    kit.succeed("tt_exporter_host", options(instance, port, state="stopped"), changed=False)


@pytest.mark.parametrize("state", ["stopped", "absent"])
@pytest.mark.parametrize("check", [True, False])
def test_what_still_serves_the_port_is_named(instance, state, check):
    """Nobody can tell that it is the exporter: no record, no pid file, no arguments. Nothing is removed."""
    instance.install(NAME="rewritten")
    port = kit.free_port()
    pid = pid_of(kit.succeed("tt_exporter_host", options(instance, port)))
    directory = options(instance, port)["exporters"][0]["certificate_directory"]
    for name in ("state.json", "exporter.pid"):
        os.unlink(os.path.join(directory, name))
    before = kit.tree(directory)
    message = kit.failure("tt_exporter_host", options(instance, port, state=state), check)
    assert f"port {port} is still served, by process {pid} of user" in message
    assert {name: facts for name, facts in kit.tree(directory).items() if name != "lock"} == {
        name: facts for name, facts in before.items() if name != "lock"
    }
    os.kill(pid, signal.SIGTERM)


@pytest.mark.parametrize("variants", [{"NAME": "exec"}, {"NAME": "rewritten"}], ids=lambda value: value["NAME"])
def test_removal_stops_it_whatever_it_calls_itself(instance, variants):
    instance.install(**variants)
    port = kit.free_port()
    kit.succeed("tt_exporter_host", options(instance, port))
    kit.succeed("tt_exporter_host", options(instance, port, state="absent"), changed=True)
    assert nothing_listens(port)
    assert instance.exporters() == []
    assert not os.path.exists(options(instance, port)["exporters"][0]["certificate_directory"])


def test_an_end_that_takes_longer_than_stop_timeout(instance):
    """The signal was sent: the process ends for good, so its successor has to be started."""
    instance.install(STOP_DELAY="3")
    port = kit.free_port()
    first = kit.succeed("tt_exporter_host", options(instance, port, stop_timeout=1))
    began = time.monotonic()
    second = kit.succeed("tt_exporter_host", options(instance, port, stop_timeout=1, state="restarted"), changed=True)
    assert time.monotonic() - began > 3
    assert pid_of(second) not in (None, pid_of(first))
    assert len({process.session for process in instance.exporters()}) == 1


@pytest.mark.parametrize("kind", ["empty", "hang"])
def test_a_help_that_helps_nobody(instance, kind):
    """The options that were given suffice; the limit stays the utility's own."""
    instance.install(HELP=kind)
    port = kit.free_port()
    answer = kit.succeed("tt_exporter_host", options(instance, port), changed=True)
    assert answer["exporters"][0]["rate_limit"] is None
    kit.succeed("tt_exporter_host", options(instance, port), changed=False)


def test_the_line_that_says_what_failed(instance):
    instance.install(NOISE="locale", VALIDITY="3650d")
    (instance.root / "home/conf/timesten.conf").write_text("instance_name=ttinst\n")
    message = kit.failure("tt_exporter_host", options(instance, kit.free_port()))
    assert "instance_guid is ''" in message
    assert "setlocale" not in message
