# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A leader whose run is gone does not keep the next run from the exporter; with real detached processes."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import time

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import define
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import ExporterDirectory
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.rotation import record
from ansible_collections.timesten.monitoring.plugins.module_utils.machine import lease

KILLED = {"name": "alice", "controller": "ctl1", "process": "7/100"}
HERE = {"name": "bob", "controller": "ctl1", "process": "8/200", "running": ["8/200"]}


@dataclasses.dataclass
class Leader:
    """A detached process that holds the exporter's lock until it is asked to go back."""

    directory: ExporterDirectory

    @property
    def definition(self):
        """The exporter."""
        return define({"timesten_home": "/tt", "certificate_directory": self.directory.path, "name": "exp1"})

    def begin(self, seconds=60.0, obedient=True):
        """Start it; by itself it ends after some seconds."""
        begun = record.record_of(self.directory)

        def work(token):
            with self.directory.locked():
                deadline = time.monotonic() + seconds
                while time.monotonic() < deadline and not (obedient and begun.asked(token) == "revert"):
                    time.sleep(0.02)
                begun.write(status="reverted")

        values = begun.launch(
            work, status="switched", generation="g2", previous="g1", strategy="spare_port", deadline=0
        )
        return values["pid"]


@pytest.fixture
def leader(tmp_path):
    made = Leader(ExporterDirectory(str(tmp_path), "exp1"))
    yield made
    with contextlib.suppress(OSError, KeyError, ValueError), open(tmp_path / "switch.json", encoding="utf-8") as stream:
        os.kill(json.load(stream)["pid"], signal.SIGKILL)


def test_without_a_leader_there_is_nothing_to_end(leader):
    record.end_leader(leader.definition, leader.directory, HERE)


@pytest.mark.parametrize(
    ("seconds", "run"),
    [
        # The run that it belongs to was killed on this controller, or its lease has run out.
        (300, HERE),
        (-1, {"name": "bob", "controller": "ctl2", "process": "8/200", "running": ["8/200"]}),
        (-1, {}),
    ],
)
def test_a_leader_whose_run_is_gone_is_ended_at_once(leader, seconds, run):
    lease.take(leader.directory.path, KILLED, seconds)
    leader.begin()
    began = time.monotonic()
    record.end_leader(leader.definition, leader.directory, run)
    assert time.monotonic() - began < 20
    assert not record.record_of(leader.directory).is_alive()
    with leader.directory.locked():
        pass


def test_a_run_that_works_on_this_controller_is_left_alone(leader):
    lease.take(leader.directory.path, KILLED, 300)
    pid = leader.begin()
    with pytest.raises(TimesTenError, match=r"is being rotated by alice, until .*; wait for it, or end it"):
        record.end_leader(leader.definition, leader.directory, {**HERE, "running": ["7/100", "8/200"]})
    os.kill(pid, 0)
    assert not os.path.exists(f"{leader.directory.switch_file}.request")


@pytest.mark.parametrize("run", [{}, {"name": "bob", "controller": "ctl2", "process": "8/200", "running": ["8/200"]}])
def test_a_run_elsewhere_may_still_confirm_until_its_leader_ends_by_itself(leader, run):
    lease.take(leader.directory.path, KILLED, 300)
    leader.begin(seconds=1.5, obedient=False)
    record.end_leader(leader.definition, leader.directory, run)
    assert not record.record_of(leader.directory).is_alive()
    assert not os.path.exists(f"{leader.directory.switch_file}.request")


def test_after_the_lease_a_leader_elsewhere_is_ended(leader):
    lease.take(leader.directory.path, KILLED, 1)
    leader.begin()
    record.end_leader(leader.definition, leader.directory, {})
    assert not record.record_of(leader.directory).is_alive()


@pytest.mark.parametrize(
    ("options", "stopped"),
    [({}, 70), ({"stop_timeout": 300}, 360), ({"force_kill": True}, 15)],
)
def test_nobody_stops_waiting_before_the_leader_is_done(options, stopped):
    """A stop is followed beyond stop_timeout, and a switch that fails starts two processes one after the other."""
    definition = define(
        {"timesten_home": "/tt", "certificate_directory": "/tt/x", "name": "exp1", "start_timeout": 40, **options}
    )
    assert record.until_stopped(definition) >= stopped
    assert record.until_switched(definition) >= stopped + 2 * 40
