# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is taken over, and what is refused, as tables."""

from __future__ import annotations

import os
import types

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import processes, takeover
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import define
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.command_line import arguments
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.utility import parse_options
from ansible_collections.timesten.monitoring.plugins.module_utils.machine.processes import environment

HAND = "was not started as this exporter"
BASE = {"timesten_home": "/tt", "name": "exp1", "port": 8888}


def refusal(tmp_path, takes, **more):
    """What is said of a process that serves the port; None where it is taken over."""
    wallet = tmp_path / "mycertdir"
    (wallet / ".ttwallet.A").mkdir(parents=True)
    (wallet / ".ttwallet.A/cwallet.sso").touch()
    process = processes.Process(4711, 1, 1, 1, os.geteuid(), ("ttExporter", "-port", "8888"))
    seen = {"command": "ttExporter -port 8888", "wallet": str(wallet), "home": "/tt", "unit": None, "neighbour": False}
    wanted = define({"timesten_home": "/tt", "certificate_directory": "/mon/exp1", "port": 8888, "takeover": takes})
    try:
        takeover.check(wanted, takeover.Stranger(process, **{**seen, **more}))
    except TimesTenError as error:
        return error.message
    return None


@pytest.mark.parametrize(
    ("takes", "more", "said"),
    [
        (False, {}, ["port 8888 is held by process 4711", HAND, "mycertdir, set takeover to true", "Nothing was changed"]),
        (False, {"wallet": None}, ["To have it taken over, set takeover to true"]),
        (False, {"unit": "tt.service"}, ["the systemd unit tt.service", "systemctl disable --now tt.service", "start it once as"]),
        (True, {"unit": "tt.service"}, ["systemctl disable --now tt.service"]),
        (True, {"home": "/other"}, ["the TimesTen instance /other, not to /tt; set timesten_home"]),
        (True, {"wallet": "/nowhere"}, ["a wallet that is not in /nowhere any more"]),
        (True, {}, None),
        (True, {"home": None}, None),
        (True, {"wallet": None}, None),
        (True, {"neighbour": True}, None),
    ],
)  # fmt: skip
def test_what_is_refused_and_how_to_go_on(tmp_path, takes, more, said):
    message = refusal(tmp_path, takes, **more)
    assert (message is None) == (said is None), message
    assert all(text in message for text in said or ())


@pytest.mark.parametrize(
    ("moments", "period", "now", "expected"),
    [
        ([10, 15, 20], 5.0, 12.0, 15),
        ([10, 15, 20], 5.0, 20.0, 20),
        ([10, 15, 20], 5.0, 21.0, 25),
        ([10, 15, 20], 5.0, 31.5, 35),
        ([20, 10], None, 15.0, 20),
        ([10], None, 15.0, 15.0),
    ],
)
def test_the_next_gap(moments, period, now, expected):
    assert takeover.Gap.of({"moments": moments, "period": period}).next(now) == expected


@pytest.mark.parametrize("order", [None, {}, {"moments": []}, {"moments": ["soon"]}, {"moments": 7}])
def test_no_gap_to_wait_for(order):
    assert takeover.Gap.of(order) is None


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["/h/bin/ttenv", "ttExporter", "-port", "1", "-insecure"], ["-port", "1", "-insecure"]),
        (["/usr/bin/python3", "/h/bin/ttExporter", "-port", "1"], ["-port", "1"]),
        (["/h/bin/ttExporterCmd", "-port", "1", "-pid-file", "p"], ["-port", "1", "-pid-file", "p"]),
        (["/h/bin/ttExporterCmd", "quiet", "-pid-file", "p", "-port", "1"], ["-pid-file", "p", "-port", "1"]),
        (["sleep", "1"], []),
    ],
)
def test_what_a_command_line_gives_to_the_utility(argv, expected):
    """Also where a wrapper has executed a program of another name: a former process comes back with these."""
    assert arguments(argv) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["-certificate-directory", "/w"], "/w"),
        ([], "HOME"),
        (["-insecure"], None),
        (["-insecure", "-certificate-directory", "/w"], None),
    ],
    ids=["given", "the utility's default", "plain http", "a wallet that is not served"],
)
def test_the_wallet_that_a_process_serves(given, expected):
    """Oracle's manual leaves the option out: the wallet is then in the user's home directory."""
    me = processes.read_process(os.getpid())
    home = os.path.realpath(environment(me.pid)["HOME"])
    options = parse_options(["-port", "8888", *given])
    assert processes.wallet_of(me, options) == (home if expected == "HOME" else expected)


@pytest.mark.parametrize(
    ("argv", "home"),
    [
        (["HOME/bin/ttenv", "ttExporter"], "HOME"),
        (["python3", "HOME/bin/ttExporter"], "HOME"),
        (["HOME/bin/ttExporterCmd", "-port", "1"], "HOME"),
        (["/somewhere/bin/program"], None),
        (["ttExporter"], None),
    ],
)
def test_the_home_that_a_command_line_tells(tmp_path, argv, home):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ttenv").touch()
    shown = [argument.replace("HOME", str(tmp_path)) for argument in argv]
    gone = processes.Process(1 << 30, 1, 1, 1, os.geteuid(), tuple(shown))
    assert processes.home_of(gone) == (None if home is None else str(tmp_path))


@pytest.mark.parametrize(
    ("there", "pid_file", "expected"),
    [
        ([], "owner/tt.pid", False),
        (["own/state.json", "own/exporter.pid"], "owner/tt.pid", False),
        (["own/state.json"], "own/exporter.pid", False),
        (["own/state.json", "own/state.json.spare"], "own/tt.pid", False),
        (["own/state.json"], "link/exporter.pid", False),
        (["other/state.json"], "other/exporter.pid", True),
        (["other/state.json.spare"], "other/exporter.pid.spare", True),
        (["other/exporter.pid"], "other/exporter.pid", False),
        (["own/state.json", "other/state.json"], None, False),
    ],
    ids=[
        "by hand",
        "our leftovers beside it",
        "its pid file is where ours was",
        "its pid file is in our directory",
        "in our directory through a link",
        "another exporter",
        "another exporter on its spare port",
        "a pid file alone",
        "no pid file",
    ],
)
@pytest.mark.parametrize("spare", [False, True])
def test_who_is_another_exporter_of_this_collection(tmp_path, there, pid_file, expected, spare):
    """On whichever port this exporter is: what lies in our own directory says nothing of somebody else's process."""
    for name in ("own", "other", "owner"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("own")
    for name in there:
        (tmp_path / name).write_text("{}")
    options = ("ttExporter", "-port", "8888", "-certificate-directory", str(tmp_path / "owner"))
    given = () if pid_file is None else ("-pid-file", str(tmp_path / pid_file))
    process = processes.Process(1 << 30, 1, 1, 1, os.geteuid(), (*options, *given))
    own = tmp_path / "own"
    wanted = define(
        {"timesten_home": "/tt", "certificate_directory": str(own), "name": "exp1", "port": 8889, "spare_port": 8888}
    )
    wanted = wanted.on_other_port() if spare else define({**BASE, "certificate_directory": str(own)})

    seen = types.SimpleNamespace(
        boot_id="boot", processes={process.pid: process}, holders=lambda _port: ([process], [])
    )
    found = takeover.find(wanted, seen)
    assert found is not None and found.neighbour == expected
