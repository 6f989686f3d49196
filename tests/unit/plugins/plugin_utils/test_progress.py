# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a task is: when a line is said, and that its numbers are true."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("jinja2", reason="there is a callback on the controller alone")

from ansible_collections.timesten.monitoring.plugins.plugin_utils.progress import Progress, duration
from gates.doc_examples import example

pytestmark = pytest.mark.controller


def test_a_hundred_hosts_give_ten_lines() -> None:
    progress = Progress("Converge", 100, 50.0)
    lines = [line for number in range(100) if (line := progress.host(50.0 + (number + 1) * 0.5))]
    assert len(lines) == 10
    assert lines[3] == "Converge: 40 of 100 hosts after 20 s, about 30 s to go"
    assert lines[-1] == "Converge: 100 of 100 hosts after 50 s"


def test_a_line_every_ten_seconds_where_hosts_are_slow() -> None:
    progress = Progress("Converge", 1000, 0.0)
    said = [progress.host(moment) for moment in (4.0, 9.9, 10.0, 15.0, 20.0)]
    assert [bool(line) for line in said] == [False, False, True, False, True]
    assert said[2] == "Converge: 3 of 1000 hosts after 10 s, about 56 min to go"


def test_who_has_nothing_to_do_says_nothing_of_the_others() -> None:
    progress = Progress("Stage", 40, 0.0)
    assert [progress.host(0.1, skipped=True) for _host in range(20)] == [None] * 20
    assert progress.host(2.0) == "Stage: 21 of 40 hosts after 2 s, about 38 s to go"


def test_few_hosts_need_no_lines() -> None:
    progress = Progress("Converge", 9, 0.0)
    assert [progress.host(100.0 * number) for number in range(9)] == [None] * 9
    assert Progress("Converge", 0, 0.0).host(1.0) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.2, "1 s"), (119, "119 s"), (120, "2 min"), (121, "3 min"), (7199, "120 min"), (9000, "2.5 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_play_in_batches(tmp_path: Path) -> None:
    hosts = ",".join(f"h{number}" for number in range(20))
    (tmp_path / "ansible.cfg").write_text(example("progress"), encoding="utf-8")
    (tmp_path / "play.yml").write_text(
        "- hosts: all\n  gather_facts: false\n  connection: local\n  serial: 10\n  tasks:\n"
        "    - name: Work\n      ansible.builtin.set_fact: {a: 1}\n"
        "    - name: Rest\n      ansible.builtin.debug: {msg: x}\n      when: false\n"
        "    - name: Notify\n      ansible.builtin.debug: {msg: x}\n      changed_when: true\n      notify: step\n"
        "  handlers:\n    - name: Step\n      ansible.builtin.debug: {msg: x}\n      listen: step\n",
        encoding="utf-8",
    )
    assert configparser.ConfigParser().read(tmp_path / "ansible.cfg")
    collections = Path(__file__).resolve().parents[4] / "collections"
    done = subprocess.run(
        ["ansible-playbook", "-i", f"{hosts},", "play.yml"],
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = re.findall(r"^Work: (\d+) of 20 hosts after \d+ s(, about \d+ s to go)?$", done.stdout, re.MULTILINE)
    assert [int(count) for count, _rest in lines] == list(range(2, 21, 2))
    assert lines[-1][1] == "" and all(rest for _count, rest in lines[:-1])
    assert "Rest: " not in done.stdout
    # The steps of a rotation are handlers: those of a batch are counted by themselves.
    steps = re.findall(r"^Step: (\d+) of (\d+) hosts after", done.stdout, re.MULTILINE)
    assert [(int(count), int(total)) for count, total in steps] == 2 * [(count, 10) for count in range(1, 11)]
