# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A detached process: it outlives its caller and the caller's streams, is known by its record, and answers requests."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.machine.detached import Record

CALLER = """
import os, sys, time
from ansible_collections.timesten.monitoring.plugins.module_utils.machine.detached import Record
record = Record(sys.argv[1])
def work(token):
    record.write(session=os.getsid(0), streams=[os.readlink(f"/proc/self/fd/{n}") for n in range(3)])
    deadline = time.monotonic() + 30
    while record.asked(token) != "end" and time.monotonic() < deadline:
        time.sleep(0.02)
    record.write(status="ended")
record.launch(work, status="working")
print("launched")
"""


@pytest.fixture
def record(tmp_path: pathlib.Path) -> Record:
    return Record(str(tmp_path / "work.json"))


def test_it_outlives_the_caller_and_ends_when_asked(record: Record) -> None:
    # The pipe would stay open, and this call would not return, if the process kept the caller's streams.
    done = subprocess.run(
        [sys.executable, "-c", CALLER, record.path],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
        timeout=20,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout == b"launched\n"
    values = record.wait(lambda now: "session" in now, 10)
    assert record.is_alive()
    assert values["session"] == values["pid"] and values["streams"] == ["/dev/null"] * 3
    record.ask("end")
    assert record.wait(lambda now: now["status"] == "ended", 10)["status"] == "ended"


def test_the_record_of_another_boot_or_process_is_nobody(record: Record) -> None:
    launched = record.launch(lambda _token: time.sleep(30), status="working")
    try:
        assert record.is_alive()
        record.write(start_ticks=launched["start_ticks"] + 1)
        assert not record.is_alive()
        record.write(start_ticks=launched["start_ticks"], boot_id="another")
        assert not record.is_alive()
    finally:
        os.kill(launched["pid"], signal.SIGKILL)
        os.waitpid(launched["pid"], 0)


@pytest.mark.parametrize("pid", ["x", "1", None, 1.5, [1], {}, -1, 0])
def test_a_damaged_record_is_nobody(record: Record, pid: object) -> None:
    record.write(pid=pid)
    assert not record.is_alive()


def test_waiting_ends_with_the_process(record: Record) -> None:
    launched = record.launch(lambda _token: None, status="working")
    began = time.monotonic()
    assert record.wait(lambda now: now["status"] == "done", 60)["status"] == "working"
    assert time.monotonic() - began < 30
    os.waitpid(launched["pid"], 0)


def test_a_request_to_an_earlier_process_is_not_heard(record: Record, tmp_path: pathlib.Path) -> None:
    (tmp_path / "work.json").write_text(json.dumps({"token": "old"}))
    record.ask("end")
    assert record.asked("old") == "end"
    assert record.asked("new") is None
