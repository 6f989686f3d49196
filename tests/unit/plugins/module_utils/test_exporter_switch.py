# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which generation an exporter may go back to, and what keeps a second process of it from being started.

The switch itself is tried with real processes, in tests/integration/test_rotation.py and test_spare_port.py.
"""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import shutil
import socket

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import define
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import (
    Asked,
    Client,
    ExporterDirectory,
    Request,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.process import ProcessPlan
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.rotation import stage, verdict
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.rotation.record import Order
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.utility import Utility
from ansible_collections.timesten.monitoring.plugins.module_utils.machine import lease as _lease

NOW = datetime.datetime(2026, 11, 24, 10, 49, tzinfo=datetime.timezone.utc)


@pytest.fixture(scope="module")
def two(home, tmp_path_factory):
    """An exporter with two generations, made in the same second."""
    directory = ExporterDirectory(str(tmp_path_factory.mktemp("two") / "exp1"), "exp1")
    directory.prepare()
    made = [
        directory.build(
            Utility(str(home)),
            Request(Asked("localhost", ("localhost",), None), [Client(client)]),
            NOW + datetime.timedelta(microseconds=number),
        )["generation"]
        for number, client in enumerate(("prom1", "prom2"))
    ]
    return directory, made


@pytest.fixture
def copy(two, tmp_path):
    """A copy of it for one test."""
    directory, made = two
    shutil.copytree(directory.path, tmp_path / "exp1", symlinks=True)
    return ExporterDirectory(str(tmp_path / "exp1"), "exp1"), made


def test_the_one_before(copy):
    directory, (older, newer) = copy
    assert directory.ids() == [older, newer]
    assert stage.previous(directory, newer, ["prom2"], NOW) == older


def test_none_before(copy):
    directory, (older, _newer) = copy
    with pytest.raises(TimesTenError, match="has no generation before"):
        stage.previous(directory, older, [], NOW)


def test_not_one_that_gives_access_back(copy):
    directory, (_older, newer) = copy
    with pytest.raises(TimesTenError, match="holds a pair of prom1, evicted since"):
        stage.previous(directory, newer, ["prom1"], NOW)


def test_not_one_that_has_expired(copy):
    directory, (_older, newer) = copy
    with pytest.raises(TimesTenError, match="expired at 20"):
        stage.previous(directory, newer, [], NOW + datetime.timedelta(days=100 * 365))


@pytest.mark.parametrize("change", ["other bytes", "gone"])
def test_not_one_whose_wallet_was_changed(copy, change):
    directory, (older, newer) = copy
    wallet = next(pathlib.Path(directory.generation(older)).glob(".ttwallet.*/cwallet.sso"))
    if change == "gone":
        wallet.unlink()
    else:
        wallet.write_bytes(wallet.read_bytes() + b"\0")
    with pytest.raises(TimesTenError, match="is not the one any more that its pairs were issued from"):
        stage.previous(directory, newer, [], NOW)


EXPORTER = {"name": "exp1", "timesten_home": "/opt/tt", "certificate_directory": "/opt/mon/exp1", "port": 1}
NOTHING = ProcessPlan("none", [], None, None, None)


def test_systemd_runs_one_process() -> None:
    target = define({**EXPORTER, "spare_port": 2, "boot": "systemd"}).on_other_port()
    with pytest.raises(TimesTenError, match="rotate_strategy=gap"):
        stage._refuse_second(target, NOTHING)


def test_the_other_port_has_to_be_free() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        target = define({**EXPORTER, "spare_port": port}).on_other_port()
        stage._refuse_second(target, NOTHING)
        other.listen()
        with pytest.raises(TimesTenError, match=f"port {port}, .* is held by process {os.getpid()} "):
            stage._refuse_second(target, NOTHING)


@pytest.mark.parametrize("step", ["confirm", "retire", "revert", "release"])
def test_who_lost_the_lease_decides_nothing_any_more(copy, step):
    """A run that was held up for too long must not judge the switch of the one that took over."""
    directory, (older, newer) = copy
    directory.make_current(newer)
    record = {"pid": 0, "token": "t", "status": "switched", "generation": newer, "previous": older}
    record_file = pathlib.Path(directory.path, "switch.json")
    record_file.write_text(json.dumps(record))
    _lease.take(directory.path, {"name": "bob", "controller": "ctl2", "process": "8/200"}, 60)
    exporter = define({"timesten_home": "/opt/tt", "certificate_directory": directory.path, "port": 1, "name": "exp1"})
    late = {"name": "alice", "controller": "ctl1", "process": "7/100", "running": ["7/100"]}
    order = Order(run=late)
    with pytest.raises(TimesTenError) as caught:
        if step in ("confirm", "retire"):
            getattr(verdict, f"{step}_host")([exporter], order)
        else:
            getattr(verdict, f"{step}_host")([exporter], late)
    assert "is being rotated by bob, until" in caught.value.message
    assert json.loads(record_file.read_text()) == record
    assert not pathlib.Path(directory.path, "switch.json.request").exists()
    assert pathlib.Path(directory.path, "lease.json").exists() and directory.current_id() == newer
