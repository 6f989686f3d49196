# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The look for what scrapes, where anybody may have started a process and named any file."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import config_file, discover, reload

JOB = "- job_name: a\n  static_configs: [{targets: ['exp1:8888']}]\n"
GIVEN = {"kind": "scrape_file", "scrape_file": None, "store": None, "path_map": {}, "named": False}


def jobs(path: Path) -> list[dict[str, Any]]:
    return discover._jobs(str(path), GIVEN, [8888])


@pytest.mark.parametrize("line", ["", "#", " # -", "---", "\t", "# a"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("rest", [JOB, "scrape_configs:\n" + JOB, "x"])
def test_what_a_list_begins_with_costs_no_time(tmp_path: Path, line: str, end: str, rest: str) -> None:
    began = time.monotonic()
    match = config_file.is_list(((line + end) * 200 + rest).encode())
    # What stands in a second document is read by nobody.
    assert bool(match) is (rest is JOB and line != "---")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("head", ["", "# mine\n", "\n# mine\n", "\r\n", "---\n", "\ufeff# mine\n--- # a\r\n\n"])
def test_a_bare_list_is_read(tmp_path: Path, head: str) -> None:
    path = tmp_path / "jobs.yml"
    path.write_bytes((head + JOB).encode())
    assert [job["job"] for job in jobs(path)] == ["a"]
    path.write_bytes((head + "scrape_configs:\n" + JOB).encode())
    assert [job["job"] for job in jobs(path)] == ["a"]


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "jobs.yml")
    with pytest.raises(TimesTenError, match="is not a regular file"):
        jobs(tmp_path / "jobs.yml")


def test_what_is_nested_too_deep_is_refused(tmp_path: Path) -> None:
    (tmp_path / "jobs.yml").write_text(f"a: &x 1\nb: &x 2\nc: {'[' * 5000}{']' * 5000}\n")
    with pytest.raises(TimesTenError, match="this is not valid YAML"):
        jobs(tmp_path / "jobs.yml")


def process(pid: int, uid: int, *words: str) -> reload.Process:
    return reload.Process(pid, uid, f"/etc/{pid}.yml", words=words)


def test_the_port_that_a_program_has_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    running = {
        "prometheus": [process(1 << 30, 0, "prometheus")],
        "scrape_file": [
            process(2 << 30, 0, "/opt/vmagent-prod"),
            process(3 << 30, 0, "victoria-metrics"),
            process(4 << 30, 0, "vmagent", "-httpListenAddr=:1"),
        ],
    }
    monkeypatch.setattr(reload, "running", running.get)
    assert [taker["port"] for taker in discover._takers()] == [9090, 8429, 8428, 1]


def test_those_of_people_go_first_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [process((1 << 30) + number, 1000, "prometheus") for number in range(discover._MOST_TAKERS)]
    last = process(9 << 30, 100, "prometheus")
    monkeypatch.setattr(reload, "running", {"prometheus": [*many, last], "scrape_file": []}.get)
    assert discover._takers()[0]["pid"] == last.pid
