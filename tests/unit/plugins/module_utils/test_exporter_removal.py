# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An exporter that goes, and a client that is forgotten; that a running process is stopped is shown by tests/integration/test_remove.py."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import shutil

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import processes as _process
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import removal as _exporter_removal
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import define
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import (
    Asked,
    Client,
    ExporterDirectory,
    Request,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.host import converge_host, forget_host
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.utility import Utility

NOW = datetime.datetime(2026, 11, 24, 10, 49, tzinfo=datetime.timezone.utc)
ASKED = Asked("localhost", ("localhost",), None)
PORT = 1  # nobody listens there


@pytest.fixture(scope="module")
def built(home, tmp_path_factory):
    """Two generations, the second one with one client more."""
    made = ExporterDirectory(str(tmp_path_factory.mktemp("built") / "exp1"), "exp1")
    made.prepare()
    utility = Utility(str(home))
    made.build(utility, Request(ASKED, [Client("prom1")]), NOW)
    later = NOW + datetime.timedelta(days=1)
    made.make_current(made.build(utility, Request(ASKED, [Client("prom1"), Client("prom2")]), later)["generation"])
    return made.path


@pytest.fixture
def directory(built, tmp_path):
    shutil.copytree(built, tmp_path / "exp1", symlinks=True)
    return ExporterDirectory(str(tmp_path / "exp1"), "exp1")


def wanted(directory, home, **options):
    given = {
        "timesten_home": str(home),
        "certificate_directory": directory.path,
        "port": PORT,
        "name": "exp1",
        **options,
    }
    return define({"address": "localhost", **given})


def absent(directory, home, check_mode=False, **options):
    (row,) = converge_host([wanted(directory, home, state="absent", **options)], [], "refuse", check_mode)["exporters"]
    return row


def test_everything_of_ours_goes(directory, home):
    path = pathlib.Path(directory.path)
    for name in ("exporter.log", "exporter.log.1", "timing.json", ".state.json.0123456789ab", "current.0123456789ab"):
        (path / name).write_text("")
    (path / "lock").touch()
    before = sorted(os.listdir(path))
    predicted = absent(directory, home, check_mode=True)
    assert sorted(os.listdir(path)) == before
    row = absent(directory, home)
    assert (row["changed"], row["why"], row["removed"]) == (True, predicted["why"], predicted["removed"])
    assert "2 generations" in row["why"][0]
    assert sorted([*row["removed"], "lock"]) == before
    assert not path.exists()
    again = absent(directory, home)
    assert (again["changed"], again["why"]) == (False, [])
    assert not path.exists()


def test_what_is_not_ours_stays(directory, home):
    path = pathlib.Path(directory.path)
    (path / ".ttwallet.X").mkdir()
    (path / ".ttwallet.X/cwallet.sso").write_bytes(b"made by hand")
    (path / "notes.txt").write_text("mine")
    row = absent(directory, home)
    assert row["left"] == [".ttwallet.X", "notes.txt"] == sorted(os.listdir(path))
    assert "left: .ttwallet.X, notes.txt" in row["why"][0]
    assert (path / ".ttwallet.X/cwallet.sso").read_bytes() == b"made by hand"
    assert absent(directory, home)["changed"] is False
    assert sorted(os.listdir(path)) == [".ttwallet.X", "notes.txt"]


def test_named_files_in_the_directory_are_ours(directory, home):
    path = pathlib.Path(directory.path)
    for name in ("my.log", "my.log.1", "my.pid"):
        (path / name).write_text("")
    row = absent(directory, home, pid_file=str(path / "my.pid"), log_file=str(path / "my.log"))
    assert not path.exists()
    assert {"my.log", "my.log.1", "my.pid"} <= set(row["removed"])


def test_no_instance_is_needed(directory, tmp_path):
    """TimesTen may have been uninstalled already."""
    absent(directory, tmp_path / "gone")
    assert not os.path.exists(directory.path)


def test_a_switch_that_is_under_way_is_not_disturbed(directory, home):
    process = _process.read_process(os.getpid())
    record = {"pid": process.pid, "start_ticks": process.start_ticks, "boot_id": _process.boot_id()}
    pathlib.Path(directory.path, "switch.json").write_text(json.dumps(record))
    for call in (
        lambda: converge_host([wanted(directory, home, state="absent")], [], "refuse", False),
        lambda: forget_host([wanted(directory, home)], ["prom2"], False),
    ):
        with pytest.raises(TimesTenError, match=f"being switched by process {os.getpid()} of a rotation"):
            call()
    assert len(directory.ids()) == 2 and "prom2" in directory.pairs_of(directory.current_id())


def test_forget(directory, home):
    first, second = directory.ids()
    place = pathlib.Path(directory.generation(second), "clients/prom2")
    assert place.is_dir()
    definition = wanted(directory, home)
    predicted = forget_host([definition], ["prom2"], True)
    assert place.is_dir()
    answer = forget_host([definition], ["prom2"], False)
    assert predicted["changed"] and answer["exporters"] == predicted["exporters"]
    (one,) = answer["exporters"]
    assert (one["forgotten"], one["clients"]) == ({"prom2": [second]}, ["prom1"])
    assert answer["diff"][0]["before"] == {"clients": {first: ["prom1"], second: ["prom1", "prom2"]}}
    assert answer["diff"][0]["after"] == {"clients": {first: ["prom1"], second: ["prom1"]}}
    assert not place.exists()
    manifest = directory.manifest(second)
    assert sorted(manifest["pairs"]) == ["probe", "prom1"]
    # Its pair still opens the exporter: whoever evicts it later has to know.
    assert "prom2" in directory.pairs_of(second) and "prom2" not in directory.pairs_of(first)
    assert forget_host([definition], ["prom2"], False)["changed"] is False


def test_forget_ends_what_was_cut_off(directory, home):
    """Files without a manifest's word, or the word without files."""
    first, second = directory.ids()
    shutil.rmtree(pathlib.Path(directory.generation(second), "clients/prom2"))
    orphan = pathlib.Path(directory.generation(first), "clients/prom2")
    orphan.mkdir()
    (orphan / "client.key").write_text("")
    (one,) = forget_host([wanted(directory, home)], ["prom2"], False)["exporters"]
    assert one["forgotten"] == {"prom2": [first, second]}
    assert not orphan.exists() and "prom2" not in directory.manifest(second)["pairs"]


def test_the_probe_is_never_forgotten(directory, home):
    assert forget_host([wanted(directory, home)], ["probe"], False)["changed"] is False
    assert "probe" in directory.manifest(directory.current_id())["pairs"]


def test_forget_where_there_is_nothing(tmp_path, home):
    nothing = ExporterDirectory(str(tmp_path / "exp9"), "exp9")
    assert forget_host([wanted(nothing, home, name="exp9")], ["prom2"], False)["changed"] is False
    assert not (tmp_path / "exp9").exists()


def test_served_wallets_stay(directory, home, monkeypatch):
    """By a process that is not the exporter's own; what it looks like in /proc is tested with the process."""
    stranger = _process.Process(
        4711,
        1,
        4711,
        5,
        os.geteuid(),
        ("ttExporter", "-port", "9", "-certificate-directory", directory.generation("x")),
    )
    monkeypatch.setattr(_process, "processes", lambda: {4711: stranger})
    with pytest.raises(TimesTenError, match=r"process 4711 .* serves .*; stop it first"):
        _exporter_removal.remove(wanted(directory, home, state="absent"), False)
    assert len(directory.ids()) == 2
